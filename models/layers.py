"""What several networks share: the check of their images, layers, and initial weights."""

from typing import Any

from torch import Tensor, nn


def check_images(network: Any, inputs: tuple[Any, ...]) -> None:
    """Raise ValueError, naming both sizes, unless images are (N, network.in_channels, *network.image_size).

    Networks register it as a forward pre-hook: `forward` has no control flow, and torch.fx can trace it.
    """
    if not inputs or not isinstance(images := inputs[0], Tensor):  # by keyword; traced as a part of a larger module
        return
    name, in_channels, (height, width) = type(network).__name__, network.in_channels, network.image_size
    if images.ndim != 4:
        raise ValueError(f"{name} reads images (N, {in_channels}, {height}, {width}), got {tuple(images.shape)}")
    if images.shape[2:] != (height, width):
        found = " x ".join(map(str, images.shape[2:]))
        raise ValueError(f"{name} reads {height} x {width} images, got {found}")
    if images.shape[1] != in_channels:
        raise ValueError(f"{name} reads images of {in_channels} channels, got {images.shape[1]}")


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
