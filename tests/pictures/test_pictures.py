"""Test that image files of every kind become 28 x 28 pixels like those of the data set, or one clear error."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, read_once
from PIL import Image, ImageDraw

import data
import pictures
from data import DataError, idx


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def seven(size: int = 112, ink: Any = 255, paper: Any = 0, mode: str = "L") -> Image.Image:
    """Draw a seven in the upper left part of a picture."""
    image, unit = Image.new(mode, (size, size), paper), size / 112
    corners = [(12 * unit, 16 * unit), (60 * unit, 16 * unit), (30 * unit, 80 * unit)]
    ImageDraw.Draw(image).line(corners, fill=ink, width=round(10 * unit), joint="curve")
    return image


def pixels(image: Image.Image, folder: Path, dataset: str = "mnist", kind: str = "PNG", **options: Any) -> np.ndarray:
    path = folder / "picture"
    image.save(path, kind, **options)
    return pictures.read(str(path), dataset).pixels[0].astype(int)


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean absolute difference of a pixel, in grey levels."""
    return float(np.abs(one - other).mean())


def png(width: int, height: int) -> bytes:
    """Return a PNG file of about 70 bytes whose header declares this size."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    )
    packed = (struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def truncated(image: Image.Image, kind: str) -> bytes:
    return (content := encoded(image, kind))[: len(content) // 2]


def overwritten(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Overwrite the middle third of a file; a TIFF's directory, at its end, stays whole."""
    hole = len(content := encoded(image, kind, **options)) // 3
    return content[:hole] + b"\xff" * hole + content[2 * hole :]


def constant(colour: Any, mode: str = "L") -> bytes:
    return encoded(Image.new(mode, (50, 40), colour), "PNG")


noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60), np.uint8))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"hello", "is not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
        (png(30_000, 30_000), "has more than 67,108,864 pixels"),
        (png(10_000, 10_000), "has more than 67,108,864 pixels"),
        (b"P5 99999 99999 255\n", "has more than 67,108,864 pixels"),
        (png(20, 20), "is damaged"),
        (truncated(noise, "PNG"), "is damaged"),
        (truncated(noise, "JPEG"), "is damaged"),
        (truncated(noise, "TIFF"), "is damaged|is not an image"),
        (overwritten(noise, "TIFF", compression="tiff_lzw"), "is damaged"),
        (overwritten(noise, "WEBP", lossless=True), "is damaged"),
        (truncated(noise, "BMP"), "is damaged"),
        (truncated(noise, "GIF"), "is damaged"),
        (truncated(noise, "WEBP"), "is damaged"),
        (constant(0), "shows nothing but its background"),
        (constant(200), "shows nothing but its background"),
        (constant((9, 9, 9, 0), "RGBA"), "is wholly transparent"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_unreadable_or_empty_picture_is_refused_with_the_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, says: str, dataset: str
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        pictures.read(str(path), dataset)
    assert capfd.readouterr() == ("", "")


def test_libtiff_warnings_are_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fax.tiff"
    path.write_bytes(overwritten(noise.convert("1"), "TIFF", compression="group4"))
    pictures.read(str(path), "fashion_mnist")  # libtiff decodes a part, and warns
    assert capfd.readouterr() == ("", "")


def test_digit_is_scaled_to_20_pixels_and_centred_by_its_centre_of_mass(tmp_path: Path) -> None:
    for size in (40, 112, 300, 1000):
        for shown in (seven(size), seven(size).transpose(Image.Transpose.ROTATE_90)):
            found = pixels(shown, tmp_path)
            rows, columns = np.nonzero(found.max(axis=1))[0], np.nonzero(found.max(axis=0))[0]
            assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
            share = found / found.sum()
            for axis in (0, 1):
                assert abs((share.sum(axis=axis) * np.arange(28)).sum() - 14) <= 0.5
            assert found.max() == 255


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_every_format_and_mode_gives_the_same_pixels(tmp_path: Path, dataset: str) -> None:
    grey = seven()
    expected = pixels(grey, tmp_path, dataset)
    assert 10 < expected.mean() < 100
    levels = np.asarray(grey)
    clear = Image.merge("LA", [Image.new("L", grey.size, 255), grey])
    dark = Image.merge("RGBA", [*[Image.new("L", grey.size, 0)] * 3, grey])
    palette = grey.convert("P")
    palette.info["transparency"] = 0
    shown: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (Image.eval(grey, lambda level: 255 - level), "PNG", {}),
        (clear, "PNG", {}),
        (clear.convert("RGBA"), "WEBP", {"lossless": True}),
        (dark, "PNG", {}),
        (dark, "TIFF", {}),
        (palette, "GIF", {"transparency": 0}),
        (palette, "PNG", {"transparency": 0}),
        (grey.convert("1"), "PNG", {}),
        (grey.convert("1"), "TIFF", {"compression": "group4"}),
        (grey.convert("1"), "PPM", {}),
        (grey.convert("RGB"), "BMP", {}),
        (grey.convert("RGB"), "PPM", {}),
        (grey.convert("CMYK"), "JPEG", {"quality": 95}),
        (grey.convert("CMYK"), "TIFF", {}),
        (grey.convert("YCbCr"), "JPEG", {"quality": 95}),
        (seven(ink=(200, 20, 30), paper="white", mode="RGB"), "JPEG", {"quality": 90}),
        (seven(ink="yellow", paper="navy", mode="RGB"), "WEBP", {}),
        (Image.fromarray(levels.astype(np.uint16) * 257), "PNG", {}),
        (Image.fromarray(levels.astype(np.uint16) * 8 + 1000), "TIFF", {}),  # twelve bits in sixteen
        (Image.fromarray(levels.astype(np.int32) - 7), "TIFF", {}),
        (Image.fromarray(levels.astype(np.float32) / 255), "TIFF", {}),
        (seven(1000), "JPEG", {}),
    ]
    for image, kind, options in shown:
        found = pixels(image, tmp_path, dataset, kind, **options)
        assert mean_difference(found, expected) < 10, (image.mode, kind)


