"""Split a data set into training, validation and test images. The validation images are the same for every seed."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import idx
from .datasets import IMAGE_SIZE, TEST_IMAGES, TRAIN_IMAGES, DataError, DatasetInfo

# The first `val_size` training images in this order are for validation, the rest for training. It is the order of the
# SHA-256 digests of "refzoo 0" .. "refzoo 59999", which can be computed again without any library's generator.
PERMUTATION = Path(__file__).with_name("permutation.npy")


class Images(NamedTuple):
    """Hold uint8 images (N, 28, 28) and their int64 labels (N,)."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> "Images":
        return Images(self.images.to(device), self.labels.to(device))


class Splits(NamedTuple):
    info: DatasetInfo
    train: Images
    val: Images | None  # None: no image is set aside for validation
    test: Images


def read_splits(
    info: DatasetInfo, num_classes: int, root: Path, train_size: int | None, val_size: int, test_size: int | None
) -> Splits:
    """Read the four files of a data set below `root` and split them; see `data.load`."""
    train = _read(info, num_classes, root, "train", TRAIN_IMAGES)
    test = _read(info, num_classes, root, "t10k", TEST_IMAGES)
    order = torch.from_numpy(np.load(PERMUTATION).astype(np.int64))
    val, rest = order[:val_size], order[val_size:]
    return Splits(
        info,
        train=_choose(train, rest[:train_size]),
        val=_choose(train, val) if val_size else None,
        test=Images(*(tensor[:test_size] for tensor in test)),
    )


def _read(info: DatasetInfo, num_classes: int, root: Path, prefix: str, count: int) -> Images:
    raw = root / info.folder / "raw"
    images, labels = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    split = Images(
        idx.read(raw / images, (count, IMAGE_SIZE, IMAGE_SIZE), info.sha256[images]),
        idx.read(raw / labels, (count,), info.sha256[labels]).long(),
    )
    if (largest := int(split.labels.max())) >= num_classes:
        raise DataError(f"{raw / labels} has the label {largest}, expected labels below num_classes={num_classes}.")
    return split


def _choose(images: Images, indices: Tensor) -> Images:
    return Images(images.images[indices], images.labels[indices])
