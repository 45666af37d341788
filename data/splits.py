"""Split a data set into training, validation and test images. The validation images are the same for every seed."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .datasets import DatasetInfo
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
