"""Layers that several networks share, and their initial weights."""

from torch import nn


def convolution(
    in_channels: int, channels: int, kernel_size: int, stride: int = 1, padding: int = 0, *, batch_norm: bool
) -> nn.Sequential:
    """Build a convolution and its ReLU.

    With `batch_norm`, a batch norm stands between the two (Ioffe & Szegedy, ICML 2015) and replaces the bias.
    """
    convolution = nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=not batch_norm)
    if batch_norm:
        return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())
    return nn.Sequential(convolution, nn.ReLU())


def initialize(network: nn.Module, activation: str) -> None:
    """Initialise all convolutions and linear layers for the activation "relu", "sigmoid", "tanh" or "linear" (none).

    Weights: Kaiming normal for ReLU (He et al., 2015), Xavier uniform for the others (Glorot & Bengio, 2010). Biases:
    zero. Norms keep torch's ones and zeros.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if module.weight.is_meta:  # normal_ on the meta device makes torch import its compiler, for seconds
                continue
            if activation == "relu":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialize_class_maps(convolution: nn.Conv2d) -> None:
    """Initialise the convolution whose maps, behind a ReLU, are averaged into logits: all maps begin near 1.

    A class whose map is negative everywhere gets no gradient. With Kaiming's weights some classes begin like that, and
    the first training steps make the remaining classes die.
    """
    if convolution.weight.is_meta:
        return
    nn.init.normal_(convolution.weight, std=0.05)
    if convolution.bias is not None:
        nn.init.ones_(convolution.bias)
