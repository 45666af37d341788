"""Test which image sizes the networks read, also against the table in docs/networks.md."""

import functools
import re
from typing import Any

import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn

import models
from models.checks import height_and_width

SIDES = (1, 2, 23, 24, 25, 27, 28, 29, 31, 32, 33, 63, 64, 65, 66, 67, 68, 224)  # around every edge
ONE_STEM, TWO_STEMS = (48, 32), (100, 32)  # for images of two different sides: one size of each kind
SMALLEST = {"alexnet": 67, "vgg11": 64, "nin": 67, "googlenet": 64, "resnet18": 64, "densenet": 64}  # ImageNet stem
every_network = pytest.mark.parametrize("name", models.names())
Size = int | tuple[int, int]


def run(name: str, image_size: Size, **arguments: Any) -> tuple[nn.Module, Tensor]:
    """Build a network and compute the logits of two images, both without memory."""
    with torch.device("meta"):
        network = models.create(name, image_size=image_size, **arguments)
        images = torch.empty(2, arguments.get("in_channels", 1), *height_and_width(name, image_size))
        return network, network(images)


@functools.cache
def stem(name: str, image_size: Size) -> str | None:
    """Return the stem that reads this size, "" of a network with one form only, None if it refuses the size."""
    try:
        network, logits = run(name, image_size)
    except ValueError:
        return None
    assert logits.shape == (2, 10)
    if name not in SMALLEST:
        return ""
    return "small-image stem" if first_layers(network) == first_layers_at(name, 28) else "ImageNet stem"


@functools.cache
def first_layers_at(name: str, image_size: int) -> list[str]:
    return first_layers(run(name, image_size)[0])


def first_layers(network: nn.Module) -> list[str]:
    """Return the settings of the first two convolutions and poolings, in which the two stems differ."""
    return [str(module) for module in network.modules() if isinstance(module, nn.Conv2d | nn.MaxPool2d)][:2]


def sides(name: str) -> str:
    """Describe the sides of the square images that a network reads, such as "24 to 63 (small-image stem)"."""
    runs: list[tuple[str, list[int]]] = []  # the stem, and sides in a row
    previous = None
    for side in SIDES:
        found = stem(name, side)
        if found is not None:
            if found != previous:
                runs.append((found, []))
            runs[-1][1].append(side)
        previous = found
    return "; ".join(words(found) + (f" ({stem})" if stem else "") for stem, found in runs)


def words(found: list[int]) -> str:
    first, last = found[0], found[-1]
    if found == list(SIDES):
        return "any"
    if last == SIDES[-1]:
        return f"{first} and larger"
    return str(first) if first == last else f"{first} to {last}"


def rectangles(name: str) -> str:
    if stem(name, ONE_STEM) is None:
        return "no"
    return "yes" if stem(name, TWO_STEMS) is not None else "yes, both sides of one stem"


@pytest.mark.slow
@pytest.mark.thorough
def test_documented_sizes_are_those_that_the_networks_read() -> None:
    rows: dict[tuple[str, str], list[str]] = {}
    for name in models.names():
        rows.setdefault((sides(name), rectangles(name)), []).append(f"`{name}`")
    header = ["| networks | height and width, pixels | not square |", "| --- | --- | --- |"]
    table = [f"| {', '.join(names)} | {read} | {rectangle} |" for (read, rectangle), names in rows.items()]
    assert "\n".join([*header, *table]) in (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SMALLEST)
def test_small_image_stem_reads_every_size_below_the_imagenet_stem(name: str) -> None:
    assert [side for side in range(20, SMALLEST[name]) if stem(name, side) == "small-image stem"] == [
        *range(24, SMALLEST[name])
    ]


@pytest.mark.parametrize("name", SMALLEST)
def test_both_sides_belong_to_one_stem(name: str) -> None:
    smallest = SMALLEST[name]
    for size in ((24, smallest - 1), (smallest - 1, 24), (30, 45)):
        assert stem(name, size) == "small-image stem"
    for size in ((smallest, 100), (100, smallest)):
        assert stem(name, size) == "ImageNet stem"
        assert first_layers(run(name, size)[0]) == first_layers_at(name, 224)
    for size in ((smallest, smallest - 1), (24, smallest), (20, 30), (30, 23), (23, smallest), (23, 23)):
        read = f"reads images with both sides from 24 to {smallest - 1} pixels, or both at least {smallest}"
        with pytest.raises(ValueError, match=f"{read}, got {size[0]} x {size[1]}$"):
            models.create(name, image_size=size)


@pytest.mark.parametrize(("size", "padding", "side"), [(28, 0, 4), (28, 2, 5), (32, 0, 5), (32, 2, 6)])
def test_lenet_reads_its_own_32_pixels_and_28(size: int, padding: int, side: int) -> None:
    network, logits = run("lenet", size, padding=padding)
    assert network.get_parameter("c5.0.weight").shape == (120, 16 * side**2)
    assert logits.shape == (2, 10)
    for other in (20, 27, 30, 31, 33, (28, 32), (32, 28)):
        with pytest.raises(ValueError, match="LeNet reads 28 x 28 or 32 x 32 images, got "):
            run("lenet", other, padding=padding)


@every_network
@pytest.mark.parametrize(("in_channels", "num_classes"), [(2, 1), (3, 1000), (4, 2)])
def test_numbers_of_channels_and_classes_are_free(name: str, in_channels: int, num_classes: int) -> None:
    for image_size in {28, SMALLEST.get(name, 28)}:
        _, logits = run(name, image_size, in_channels=in_channels, num_classes=num_classes)
        assert logits.shape == (2, num_classes)


@every_network
def test_other_images_than_those_of_two_sides_are_refused(name: str) -> None:
    size = (28, 28) if name == "lenet" else (48, 32)
    network, _ = run(name, size)
    if size == (48, 32):
        with torch.device("meta"), pytest.raises(ValueError, match=r"reads 48 x 32 images, got 32 x 48$"):
            network(torch.empty(2, 1, 32, 48))
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match=r"reads images \(N, 1, \d+, \d+\), got \(1, \d+, \d+\)$"),
    ):
        network(torch.empty(1, *size))


def test_one_number_is_a_square_and_a_list_is_a_tuple() -> None:
    assert height_and_width("X", 28) == height_and_width("X", (28, 28)) == height_and_width("X", [28, 28]) == (28, 28)
    assert height_and_width("X", (1, 2)) == (1, 2)


@pytest.mark.parametrize(
    "wrong", [0, -1, (28, 0), (28,), (1, 2, 3), (), 28.0, (28, 28.0), "28", "ab", True, None, {1: 2}]
)
def test_other_image_sizes_are_refused(wrong: Any) -> None:
    message = f"X: image_size must be a whole number of at least 1, or two, height and width, got {wrong!r}"
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        height_and_width("X", wrong)
