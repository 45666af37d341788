"""Decide how many images each split gets. This file imports no torch."""

from typing import NamedTuple

VAL_SHARE, TEST_SHARE = 0.1, 0.2  # of the training images of data that bring no validation or test images
Size = int | float | None  # so many images, a share of them (0.1), or all


class Counts(NamedTuple):
    train: int
    val: int | None  # None, as for test: the data bring none
    test: int | None


def count_images(there: Counts, train_size: Size, val_size: Size, test_size: Size) -> Counts:
    """Return the number of images of each split, given those that the data bring; 0 for no validation.

    Test and validation images that the data do not bring are cut off the training images, in this order. Raises
    ValueError for a size that leaves a split without an image, or that is more than there are.
    """
    left = there.train
    if there.test is None:
        test = _count("test_size", TEST_SHARE if test_size is None else test_size, left)
        left = _rest(left - test, there.train)
    else:
        test = _count("test_size", test_size, there.test)
    val = 0
    if val_size != 0 and there.val is not None:
        val = _count("val_size", val_size, there.val)
    elif val_size != 0:
        val = _count("val_size", VAL_SHARE if val_size is None else val_size, left)
        left = _rest(left - val, there.train)
    return Counts(_count("train_size", train_size, left), val, test)


def _rest(left: int, images: int) -> int:
    if left < 1:
        raise ValueError(f"of {images} images none is left for training. Make data.val_size or test_size smaller.")
    return left


def _count(name: str, size: Size, available: int) -> int:
    if size is None:
        return available
    count = round(size * available) if isinstance(size, float) else size
    if not 1 <= count <= available:
        problem = f"of {available} images is none" if count < 1 else f"is more than the {available} images there are"
        raise ValueError(f"data.{name}={size} {problem}. Choose another number or share.")
    return count
