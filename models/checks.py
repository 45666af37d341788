"""Checks of arguments that networks share. This file imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

SMALL_IMAGE_SIZE = 28  # pixels: MNIST and Fashion-MNIST


def check_image_size(network: str, image_size: int, smallest: int | None = None) -> None:
    """Raise ValueError unless `image_size` is 28 or, where the network has an ImageNet stem, at least `smallest`."""
    if image_size != SMALL_IMAGE_SIZE and (smallest is None or image_size < smallest):
        larger = "" if smallest is None else f" or images of {smallest} x {smallest} and larger"
        raise ValueError(
            f"{network} reads {SMALL_IMAGE_SIZE} x {SMALL_IMAGE_SIZE} images{larger}, got image_size={image_size}"
        )


def has_small_image_stem(network: str, image_size: int, smallest: int) -> bool:
    """Choose a network's first layers: True for the small-image stem (28 x 28), False for the ImageNet stem.

    `smallest` is the smallest image size that the poolings behind the ImageNet stem allow. Raises ValueError for a
    size that neither stem reads.
    """
    check_image_size(network, image_size, smallest)
    return image_size == SMALL_IMAGE_SIZE


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
