"""How the networks' weights begin: the one place where the feed-forward networks are initialised."""

from torch import nn


def initialize(network: nn.Module, activation: str) -> None:
    """Xavier uniform for sigmoid and tanh (Glorot & Bengio, 2010), Kaiming normal for ReLU (He et al., 2015).

    Biases are zero; norms keep torch's ones and zeros. "linear" stands for a network without an activation.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if module.weight.is_meta:  # no numbers to draw; torch would import for seconds how not to draw them
                continue
            if activation == "relu":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialize_class_maps(convolution: nn.Conv2d) -> None:
    """For maps under a ReLU that are averaged into logits: one, give or take a little, so that every class is alive.

    A class whose map begins below zero gets no gradient, and with Kaiming's weights the first steps put out the rest.
    """
    if convolution.weight.is_meta:
        return
    nn.init.normal_(convolution.weight, std=0.05)
    if convolution.bias is not None:
        nn.init.ones_(convolution.bias)
