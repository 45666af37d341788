"""Load data sets into memory. Importing this package does not import torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .datasets import ARCHIVES, BUNDLED_VAL_SIZE, DATASETS, IMAGE_SIZE, DataError, DatasetInfo
from .sizes import Size

if TYPE_CHECKING:
    from .splits import Splits

__all__ = ["ARCHIVES", "DATASETS", "IMAGE_SIZE", "DataError", "DatasetInfo", "load"]


def load(
    name: str,
    root: str | Path | None = None,
    train_size: Size = None,
    val_size: Size = None,
    test_size: Size = None,
    *,
    format: str = "bundled",
    image_size: tuple[int, int] | None = None,
    split_seed: int = 0,
) -> Splits:
    """Read the splits of a data set as tensors in memory.

    `format` says where its images are: "bundled" for those of DATASETS, in the bundled archives or in a copy of them
    below `root`, in torchvision's layout (`<root>/MNIST/raw/train-images-idx3-ubyte`, with or without .gz); "folder"
    for image files below `root`, in a folder for each class; "arrays" for the .npz file `root`. `name` is any name for
    the last two. Their images may be resized to `image_size` (height, width), and `split_seed` decides which of them
    are for validation and for the test if the data do not say so.

    A size is a number of images, or a share (0.1) of them; None is all images of the split, or a part of the training
    images where the data have no such split. No images are kept for validation with `val_size` 0.

    Raises DataError for data that are missing, damaged or not as described; of the bundled ones every byte must be
    right. Raises ValueError for a size that leaves a split without an image.
    """
    from .splits import split

    path = Path(os.path.expanduser(root)) if root else ARCHIVES  # noqa: PTH111 Path's raises for an unknown ~user
    if format == "bundled":
        from . import idx

        info, parts = DATASETS[name], idx.read_parts(DATASETS[name], path)
        val_size = BUNDLED_VAL_SIZE if val_size is None else val_size
    else:
        from . import arrays, folder  # which import Pillow

        reader = {"folder": folder, "arrays": arrays}[format]
        info, parts = reader.read_parts(name, path, image_size, split_seed)
    return split(info, parts, train_size, val_size, test_size)