def test_float_picture_with_nan_is_refused(tmp_path: Path) -> None:
    levels = np.asarray(seven(), np.float32).copy()
    levels[5, 5] = np.nan
    with pytest.raises(DataError, match="not finite"):
        pixels(Image.fromarray(levels), tmp_path, kind="TIFF")


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    upright = seven(60)
    expected = pixels(upright, tmp_path)
    turn = Image.Transpose
    stored_as = {  # EXIF 2.32, tag 274: how the upright picture was turned to store it
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_90,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_270,
    }
    for orientation, operation in stored_as.items():
        exif = Image.Exif()
        exif[274] = orientation
        found = pixels(upright.transpose(operation), tmp_path, exif=exif)
        assert mean_difference(found, expected) < 4, orientation
        assert mean_difference(pixels(upright.transpose(operation), tmp_path), expected) > 10


def test_uneven_light_and_dust_are_removed(tmp_path: Path) -> None:
    expected = pixels(seven(200), tmp_path)
    ink = np.asarray(seven(200)) / 255
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    light = 190 + 30 * x - 20 * y - 15 * (x * x + y * y) + np.random.default_rng(0).normal(0, 3, ink.shape)
    photo = light * (1 - 0.6 * ink)
    photo[180:183, 170:173] = photo[120:122, 20:22] = photo[10, 190] = 40  # dust
    image = Image.fromarray(photo.clip(0, 255).astype(np.uint8))
    assert mean_difference(pixels(image, tmp_path, kind="JPEG", quality=70), expected) < 6


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("corner", [(0, 0), (1300, 900), (2888, 1888)])
@pytest.mark.parametrize(("mode", "ink", "paper"), [("L", 0, 255), ("RGBA", (0, 0, 90, 255), (0, 0, 0, 0))])
def test_small_object_on_a_large_page_is_cropped_and_enlarged(
    tmp_path: Path, dataset: str, corner: tuple[int, int], mode: str, ink: Any, paper: Any
) -> None:
    alone = seven(112, ink, paper, mode)
    page = Image.new(mode, (3000, 2000), paper)
    page.paste(alone, corner)
    expected = pixels(alone, tmp_path, dataset)
    one_column = 10  # difference of images shifted by one column, as the centre is rounded
    assert mean_difference(pixels(page, tmp_path, dataset), expected) < one_column
    if mode == "L":
        assert mean_difference(pixels(page, tmp_path, dataset, "JPEG", quality=90), expected) < one_column


