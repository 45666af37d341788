"""Which image sizes a network reads: the checks that every network makes, and their words. Does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NATIVE = 28  # the pixels that MNIST and Fashion-MNIST really have
SMALLEST_TEXTBOOK = {  # what their poolings allow; the networks that are not here exist in the native size alone
    "AlexNet": 67,
    "NiN": 67,
    "VGG11": 64,
    "GoogLeNet": 64,
    "ResNet18": 64,
    "DenseNet": 64,
}


def check_images(network: str, images: Tensor, in_channels: int, image_size: int) -> None:
    """Raises ValueError, naming both sizes, unless `images` is (N, in_channels, image_size, image_size)."""
    if images.ndim != 4:
        raise ValueError(
            f"{network} reads images (N, {in_channels}, {image_size}, {image_size}), got {tuple(images.shape)}"
        )
    _, channels, height, width = images.shape
    if (height, width) != (image_size, image_size):
        raise ValueError(f"{network} reads {image_size} x {image_size} images, got {height} x {width}")
    if channels != in_channels:
        raise ValueError(f"{network} reads images of {in_channels} channels, got {channels}")


def check_image_size(network: str, image_size: int) -> None:
    """Raises ValueError for a size that the network has no geometry for."""
    smallest = SMALLEST_TEXTBOOK.get(network)
    if image_size == NATIVE or (smallest and image_size >= smallest):
        return
    textbook = f" or, in its textbook geometry, {smallest} x {smallest} and larger ones," if smallest else ""
    comma = "" if smallest else ","
    raise ValueError(f"{network} reads {NATIVE} x {NATIVE} images{textbook}{comma} got image_size={image_size}")


def is_native(network: str, image_size: int) -> bool:
    """True for the native geometry, False for the textbook one. Raises ValueError for a size that has neither."""
    check_image_size(network, image_size)
    return image_size == NATIVE
