"""Check that augmentations equal torchvision's transforms of each image and are drawn from the stated distributions."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

import data
from data import DATASETS
from data import __main__ as sheets
from data.augmentation import (
    SETTINGS,
    Augmentation,
    cutout,
    horizontal_flip,
    random_erasing,
    rotate_and_scale,
    shift,
)
from data.splits import Images, Splits

COLOUR = (73.0, 10.0, 200.0)
EACH: dict[str, tuple[float, Callable[[Tensor, torch.Generator], Tensor]]] = {  # setting: value, expected augmentation
    "horizontal_flip": (0.5, lambda images, generator: horizontal_flip(images, generator, 0.5)),
    "rotation": (10.0, lambda images, generator: rotate_and_scale(images, generator, 10.0, 0)),
    "scale": (0.2, lambda images, generator: rotate_and_scale(images, generator, 0, 0.2)),
    "shift": (2, lambda images, generator: shift(images, generator, 2)),
    "erasing": (0.5, lambda images, generator: random_erasing(images, generator, 0.5)),
    "cutout": (8, lambda images, generator: cutout(images, generator, 8, COLOUR)),
}
VALUES: dict[str, Any] = {name: value for name, (value, _) in EACH.items()}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, height: int = 28, width: int = 28, channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=seeded(0))


def assert_equally_likely(counts: Tensor) -> None:
    """Assert that Pearson's statistic is at most four standard deviations above its mean for equal probabilities."""
    degrees = counts.numel() - 1
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < degrees + 4 * math.sqrt(2 * degrees)


def assert_uniform(values: Tensor, low: float, high: float) -> None:
    """Assert uniformity by Kolmogorov's test at a level of about 1 in 1500, with float32's rounding at both ends."""
    values, _ = values.double().sort()
    assert low - 1e-4 * (high - low) <= values[0]
    assert values[-1] <= high + 1e-4 * (high - low)
    expected = (torch.arange(len(values)) + 0.5) / len(values)
    assert ((values - low) / (high - low) - expected).abs().max() < 2 / math.sqrt(len(values))


def assert_same_distribution(ours: Tensor, theirs: Tensor) -> None:
    """Assert the equality of two distributions by the Kolmogorov-Smirnov test, at a level of about 1 in 1500."""
    points = torch.cat((ours, theirs)).unique()
    below = [torch.searchsorted(sample.sort().values, points, right=True) / len(sample) for sample in (ours, theirs)]
    assert (below[0] - below[1]).abs().max() < 2 * math.sqrt(1 / len(ours) + 1 / len(theirs))


def test_shift_takes_a_uniformly_random_crop_of_the_padded_image() -> None:
    images, pixels = random_images(5000, 10, 12).float(), 2
    shifted = shift(images, seeded(1), pixels)
    assert shifted.shape == images.shape
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)))
    crops = [padded[:, :, row : row + 10, column : column + 12] for row in range(5) for column in range(5)]
    found = torch.from_numpy(np.stack([(crop == shifted.numpy()).all(axis=(1, 2, 3)) for crop in crops]))
    assert (found.sum(dim=0) == 1).all()
    assert_equally_likely(found.sum(dim=1).double())


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_horizontal_flip_mirrors_images_with_its_probability(probability: float) -> None:
    images = random_images(4000, 5, 6).float()
    flipped = horizontal_flip(images, seeded(1), probability)
    chosen = (flipped != images).flatten(1).any(dim=1)
    assert torch.equal(flipped[chosen], v2.functional.horizontal_flip(images[chosen]))
    assert chosen.double().mean().item() == pytest.approx(probability, abs=4 * 0.5 / math.sqrt(4000))
    assert 0 < probability < 1 or chosen.all() == chosen.any() == bool(probability)


def rotations_and_factors(seed: int, count: int, degrees: float, scale: float) -> tuple[Tensor, Tensor]:
    """Measure the drawn angles (N,), in degrees, and factors (N,) in the middle of two ramps."""
    ramp = torch.arange(28.0).expand(28, 28)
    across = rotate_and_scale(ramp.expand(count, 1, -1, -1), seeded(seed), degrees, scale)
    down = rotate_and_scale(ramp.T.expand(count, 1, -1, -1), seeded(seed), degrees, scale)
    per_pixel = [(image[:, 0, 14, 18] - image[:, 0, 14, 10]).double() / 8 for image in (across, down)]
    return torch.atan2(-per_pixel[1], per_pixel[0]).rad2deg(), 1 / torch.hypot(*per_pixel)


