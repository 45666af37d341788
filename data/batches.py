"""Make batches on the device: gather them from one uint8 tensor, augment, resize and standardise them there.

There is no per-image pipeline and no worker process. The order of an epoch is a function of (seed, epoch). Its first
batch is asked for when iteration begins and is never stored, so that a stopped run continues exactly.
"""

import hashlib
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .datasets import height_and_width
from .splits import Images


@dataclass(frozen=True)
class Preprocess:
    """Resize and standardise uint8 or float images (N, C, h, w), in 0..255, to float32 (N, C, height, width).

    `mean` and `std` are those of the pixels in [0, 1] of each channel; `image_size` is (height, width).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: tuple[int, int]

    def __call__(self, images: Tensor) -> Tensor:
        batch = images - self._per_channel([255 * mean for mean in self.mean], images.device)  # float32, in one pass
        if batch.shape[-2:] != self.image_size:
            batch = functional.interpolate(batch, self.image_size, mode="bilinear", antialias=True)
        return batch.mul_(self._per_channel([1 / (255 * std) for std in self.std], images.device))

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> "Preprocess":
        """Read what `as_card` wrote. Raises KeyError, TypeError or ValueError if it is not complete and in range."""
        mean, std, size = (card[key] for key in ("mean", "std", "image_size"))
        means, stds = (tuple(map(float, each if isinstance(each, list) else [each])) for each in (mean, std))
        if len(means) != len(stds) or not all(0 <= each <= 1 for each in means + stds) or 0 in stds:
            raise ValueError(f"mean {mean}, std {std}")
        return cls(means, stds, height_and_width(size))

    def as_card(self) -> dict[str, Any]:
        """Return a card's fields: numbers where there is one channel and the images are square, else lists."""
        (height, width), one = self.image_size, len(self.mean) == 1
        return {
            "mean": self.mean[0] if one else list(self.mean),
            "std": self.std[0] if one else list(self.std),
            "image_size": height if height == width else [height, width],
        }

    @staticmethod
    def _per_channel(values: list[float], device: torch.device) -> Tensor | float:
        """Return values as a tensor (C, 1, 1); of one channel as a number, which is faster."""
        return values[0] if len(values) == 1 else torch.tensor(values, device=device).view(-1, 1, 1)


def stream_seed(seed: int, *rng_key: int) -> int:
    """Derive a 63-bit seed for one random stream of a run from the run's seed and the stream's key.

    The keys are (epoch,) for the order of an epoch, (epoch, batch) for the network's own draws (dropout),
    (epoch, batch, 0, rank) for those on ranks other than 0, and (epoch, batch, 1) for augmentation.
    """
    digest = hashlib.blake2b(struct.pack(f"<{1 + len(rng_key)}q", seed, *rng_key), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the epoch's permutation (count,) of the image indices. It depends on (seed, epoch) alone."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(stream_seed(seed, epoch)))


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's generators of the CPU and `device`. torch.manual_seed seeds every kind, in 0.2 ms."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


PIXELS_AHEAD = 2**20  # made at once: ten batches of 128 images of 28 x 28, or one batch of larger images
Augment = Callable[[Tensor, torch.Generator], Tensor]


class TrainingBatches:
    """Yield the (images, labels) batches of one epoch in its order; the incomplete last batch is dropped.

    `position` returns (epoch, first batch) and is called once at the start of each iteration. Before each batch torch's
    generators are seeded from (seed, epoch, batch), so that dropout does not depend on where a run was interrupted.
    `augment` gets a generator of its own, seeded likewise, so that it does not change what dropout draws.

    Each of `world` processes gets its slice of the same batch, which is augmented as a whole, so that the augmented
    images do not depend on the number of processes.
    """

    def __init__(
        self,
        split: Images,
        batch_size: int,
        preprocess: Preprocess,
        seed: int,
        position: Callable[[], tuple[int, int]],
        augment: Augment | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.split, self.batch_size, self.preprocess, self.seed = split, batch_size, preprocess, seed
        self.position, self.augment, self.rank = position, augment, rank
        self._size = batch_size // world
        self._own = slice(rank * self._size, (rank + 1) * self._size)

    def __len__(self) -> int:
        return len(self.split.labels) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, first = self.position()
        device = self.split.labels.device
        order = epoch_order(len(self.split.labels), self.seed, epoch).to(device)
        batches = order[: len(self) * self.batch_size].view(len(self), self.batch_size)[first:]
        made = self._augmented(batches, self.augment, epoch, first) if self.augment else self._unaugmented(batches)
        for batch, images_and_labels in enumerate(made, first):
            rng_key = (epoch, batch, 0, self.rank) if self.rank else (epoch, batch)
            seed_generators(stream_seed(self.seed, *rng_key), device)
            yield images_and_labels

    def _unaugmented(self, batches: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Make several batches at once: for small images this halves the time."""
        ahead = max(1, PIXELS_AHEAD // (self._size * math.prod(self.preprocess.image_size)))
        for start in range(0, len(batches), ahead):
            chosen = batches[start : start + ahead, self._own].flatten()
            images = self.preprocess(self.split.images.index_select(0, chosen))  # 5 x faster than images[...]
            labels = self.split.labels.index_select(0, chosen)
            yield from zip(images.split(self._size), labels.split(self._size), strict=True)

    def _augmented(self, batches: Tensor, augment: Augment, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator(batches.device)
        for batch, chosen in enumerate(batches, first):
            generator.manual_seed(stream_seed(self.seed, epoch, batch, 1))
            images = augment(self.split.images.index_select(0, chosen), generator)
            yield self.preprocess(images[self._own]), self.split.labels.index_select(0, chosen[self._own])


EVALUATION_BATCH = 128  # images; bounds the memory at every image size


class EvaluationBatches:
    """Yield every image of a split exactly once, as (images, labels) batches in stored order.

    Each of `world` processes gets an equal number of batches, none of them empty.
    """

    def __init__(
        self, split: Images, batch_size: int, preprocess: Callable[[Tensor], Tensor], rank: int = 0, world: int = 1
    ) -> None:
        self.split, self.batch_size, self.preprocess, self.rank, self.world = split, batch_size, preprocess, rank, world

    def __len__(self) -> int:
        return -(-len(self.split.labels) // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in zip(*map(self._batches, self.split), strict=True):
            yield self.preprocess(images), labels

    def _batches(self, tensor: Tensor) -> Sequence[Tensor]:
        if self.world == 1:
            return tensor.split(self.batch_size)
        return tensor.tensor_split(len(self) * self.world)[self.rank :: self.world]
