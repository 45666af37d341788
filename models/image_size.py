"""Which image sizes a network reads: the checks that every network makes, and their words."""

from torch import Tensor

NATIVE = 28  # the pixels that MNIST and Fashion-MNIST really have


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


def check_native_only(network: str, image_size: int) -> None:
    """Raises ValueError for any `image_size` but the native one, for the networks that exist at that size alone."""
    if image_size != NATIVE:
        raise ValueError(f"{network} reads {NATIVE} x {NATIVE} images, got image_size={image_size}")


def is_native(network: str, image_size: int, smallest_textbook: int) -> bool:
    """True for the native geometry, False for the textbook one. Raises ValueError for a size that has neither."""
    if image_size != NATIVE and image_size < smallest_textbook:
        raise ValueError(
            f"{network} reads {NATIVE} x {NATIVE} images or, in its textbook geometry, "
            f"{smallest_textbook} x {smallest_textbook} and larger ones, got image_size={image_size}"
        )
    return image_size == NATIVE
