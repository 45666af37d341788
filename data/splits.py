"""Split a data set into training, validation and test images. The validation images are the same for every seed."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .datasets import DataError, DatasetInfo
from .sizes import Counts, Size, count_images


class Images(NamedTuple):
    """Hold uint8 images (N, C, H, W) and their int64 labels (N,)."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> "Images":
        return Images(self.images.to(device), self.labels.to(device))

    def part(self, begin: int | None, end: int | None = None) -> "Images":
        return Images(self.images[begin:end], self.labels[begin:end])


class Parts(NamedTuple):
    """Hold a data set as its files divide it; `train` is all of it where there is nothing else.

    The images are in an order whose beginnings are fair samples of the whole.
    """

    train: Images
    val: Images | None = None
    test: Images | None = None


class Splits(NamedTuple):
    info: DatasetInfo
    train: Images
    val: Images | None  # None: no image is set aside for validation
    test: Images


def split(info: DatasetInfo, parts: Parts, train_size: Size, val_size: Size, test_size: Size) -> Splits:
    """Choose the images of each split; see `sizes.count_images` for which, and for the ValueError it raises.

    A data set without mean and deviation gets those of the training images.
    """
    train, val, test = parts
    there = Counts(len(train.labels), val and len(val.labels), test and len(test.labels))
    count = count_images(there, train_size, val_size, test_size)
    if test is None:
        test, train = train, train.part(count.test)
    if count.val and val is None:
        val, train = train, train.part(count.val)
    train = train.part(0, count.train)
    if not info.mean:
        mean, std = mean_and_std(train.images)
        info = dataclasses.replace(info, mean=mean, std=std)
    return Splits(info, train, val.part(0, count.val) if val and count.val else None, test.part(0, count.test))


def check(splits: Splits) -> None:
    """Raise ValueError unless these are splits that a network can be trained on: for those of a user's own function."""
    if not isinstance(splits, Splits) or not isinstance(splits.info, DatasetInfo):
        raise ValueError(f"gives {type(splits).__name__}, expected data.splits.Splits with a data.DatasetInfo")
    info = splits.info
    if not info.mean or len(info.std) != len(info.mean) or not all(info.std):
        raise ValueError(f"has mean {info.mean} and std {info.std}, expected a number of each for each channel")
    for name in ("train", "val", "test"):
        part: Images | None = getattr(splits, name)
        if part is None and name == "val":
            continue
        if part is None or not all(isinstance(tensor, Tensor) for tensor in part) or not len(part.labels):
            raise ValueError(f"has no {name} images")
        images, labels = part
        shape = (len(labels), info.channels, *info.image_size)
        if (images.dtype, tuple(images.shape)) != (torch.uint8, shape):
            raise ValueError(f"has {name} images {images.dtype} {tuple(images.shape)}, expected torch.uint8 {shape}")
        if labels.dtype != torch.int64 or labels.ndim != 1 or not 0 <= labels.min() <= labels.max() < len(info.classes):
            raise ValueError(f"has {name} labels that are not int64 (N,) from 0 to {len(info.classes) - 1}")


def with_labels_of(classes: Sequence[str], splits: Splits) -> Splits:
    """Return the splits with labels that are indices of `classes`, by name. Raises DataError for an unknown class."""
    if unknown := [name for name in splits.info.classes if name not in classes]:
        known = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
        raise DataError(f"{splits.info.title} has a class {unknown[0]!r}, the network knows {known}.")
    labels = torch.tensor([classes.index(name) for name in splits.info.classes])
    info, train, val, test = splits
    train, test = (part._replace(labels=labels[part.labels]) for part in (train, test))
    return Splits(info, train, val and val._replace(labels=labels[val.labels]), test)


def digest(splits: Splits) -> str:
    """Compute the SHA-256 of all images and labels, as hex digits."""
    found = hashlib.sha256()
    for part in filter(None, (splits.train, splits.val, splits.test)):
        found.update(str(tuple(part.images.shape)).encode())
        for tensor in part:
            found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()


def mean_and_std(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of uint8 images (N, C, H, W), as shares of 255.

    A channel of one colour gets the deviation of one grey level, so that it can be divided by.
    """
    means, deviations = [], []
    levels = torch.arange(256, dtype=torch.float64) / 255
    for channel in images.unbind(1):
        shares = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = (shares * levels).sum()
        means.append(mean.item())
        deviations.append(max(((levels - mean) ** 2 * shares).sum().sqrt().item(), 1 / 255))
    return tuple(means), tuple(deviations)


def fair_order(names: Sequence[str], labels: Sequence[int], seed: int) -> list[int]:
    """Return an order of images in which every beginning has its share of each class.

    Within a class the order is that of the SHA-256 digests of "<seed> <name>", which needs no library's generator, and
    which stays as it is when images are added.
    """
    digests = [hashlib.sha256(f"{seed} {name}".encode()).digest() for name in names]
    by_digest = sorted(range(len(names)), key=digests.__getitem__)
    sizes, seen, position = Counter(labels), Counter[int](), {}
    for index in by_digest:
        label = labels[index]
        seen[label] += 1
        position[index] = (seen[label] - 0.5) / sizes[label]
    return sorted(by_digest, key=position.__getitem__)
