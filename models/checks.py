"""Checks of arguments that networks share. This file imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

SMALL_IMAGE_SIZE = 28  # pixels: MNIST and Fashion-MNIST
SMALLEST_SIDE = 24  # pixels: of an image that the small-image stem reads


def height_and_width(network: str, image_size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """Return the height and width that `image_size` gives, one number for both or one for each.

    Raises ValueError unless they are whole numbers of at least 1.
    """
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    match sides:
        case [height, width] if all(type(side) is int and side >= 1 for side in sides):
            return height, width
    raise ValueError(
        f"{network}: image_size must be a whole number of at least 1, or two, height and width, got {image_size!r}"
    )


def has_small_image_stem(network: str, size: tuple[int, int], smallest: int) -> bool:
    """Choose a network's first layers by height and width: True for the small-image stem, False for the ImageNet stem.

    The ImageNet stem reads images whose sides are both at least `smallest`, which the poolings behind it need; the
    small-image stem reads those whose sides are both smaller, but no less than 24. Raises ValueError for other sizes.
    """
    if min(size) >= smallest:
        return False
    if min(size) >= SMALLEST_SIDE and max(size) < smallest:
        return True
    raise ValueError(
        f"{network} reads images with both sides from {SMALLEST_SIDE} to {smallest - 1} pixels, or both at least "
        f"{smallest}, got {size[0]} x {size[1]}"
    )


def check_counts(network: str, **counts: int) -> None:
    """Raise ValueError, naming the argument, unless every count is at least 1."""
    for argument, count in counts.items():
        if count < 1:
            raise ValueError(f"{network}: {argument} must be at least 1, got {count}")


def check_dropout(network: str, dropout: float) -> None:
    """Raise ValueError unless `dropout` is a probability below 1."""
    if not 0 <= dropout < 1:
        raise ValueError(f"{network}: dropout must be at least 0 and below 1, got {dropout}")


def check_choice(network: str, argument: str, value: object, valid: Iterable[object]) -> None:
    """Raise ValueError, naming the valid values, unless `value` is one of them."""
    if value not in (valid := tuple(valid)):
        raise ValueError(f"{network}: {argument} must be one of {', '.join(map(str, valid))}, got {value!r}")
