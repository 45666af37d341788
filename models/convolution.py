"""The unit that AlexNet, VGG, NiN and GoogLeNet are made of: a convolution and its ReLU."""

from torch import nn


def convolution(
    in_channels: int, channels: int, kernel_size: int, stride: int = 1, padding: int = 0, *, batch_norm: bool
) -> nn.Sequential:
    """With `batch_norm`, a norm stands between the two (Ioffe & Szegedy, ICML 2015) and its shift replaces the bias."""
    convolution = nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=not batch_norm)
    if batch_norm:
        return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())
    return nn.Sequential(convolution, nn.ReLU())
