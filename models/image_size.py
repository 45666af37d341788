"""The one check that every network makes of its input, and its words."""

from torch import Tensor


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
    """Raises ValueError for any `image_size` but 28, for the networks that exist at that size alone."""
    if image_size != 28:
        raise ValueError(f"{network} reads 28 x 28 images, got image_size={image_size}")
