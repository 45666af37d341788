"""Check that batches equal torchvision's per-image pipeline, in an order that depends on (seed, epoch) only."""

import pytest
import torch
from torchvision.transforms import v2

from data import batches
from data.batches import EvaluationBatches, Preprocess, TrainingBatches, epoch_order, stream_seed
from data.splits import Images

IMAGES = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PREPROCESS = Preprocess((0.3,), (0.4,), (28, 28))
SPLIT = Images(IMAGES, torch.arange(50))  # each label names its image


def batches_of(seed: int = 1, epoch: int = 0, first: int = 0) -> list[torch.Tensor]:
    loader = TrainingBatches(SPLIT, 16, PREPROCESS, seed, lambda: (epoch, first))
    assert len(loader) == 3
    return [labels for _, labels in loader]


@pytest.mark.parametrize("size", [28, 64, 224, 14])
def test_preprocessing_equals_torchvision(size: int) -> None:
    transform = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize((size, size), antialias=True),
            v2.Normalize([0.3], [0.4]),
        ]
    )
    expected = torch.stack([transform(image) for image in IMAGES[:4]])
    preprocessed = Preprocess((0.3,), (0.4,), (size, size))(IMAGES[:4])
    assert preprocessed.dtype == torch.float32
    torch.testing.assert_close(preprocessed, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ahead", [0, 2, 3, 99])
def test_images_keep_their_labels_however_many_batches_are_made_at_once(
    ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PIXELS_AHEAD", ahead * 8 * 28 * 28)
    preprocess, size = PREPROCESS, 8
    made = list(TrainingBatches(SPLIT, size, preprocess, 1, lambda: (0, 1)))
    assert len(made) == 5
    order = epoch_order(50, 1, 0)[size:]
    for i, (images, labels) in enumerate(made):
        assert torch.equal(labels, order[i * size : (i + 1) * size])
        assert torch.equal(images, preprocess(IMAGES[labels]))


def test_epoch_reads_each_image_at_most_once_and_drops_the_incomplete_batch() -> None:
    seen = torch.cat(batches_of())
    assert len(seen) == 48 == len(seen.unique())


def test_order_of_images_depends_on_seed_and_epoch_only() -> None:
    assert torch.equal(torch.cat(batches_of(seed=1, epoch=2)), torch.cat(batches_of(seed=1, epoch=2)))
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16
    torch.manual_seed(5)  # a global state that the order neither reads nor changes
    before = torch.get_rng_state()
    epoch_order(50, 1, 1)
    assert torch.equal(before, torch.get_rng_state())


def test_loader_that_starts_at_a_later_batch_gives_the_rest_of_the_epoch() -> None:
    whole = batches_of(epoch=3)
    for first in range(4):
        rest = batches_of(epoch=3, first=first)
        assert len(rest) == 3 - first
        assert all(torch.equal(a, b) for a, b in zip(whole[first:], rest, strict=True))


def test_random_numbers_of_a_batch_depend_on_seed_epoch_and_batch_only() -> None:
    def draws(epoch: int, first: int) -> list[float]:
        torch.manual_seed(first)  # earlier random numbers must not matter
        loader = TrainingBatches(SPLIT, 16, PREPROCESS, 1, lambda: (epoch, first))
        return [torch.rand(()).item() for _ in loader]

    assert draws(0, 1) == draws(0, 0)[1:]
    assert len({*draws(0, 0), *draws(1, 0)}) == 6


def test_random_numbers_of_augmentation_depend_on_the_batch_and_change_no_others() -> None:
    def draws(seed: int, epoch: int, first: int, augmented: bool = True) -> tuple[list[float], list[float]]:
        own: list[float] = []

        def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            own.append(torch.rand((), generator=generator).item())
            return images

        loader = TrainingBatches(SPLIT, 16, PREPROCESS, seed, lambda: (epoch, first), augment if augmented else None)
        return own, [torch.rand(()).item() for _ in loader]

    assert draws(1, 0, 1)[0] == draws(1, 0, 0)[0][1:]
    assert len({*draws(1, 0, 0)[0], *draws(1, 1, 0)[0], *draws(2, 0, 0)[0]}) == 9
    assert draws(1, 0, 0)[1] == draws(1, 0, 0, augmented=False)[1]
    assert not {*draws(1, 0, 0)[0]} & {*draws(1, 0, 0)[1]}


def test_every_rng_key_has_its_own_seed() -> None:
    seeds = {stream_seed(seed, *rng_key) for seed in range(3) for rng_key in [(0,), (1,), (0, 0), (0, 1), (1, 0)]}
    assert len(seeds) == 15
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("batch_size", [7, 50, 128])
def test_evaluation_reads_every_image_once_in_order(batch_size: int) -> None:
    batches = EvaluationBatches(SPLIT, batch_size, PREPROCESS)
    labels = [labels for _, labels in batches]
    assert len(labels) == len(batches)
    assert torch.cat(labels).tolist() == list(range(50))


LARGE_SPLIT = Images(
    torch.randint(0, 256, (300, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(300),
)


@pytest.mark.parametrize("world", [1, 2, 4, 16])
@pytest.mark.parametrize("augmented", [False, True])
def test_processes_get_slices_of_the_same_batches(world: int, augmented: bool) -> None:
    def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return images + torch.rand(len(images), 1, 1, 1, generator=generator)

    def batches(rank: int, world: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        loader = TrainingBatches(
            LARGE_SPLIT, 16, PREPROCESS, 1, lambda: (2, 3), augment if augmented else None, rank, world
        )
        return list(loader)

    shares = [batches(rank, world) for rank in range(world)]
    for whole, *slices in zip(batches(0, 1), *shares, strict=True):
        assert {len(labels) for _, labels in slices} == {16 // world}
        for tensor, parts in zip(whole, zip(*slices, strict=True), strict=True):
            assert torch.equal(tensor, torch.cat(parts))


def test_random_numbers_differ_between_processes() -> None:
    def draws(*rank_and_world: int) -> list[float]:
        loader = TrainingBatches(LARGE_SPLIT, 16, PREPROCESS, 1, lambda: (0, 0), None, *rank_and_world)
        return [torch.rand(()).item() for _ in loader]

    assert draws(0, 2) == draws()
    assert len({*draws(0, 4), *draws(1, 4), *draws(2, 4)}) == 3 * 18
    assert draws(1, 4) == draws(1, 4)


@pytest.mark.parametrize("images", [7, 127, 128, 129, 255, 256, 257, 300])
@pytest.mark.parametrize("world", [2, 3, 7])
def test_processes_evaluate_every_image_exactly_once(images: int, world: int) -> None:
    split = Images(*(tensor[:images] for tensor in LARGE_SPLIT))
    shares = [[labels for _, labels in EvaluationBatches(split, 64, PREPROCESS, rank, world)] for rank in range(world)]
    assert {len(share) for share in shares} == {len(EvaluationBatches(split, 64, PREPROCESS, 0, world))}
    sizes = [len(labels) for share in shares for labels in share]
    assert min(sizes) > 0
    assert max(sizes) <= 64
    assert torch.cat([labels for share in shares for labels in share]).sort().values.tolist() == list(range(images))