@pytest.mark.parametrize(("degrees", "scale"), [(30, 0.2), (15, 0), (0, 0.3), (180, 0.5)])
@pytest.mark.parametrize("width", [28, 20])
def test_rotation_and_scale_equal_torchvision(degrees: float, scale: float, width: int) -> None:
    angles, factors = rotations_and_factors(1, 40, degrees, scale)
    images = random_images(40, 28, width).float()
    expected = [
        v2.functional.affine(image, angle, [0, 0], factor, [0.0, 0.0], InterpolationMode.BILINEAR)
        for image, angle, factor in zip(images, angles.tolist(), factors.tolist(), strict=True)
    ]
    transformed = rotate_and_scale(images, seeded(1), degrees, scale)
    torch.testing.assert_close(transformed, torch.stack(expected), rtol=0, atol=0.05)  # of 255


def test_angles_and_factors_are_uniform_and_independent() -> None:
    angles, factors = rotations_and_factors(2, 3000, 20, 0.25)
    assert_uniform(angles, -20, 20)
    assert_uniform(factors, 0.75, 1.25)
    assert torch.corrcoef(torch.stack((angles, factors)))[0, 1].abs() < 4 / math.sqrt(3000)


def rectangles(mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Assert that each mask of (N, H, W) is one rectangle, and return their tops, lefts, heights and widths (N,)."""
    (top, height), (left, width) = (
        (lines.byte().argmax(dim=1), lines.sum(dim=1)) for lines in (mask.any(dim=2), mask.any(dim=1))
    )
    for i, of_one in enumerate(mask.numpy()):
        assert of_one[top[i] : top[i] + height[i], left[i] : left[i] + width[i]].all()
    assert torch.equal(mask.sum(dim=(1, 2)), height * width)
    return top, left, height, width


MARKER = -1.0  # a pixel that no augmentation makes
ERASED_AREA, ASPECT_RATIO = (0.02, 0.4), (0.3, 1 / 0.3)  # Zhong et al.


def test_erased_rectangles_are_distributed_as_in_torchvision() -> None:
    erased = random_erasing(torch.full((4000, 1, 28, 28), MARKER), seeded(1), 1.0)
    top, left, height, width = rectangles(erased[:, 0] != MARKER)
    assert ((height > 0) & (width > 0) & (height < 28) & (width < 28)).all()
    area = ((height - 0.5) * (width - 0.5), (height + 0.5) * (width + 0.5))  # before height and width were rounded
    ratio = ((height - 0.5) / (width + 0.5), (height + 0.5) / (width - 0.5))
    for (least, most), (low, high) in ((area, [28 * 28 * bound for bound in ERASED_AREA]), (ratio, ASPECT_RATIO)):
        assert (most >= low).all()
        assert (least <= high).all()

    theirs = v2.RandomErasing(p=1, scale=ERASED_AREA, ratio=ASPECT_RATIO)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        drawn = [theirs.make_params([torch.empty(1, 28, 28)]) for _ in range(2000)]
    i, j, h, w = (torch.tensor([params[name] for params in drawn]) for name in "ijhw")
    for mine, other in (
        (top, i),
        (left, j),
        (height, h),
        (width, w),
        (height * width, h * w),
        (height / width, h / w),
        (top / (28 - height), i / (28 - h)),
    ):
        assert_same_distribution(mine.double(), other.double())


def test_erasing_fills_with_uniform_noise_and_keeps_the_other_pixels() -> None:
    images = random_images(3000).float()
    inside = random_erasing(torch.full_like(images, MARKER), seeded(1), 0.3) != MARKER
    chosen = inside.flatten(1).any(dim=1)
    assert chosen.double().mean().item() == pytest.approx(0.3, abs=4 * 0.5 / math.sqrt(3000))
    erased = random_erasing(images, seeded(1), 0.3)
    assert torch.equal(erased[~inside], images[~inside])
    assert_uniform(erased[inside], 0, 255)
    assert len(erased[inside].unique()) > 0.95 * inside.sum()  # each pixel has its own noise
    assert torch.equal(random_erasing(images, seeded(1), 0.0), images)


def test_erasing_keeps_an_image_in_which_no_rectangle_fits() -> None:
    images = random_images(50, 1, 28).float()  # a height below 1 is no rectangle
    assert torch.equal(random_erasing(images, seeded(1), 1.0), images)


@pytest.mark.parametrize("side", [3, 4])
def test_cutout_is_a_clipped_square_about_a_uniform_pixel(side: int) -> None:
    height, width = 9, 7
    cut = cutout(torch.full((6300, 1, height, width), MARKER), seeded(1), side, fill=(73.0,))
    squares = np.full((height, width, height, width), MARKER, dtype=np.float32)
    for row in range(height):
        for column in range(width):
            top, left = row - side // 2, column - side // 2
            squares[row, column, max(top, 0) : top + side, max(left, 0) : left + side] = 73
    found = (cut.flatten(1).unsqueeze(1) == torch.from_numpy(squares).flatten(2).flatten(0, 1)).all(dim=2)
    assert (found.sum(dim=1) == 1).all()
    assert_equally_likely(found.sum(dim=0).double())
    images = random_images(100).float()
    inside = cutout(torch.full_like(images, MARKER), seeded(2), side, fill=(0, 0, 0)) == 0
    colour = torch.tensor(COLOUR).view(3, 1, 1)
    assert torch.equal(cutout(images, seeded(2), side, fill=COLOUR), torch.where(inside, colour, images))


@pytest.mark.parametrize("name", EACH)
def test_each_image_has_its_own_draw(name: str) -> None:
    same = random_images(1).expand(200, -1, -1, -1).float()
    outputs = len(EACH[name][1](same, seeded(1)).flatten(1).unique(dim=0))
    possible = {"horizontal_flip": 2, "shift": 25}  # numbers of possible outcomes, where they are small
    assert outputs == possible[name] if name in possible else outputs > 80


@pytest.mark.parametrize("name", EACH)
def test_setting_enables_only_its_own_augmentation(name: str) -> None:
    images = random_images(100)
    augment = Augmentation(fill=COLOUR, **{name: VALUES[name]})
    augmented = augment(images, seeded(1))
    assert augmented.dtype == torch.float32
    assert torch.equal(augmented, EACH[name][1](images.float(), seeded(1)))


ALL = Augmentation(fill=COLOUR, **VALUES)


def test_all_together_are_applied_in_the_order_of_their_fields() -> None:
    generator, images = seeded(1), random_images(100)
    expected = rotate_and_scale(horizontal_flip(images.float(), generator, 0.5), generator, 10.0, 0.2)
    expected = cutout(random_erasing(shift(expected, generator, 2), generator, 0.5), generator, 8, COLOUR)
    assert torch.equal(ALL(images, seeded(1)), expected)


def test_setting_of_0_changes_no_image_and_draws_no_random_numbers() -> None:
    assert Augmentation(fill=COLOUR).is_off
    assert not any(Augmentation(fill=COLOUR, **{name: value}).is_off for name, value in VALUES.items())
    generator, images = seeded(1), random_images(20)
    before = generator.get_state()
    assert torch.equal(Augmentation(fill=COLOUR)(images, generator), images.float())
    assert torch.equal(generator.get_state(), before)


def test_all_draws_come_from_the_given_generator() -> None:
    images = random_images(50)
    torch.manual_seed(5)
    before, first = torch.get_rng_state(), ALL(images, seeded(1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(ALL(images, seeded(1)), first)
    assert not torch.equal(ALL(images, seeded(2)), first)
    generator = seeded(1)
    assert not torch.equal(ALL(images, generator), ALL(images, generator))


def test_uint8_and_float_images_give_equal_results_and_are_not_modified() -> None:
    images = random_images(50)
    floats = images.float()
    assert torch.equal(ALL(images, seeded(1)), ALL(floats, seeded(1)))
    assert torch.equal(ALL(images, seeded(1)), ALL(images.double(), seeded(1)))
    assert torch.equal(images, random_images(50))
    assert torch.equal(floats, random_images(50).float())
    for _, augment in EACH.values():
        augment(floats, seeded(1))
        assert torch.equal(floats, random_images(50).float())


def test_augmentation_reads_no_value_back_from_the_device() -> None:
    """Run on the meta device, which has no values: .item(), a branch on a tensor and a mask as an index raise."""
    no_generator: Any = None  # the meta device has none
    augmented = ALL(torch.empty(8, 3, 28, 28, dtype=torch.uint8, device="meta"), no_generator)
    assert augmented.shape == (8, 3, 28, 28)


def flips_digits(recipe: dict[str, Any]) -> bool:
    chosen = {key: option for default in recipe["defaults"] for key, option in default.items()}
    augment = recipe.get("data", {}).get("augment") or {}
    return bool(augment.get("horizontal_flip")) and not DATASETS[chosen.get("override /data", "mnist")].may_be_flipped


def test_no_recipe_mirrors_digits() -> None:
    recipes = [yaml.safe_load(path.read_text()) for path in (ROOT / "configs/recipe").glob("*.yaml")]
    assert recipes
    assert not any(flips_digits(recipe) for recipe in recipes)
    digits = yaml.safe_load("{defaults: [override /data: mnist], data: {augment: {horizontal_flip: 0.5}}}")
    assert flips_digits(digits)


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., np.ndarray]:
    """Run `python -m data` with these arguments on two random images of each class; return its picture in grey."""

    def draw(*arguments: str) -> np.ndarray:
        split = Images(random_images(20, channels=1), torch.arange(10).repeat(2))
        monkeypatch.setattr(sheets, "load", lambda name: Splits(data.DATASETS[name], split, None, split))
        monkeypatch.setattr(sys, "argv", ["data", "--output", str(tmp_path / "picture.png"), *arguments])
        sheets.main()
        with Image.open(tmp_path / "picture.png") as picture:
            return np.asarray(picture.convert("L"))

    return draw


def test_every_augmentation_is_configured_shown_and_tested() -> None:
    configured = yaml.safe_load((ROOT / "configs/train.yaml").read_text())["data"]["augment"]
    off = {name: getattr(Augmentation(fill=COLOUR), name) for name in SETTINGS}
    assert {name: (type(value), value) for name, value in configured.items()} == {
        name: (type(value), value) for name, value in off.items()
    }
    assert list(SETTINGS) == list(EACH)
    assert all(0 < each["shown"] <= each["largest"] for each in SETTINGS.values())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"shift": 99}, "data.augment.shift=99 is not valid, it should be a whole number from 0 to 28."),
        ({"shift": 2.0}, "data.augment.shift=2.0 is not valid"),
        ({"shift": True}, "data.augment.shift=True is not valid"),
        ({"cutout": 225}, "data.augment.cutout=225 is not valid"),
        ({"erasing": -0.1}, "data.augment.erasing=-0.1 is not valid, it should be a number from 0 to 1."),
        ({"rotation": "10"}, "data.augment.rotation=10 is not valid, it should be a number from 0 to 180."),
        ({"scale": math.nan}, "data.augment.scale=nan is not valid, it should be a number from 0 to 0.9."),
    ],
)
def test_wrong_setting_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}"):
        Augmentation(fill=COLOUR, **settings)


def test_largest_values_and_integers_for_floats_are_valid() -> None:
    assert not Augmentation(COLOUR, **{name: each["largest"] for name, each in SETTINGS.items()}).is_off
    assert not Augmentation(COLOUR, rotation=180, erasing=1).is_off


def test_picture_shows_the_augmented_images(draw: Callable[..., np.ndarray]) -> None:
    classes, each, together = draw(), draw("augmentation"), draw("augmentation", "horizontal_flip=1", "shift=0")
    assert len(classes) < len(together) < len(each)

    def cell(data_set: int, row: int, number: int) -> np.ndarray:
        left = sheets.LABEL + data_set * (together.shape[1] - sheets.LABEL) // len(DATASETS)
        left, top = left + number * sheets.CELL + sheets.GAP * (number > 0), sheets.HEAD + row * sheets.CELL
        return together[top : top + 56, left : left + 56]

    for row, image in enumerate(random_images(20, channels=1)[:10, 0].numpy()):
        enlarged = image.repeat(2, axis=0).repeat(2, axis=1)
        for number in range(1 + sheets.DRAWS):
            assert (cell(0, row, number) == enlarged).all()  # digits are never mirrored
            assert (cell(1, row, number) == (enlarged[:, ::-1] if number else enlarged)).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("augmentation shfit=2", "there is no key data.augment.shfit, there are horizontal_flip, rotation"),
        ("augmentation shift=2.5", "shift=2.5 is not valid, it should be a whole number from 0 to 28"),
        ("augmentation shift", "shift= is not valid"),
        ("augmentation scale=1e9", "scale=1000000000.0 is not valid, it should be a number from 0 to 0.9"),
        ("shift=2", "invalid choice: 'shift=2'"),
        ("classes shift=2", "key=value goes with augmentation"),
    ],
)
def test_wrong_command_prints_a_one_line_error(
    arguments: str, says: str, draw: Callable[..., np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        draw(*arguments.split())
    assert exit.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("refzoo: ")
    assert says in line


@pytest.mark.parametrize("name", ["missing/picture.png", "picture.pgn"])
def test_picture_that_cannot_be_written_prints_a_one_line_error(
    name: str, tmp_path: Path, draw: Callable[..., np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        draw("--output", str(tmp_path / name))
    assert exit.value.code == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name} cannot be written" in line


@pytest.mark.parametrize(("argument", "status"), [("clases", 2), ("shift=2", 2), ("--help", 0)])
def test_help_and_a_wrong_picture_name_do_not_import_torch(argument: str, status: int) -> None:
    program = "import sys, data.__main__ as program\ntry: program.main()\nfinally: assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", program, argument]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == (status != 0)