def test_digit_that_touches_the_border_is_read(tmp_path: Path) -> None:
    expected = pixels(seven(), tmp_path)
    for image in (seven(), Image.eval(seven(), lambda level: 255 - level)):
        box = seven().getbbox()
        assert box
        assert mean_difference(pixels(image.crop(box), tmp_path), expected) < 3


def test_tile_with_transparent_corners_is_treated_as_background(tmp_path: Path) -> None:
    corners = Image.new("L", (112, 112), 0)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, 111, 111), 25, fill=255)
    tile = seven(ink="black", paper="white", mode="RGB")
    tile.putalpha(corners)
    assert mean_difference(pixels(tile, tmp_path), pixels(seven(), tmp_path)) < 2


def test_polarity_can_be_forced(tmp_path: Path) -> None:
    for shown, right, wrong in (
        (seven(), "light-on-dark", "dark-on-light"),
        (Image.eval(seven(), lambda level: 255 - level), "dark-on-light", "light-on-dark"),
    ):
        expected = pixels(shown, tmp_path)
        path = str(tmp_path / "picture")
        assert np.array_equal(pictures.read(path, "mnist", right).pixels[0], expected)
        with pytest.raises(DataError, match="shows nothing"):
            pictures.read(path, "mnist", wrong)


def test_dark_ink_outweighs_a_large_reflection(tmp_path: Path) -> None:
    plain, shiny = (Image.new("L", (120, 120), 200) for _ in range(2))
    ImageDraw.Draw(shiny).rectangle((2, 2, 117, 100), fill=215)
    for image in (plain, shiny):
        ImageDraw.Draw(image).rectangle((55, 40, 64, 70), fill=10)
    one, other = (pixels(image, tmp_path, "fashion_mnist") for image in (plain, shiny))
    assert mean_difference(one, other) < 3


@pytest.fixture
def first_images(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], np.ndarray]:
    monkeypatch.setattr(idx, "read", read_once)
    return lambda dataset: data.load(dataset).test.images[:150, 0].numpy()


@pytest.mark.parametrize(("dataset", "share"), [("mnist", 1), ("fashion_mnist", 0.96)])
def test_images_of_the_data_sets_are_unchanged(
    first_images: Callable[[str], np.ndarray], tmp_path: Path, dataset: str, share: float
) -> None:
    images = first_images(dataset).astype(int)
    for shown in (images, 255 - images):
        found = [pixels(Image.fromarray(image.astype(np.uint8)), tmp_path, dataset) for image in shown]
        same = [np.array_equal(one, image) for one, image in zip(found, images, strict=True)]
        assert np.mean(same) >= share


@pytest.mark.parametrize(("dataset", "limit"), [("mnist", 8), ("fashion_mnist", 16)])
def test_enlarged_and_moved_images_of_the_data_sets_are_recovered(
    first_images: Callable[[str], np.ndarray], tmp_path: Path, dataset: str, limit: float
) -> None:
    distances = []
    for image in first_images(dataset)[:40]:
        sheet = Image.new("L", (240, 200), 255)
        sheet.paste(Image.fromarray(255 - image).resize((112, 112), Image.Resampling.NEAREST), (100, 20))
        distances.append(mean_difference(pixels(sheet, tmp_path, dataset), image.astype(int)))
    assert np.mean(distances) < limit  # moved by one pixel, they differ by 17 and 23
    assert max(distances) < 35


def test_garment_is_trimmed_and_centred(tmp_path: Path) -> None:
    for box, rows, columns in (((50, 30, 89, 149), (0, 28), (10, 19)), ((20, 60, 159, 99), (10, 18), (0, 28))):
        shirt = Image.new("RGB", (200, 180), (253, 253, 253))
        ImageDraw.Draw(shirt).rectangle(box, fill=(30, 60, 120))
        found = pixels(shirt, tmp_path, "fashion_mnist")
        shown = np.zeros((28, 28), bool)
        shown[slice(*rows), slice(*columns)] = True
        assert np.array_equal(found > 128, shown)


def test_samples_are_small_and_named_after_their_class() -> None:
    files = [path for path in ROOT.glob("samples/*/*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) < 150_000
    for path in files:
        dataset = {"digits": "mnist", "garments": "fashion_mnist"}[path.parent.name]
        kinds = [name.replace("/top", "").replace(" ", "_") for name in data.DATASETS[dataset].classes]
        assert path.stem.startswith(tuple(kinds))
        assert 10 < pictures.read(str(path), dataset).pixels.mean() < 200
