"""Load the data sets into memory. Importing this package does not import torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .datasets import ARCHIVES, DATASETS, IMAGE_SIZE, TEST_IMAGES, TRAIN_IMAGES, DataError, DatasetInfo

if TYPE_CHECKING:
    from .splits import Splits

__all__ = ["ARCHIVES", "DATASETS", "IMAGE_SIZE", "TEST_IMAGES", "TRAIN_IMAGES", "DataError", "DatasetInfo", "load"]


def load(
    name: str,
    num_classes: int = 10,
    root: str | Path | None = None,
    train_size: int | None = None,
    val_size: int = 5_000,
    test_size: int | None = None,
) -> Splits:
    """Read the splits of the data set `name` as tensors in memory.

    The files are the bundled archives, or those below `root` in torchvision's layout
    (`<root>/MNIST/raw/train-images-idx3-ubyte`, with or without .gz). `train_size` and `test_size` keep so many images
    of a split, None keeps all. Raises DataError if a file is missing or differs in any byte from the official one.
    """
    from .splits import read_splits

    folder = Path(os.path.expanduser(root)) if root else ARCHIVES  # noqa: PTH111 Path's raises for an unknown ~user
    return read_splits(DATASETS[name], num_classes, folder, train_size, val_size, test_size)
