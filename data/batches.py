"""Batches made on the device: gathered from one uint8 tensor, converted, resized and standardised there.

There is no per-image pipeline and no worker process. The order of an epoch is a function of (seed, epoch); where in
the epoch to begin is asked when iteration begins, and never stored, so that a stopped run goes on exactly.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .splits import Images


@dataclass(frozen=True)
class Preprocess:
    """What turns pixels into a network's input: uint8 or float (N, H, W), in 0..255 -> float32
    (N, 1, image_size, image_size).
    """

    mean: float
    std: float
    image_size: int

    def __call__(self, images: Tensor) -> Tensor:
        batch = images.unsqueeze(1) - 255 * self.mean  # a float32 tensor, in one pass
        if batch.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            batch = functional.interpolate(batch, size, mode="bilinear", antialias=True)
        return batch.mul_(1 / (255 * self.std))


def stream_seed(seed: int, *rng_key: int) -> int:
    """A 63-bit seed for the draws of one stream of a run: (epoch,) for an order, (epoch, batch) for what the network
    draws on a batch, (epoch, batch, 1) for its augmentation, (epoch, batch, 0, rank) for the networks of processes
    other than the first.
    """
    digest = hashlib.blake2b(struct.pack(f"<{1 + len(rng_key)}q", seed, *rng_key), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order in which `count` images are seen: a permutation that depends on (seed, epoch) alone."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(stream_seed(seed, epoch)))


def seed_generators(seed: int, device: torch.device) -> None:
    """torch.manual_seed for the CPU and `device`; that one asks every kind of device, which takes 0.2 ms a batch."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


PIXELS_AHEAD = 2**20  # of input, made at once: ten batches of 128 images of 28 x 28; of large ones a single batch
Augment = Callable[[Tensor, torch.Generator], Tensor]


class TrainingBatches:
    """One epoch of (images, labels) in its own order; the incomplete last batch is dropped.

    Before each batch torch's generators are seeded with its (seed, epoch, batch): whatever is drawn while the network
    trains on it, for dropout say, does not depend on where the run was stopped before.

    Augmentation has a generator of its own, seeded likewise: to turn it on does not change what dropout draws.

    `position` is asked once at the start of each iteration for the epoch and the first batch still to be made.

    Of `world` processes each gets its slice of the same batch, augmented as a whole: what an image becomes does not
    depend on how many they are.
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
        self.split, self.batch_size, self.preprocess, self.seed, self.position = (
            split,
            batch_size,
            preprocess,
            seed,
            position,
        )
        self.augment, self.rank = augment, rank
        self._size = batch_size // world
        self._own = slice(rank * self._size, (rank + 1) * self._size)

    def __len__(self) -> int:
        return len(self.split.labels) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, first = self.position()
        device = self.split.labels.device
        order = epoch_order(len(self.split.labels), self.seed, epoch).to(device)
        batches = order[: len(self) * self.batch_size].view(len(self), self.batch_size)[first:]
        made = self._augmented(batches, self.augment, epoch, first) if self.augment else self._plain(batches)
        for batch, images_and_labels in enumerate(made, first):
            rng_key = (epoch, batch, 0, self.rank) if self.rank else (epoch, batch)
            seed_generators(stream_seed(self.seed, *rng_key), device)
            yield images_and_labels

    def _plain(self, batches: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Some batches ahead are made at once: small ones take half as long then."""
        ahead = max(1, PIXELS_AHEAD // (self._size * self.preprocess.image_size**2))
        for start in range(0, len(batches), ahead):
            chosen = batches[start : start + ahead, self._own].flatten()
            images = self.preprocess(self.split.images.index_select(0, chosen))  # a fifth of what images[...] takes
            labels = self.split.labels.index_select(0, chosen)
            yield from zip(images.split(self._size), labels.split(self._size), strict=True)

    def _augmented(self, batches: Tensor, augment: Augment, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator(batches.device)
        for batch, chosen in enumerate(batches, first):
            generator.manual_seed(stream_seed(self.seed, epoch, batch, 1))
            images = augment(self.split.images.index_select(0, chosen), generator)
            yield self.preprocess(images[self._own]), self.split.labels.index_select(0, chosen[self._own])


EVALUATION_BATCH = 128  # images; bounds the memory of an evaluation at every image size


class EvaluationBatches:
    """Every image of a split exactly once, in its stored order; of `world` processes each sees its share, in as many
    batches as the others, none of them empty.
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
