"""Training, validation and test images. Validation is cut from the training images, the same for every seed."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import IMAGE_SIZE, TEST_IMAGES, TRAIN_IMAGES, DataError, DatasetFacts, idx
from .augmentation import Augmentation

# The recorded order in which the training images are cut: the first `val_size` are validation, the rest is training.
# It is the order of the SHA-256 digests of "refzoo 0" .. "refzoo 59999", so that no library's generator is needed to
# draw it again.
PERMUTATION = Path(__file__).with_name("permutation.npy")


class Images(NamedTuple):
    """uint8 images (N, 28, 28) and their int64 labels (N,)."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> "Images":
        return Images(self.images.to(device), self.labels.to(device))


class Splits(NamedTuple):
    """`val` is None when no image is set aside for it, `augment` where training images stay as they are."""

    facts: DatasetFacts
    train: Images
    val: Images | None
    test: Images
    augment: Augmentation | None = None


def read_splits(
    facts: DatasetFacts, num_classes: int, root: Path, train_size: int | None, val_size: int, test_size: int | None
) -> Splits:
    """Raises DataError as `data.load` says."""
    train = _read(facts, num_classes, root, "train", TRAIN_IMAGES)
    test = _read(facts, num_classes, root, "t10k", TEST_IMAGES)
    order = torch.from_numpy(np.load(PERMUTATION).astype(np.int64))
    val, rest = order[:val_size], order[val_size:]
    return Splits(
        facts,
        train=_choose(train, rest[:train_size]),
        val=_choose(train, val) if val_size else None,
        test=Images(*(tensor[:test_size] for tensor in test)),
    )


def _read(facts: DatasetFacts, num_classes: int, root: Path, prefix: str, count: int) -> Images:
    raw = root / facts.folder / "raw"
    images, labels = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    split = Images(
        idx.read(raw / images, (count, IMAGE_SIZE, IMAGE_SIZE), facts.sha256[images]),
        idx.read(raw / labels, (count,), facts.sha256[labels]).long(),
    )
    if (largest := int(split.labels.max())) >= num_classes:
        raise DataError(f"{raw / labels} holds the label {largest}, expected labels below num_classes={num_classes}.")
    return split


def _choose(images: Images, indices: Tensor) -> Images:
    return Images(images.images[indices], images.labels[indices])
