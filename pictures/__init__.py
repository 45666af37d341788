"""Pictures of one's own: an image file becomes the grey pixels that a network was trained on. Imports no torch.

Both data sets show one thing, light on dark, trimmed and centred. A picture is brought into that form as their authors
say that they did it; uneven light, specks and transparency, of which they say nothing, are taken away before.
"""

import contextlib
import io
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from data import IMAGE_SIZE, DataError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # Pillow's PPM reads PBM, PGM and PNM, too
LARGEST_FILE = 64 << 20  # bytes
LARGEST_PICTURE = 1 << 26  # pixels, as the file declares them before anything is decoded
WORKING_SIZE = 128  # larger pictures are reduced to this first, still several times finer than what a network sees
FINE_ENOUGH = 56  # of it what is shown has to fill, twice what a network sees, or it is looked at more closely
POLARITIES = ("auto", "light-on-dark", "dark-on-light")

ROUNDING = 0.5  # grey levels
NORMAL = 1.4826  # from the median distance to a normal distribution's standard deviation

DIGIT_BOX = 20  # LeCun et al. 1998, section III-A: into 20 x 20, then by the centre of mass into 28 x 28
DIGIT_CENTRE = 14  # index of the pixel where MNIST's centres of mass lie, of every test image to half a pixel
SPECK = 0.02  # a part with less than this share of the largest one's ink is dust
TILE = 64  # grey levels between a digit and its tile
FAINTEST = 16  # grey levels of 255: what differs less from its background is not there
EVEN = 0.05 * 255  # Xiao et al. 2017, section 2: what is that close to the corners' colour is background


class Picture(NamedTuple):
    pixels: np.ndarray  # uint8 (28, 28)
    one_of_several: bool  # the first frame of an animation, or page of a document


def read(file: str, data: str, polarity: str = "auto") -> Picture:
    """The picture in `file` ("-" is standard input) as the images of the data set `data`.

    Digits and garments are trimmed, centred and made light on dark; for another data set than our two a picture is
    only resized, and only negated where `polarity` says that it is dark on light. Raises DataError.
    """
    name = printable(file)
    image, one_of_several = _decode(_content(file, name), name)
    grey = _visible(image, data, polarity, name)
    if data in FORMS:
        find, bring_into_form = FORMS[data]
        thing, shown = find(grey, polarity, name)
        while image := _close_up(image, shown):
            thing, shown = find(_visible(image, data, polarity, name), polarity, name)
        pixels = bring_into_form(thing, shown)
    else:
        pixels = _resize(255 - grey if polarity == "dark-on-light" else grey, IMAGE_SIZE, IMAGE_SIZE)
    return Picture(pixels.round().clip(0, 255).astype(np.uint8), one_of_several)


def printable(text: str) -> str:
    """Nothing in it moves a terminal's cursor, changes its colours or begins a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _content(file: str, name: str) -> bytes:
    try:
        if file == "-" and sys.stdin is None:
            raise DataError("standard input is closed, - cannot be read. Name a file.")
        if file == "-":
            content = sys.stdin.buffer.read(LARGEST_FILE + 1)
        else:
            path = Path(file).expanduser()
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
                what = "a folder" if path.is_dir() else "no regular file"
                raise DataError(f"{name} is {what}, expected an image file. Name the files themselves.")
            with path.open("rb") as stream:
                content = stream.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise DataError(f"there is no file {name}. Look at its spelling.") from None
    except (OSError, ValueError) as error:  # ValueError: a name that holds a null byte
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{name} cannot be read ({why}). Name a file that you may read.") from None
    if not content:
        raise DataError(f"{name} is empty, expected an image. Make or fetch it again.")
    if len(content) > LARGEST_FILE:
        raise DataError(f"{name} is larger than {LARGEST_FILE:,} bytes. Make a smaller one of it.")
    return content


def _decode(content: bytes, name: str) -> tuple[Image.Image, bool]:
    """In mode L, RGBA or F (0 to 255), and whether there are more frames."""
    too_large = f"{name} has more than {LARGEST_PICTURE:,} pixels. Make a smaller one of it."
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # Pillow's, of what is decided here
            _silence(),
            Image.open(io.BytesIO(content), formats=FORMATS) as image,
        ):
            if image.width * image.height > LARGEST_PICTURE:
                raise DataError(too_large)
            image.draft(None, (8 * WORKING_SIZE, 8 * WORKING_SIZE))  # a huge JPEG is not decoded finer than needed
            one_of_several = getattr(image, "is_animated", False)
            ImageOps.exif_transpose(image, in_place=True)
            plain = _plain(image)
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(too_large) from None
    except Image.UnidentifiedImageError:
        kinds = ", ".join(FORMATS)
        raise DataError(f"{name} is not an image, or of none of these kinds: {kinds}. Convert it to PNG.") from None
    except Exception as error:  # of a damaged file Pillow's readers raise nearly anything
        raise DataError(f"{name} is damaged ({printable(str(error))}). Make or fetch it again.") from None
    if plain.mode == "F" and not np.isfinite(np.asarray(plain)).all():
        raise DataError(f"{name} holds values that are not finite. Convert it to PNG.")
    return plain, one_of_several


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Around Pillow, whose libtiff writes what it thinks of a damaged file straight to the terminal."""
    try:
        sys.stderr.flush()
        terminal = os.dup(2)
    except (OSError, ValueError, AttributeError):  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def _plain(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":  # 16 and 32 bits: their white may lie anywhere
        deep = np.asarray(image, np.float32)
        return Image.fromarray((deep - deep.min()) * (255 / (np.ptp(deep) or 1)))
    return image.convert("RGBA" if image.has_transparency_data else "L")


def _visible(image: Image.Image, data: str, polarity: str, name: str) -> np.ndarray:
    """Grey levels in 0..255, float32 (H, W), of WORKING_SIZE or smaller, and nothing transparent."""
    if max(image.size) > WORKING_SIZE:
        image = image.copy()
        image.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.BOX, reducing_gap=None)
    grey = np.asarray(image.convert("L") if image.mode == "RGBA" else image, np.float32)
    alpha = np.asarray(image, np.float32)[..., 3] / 255 if image.mode == "RGBA" else None
    return _without_transparency(grey, alpha, data, polarity, name)


def _close_up(image: Image.Image, shown: np.ndarray) -> Image.Image | None:
    """The part round what was found of it, where that was too small to be seen well; None where nothing is gained."""
    box, scale = _box(shown), max(image.size) / max(shown.shape)
    longest = max(shown[box].shape)
    if longest >= FINE_ENOUGH or scale <= 1:
        return None
    rows, columns = ((scale * (each.start - longest / 2 - 1), scale * (each.stop + longest / 2 + 1)) for each in box)
    corners = (columns[0], rows[0], columns[1], rows[1])
    left, top, right, bottom = (
        min(max(round(corner), 0), edge) for corner, edge in zip(corners, 2 * image.size, strict=True)
    )
    return image.crop((left, top, right, bottom)) if max(right - left, bottom - top) < 0.9 * max(image.size) else None


def _without_transparency(
    grey: np.ndarray, alpha: np.ndarray | None, data: str, polarity: str, name: str
) -> np.ndarray:
    """Laid on what makes it visible: on white if what is seen of it is dark, on black if it is light. A digit on a tile
    with transparent corners brings a background of its own.
    """
    if alpha is None:
        return grey
    if not alpha.any():
        raise DataError(f"{name} is wholly transparent: there is nothing to classify. Fill in its background.")
    opaque = grey[alpha > 0.5]
    if data == "mnist" and opaque.size > grey.size / 2 and np.ptp(opaque) > TILE:
        background = np.median(opaque)
    else:
        dark = np.average(grey, weights=alpha) < 128 if polarity == "auto" else polarity == "dark-on-light"
        background = 255 if dark else 0
    return grey * alpha + background * (1 - alpha)


def _find_digit(grey: np.ndarray, polarity: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Ink, light on dark, and where it forms strokes."""
    paper, noise = _background(grey)
    ink = _light_on_dark(grey - paper, polarity)
    ink = np.where(ink > noise, ink, 0)
    _check_that_something_is_there(ink, noise, name)
    return ink, _without_specks(ink > _otsu(ink) / 2, ink)


def _bring_digit_into_form(ink: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """Fitted into 20 x 20, then laid into 28 x 28 by its centre of mass."""
    if ink.shape == (IMAGE_SIZE, IMAGE_SIZE) and _is_in_form(ink):
        return ink  # as the data are: to cut it out once more would only blur it
    ink = _fit(np.where(strokes, ink, 0)[_box(strokes)], DIGIT_BOX)
    ink = ink * (255 / np.percentile(ink[ink > ink.max() / 2], 50))  # half of a digit's inside is white
    return _place(ink.clip(0, 255), *(DIGIT_CENTRE - round(index) for index in _centre_of_mass(ink)))


def _find_garment(grey: np.ndarray, polarity: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Cloth, light on dark, and where it is."""
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    trim, background = EVEN, np.median(border)
    if np.median(np.abs(border - background)) > trim:  # not of one tone, as studios make it: unevenly lit
        background, noise = _background(grey, only_border=True)
        trim = max(trim, noise)
    cloth = _light_on_dark(grey - background, polarity)
    _check_that_something_is_there(cloth, trim, name)
    return cloth, cloth > trim


def _bring_garment_into_form(cloth: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Trimmed, its longest edge made 28, laid into the middle."""
    if cloth.shape == (IMAGE_SIZE, IMAGE_SIZE) and max(cloth[_box(cloth > 0)].shape) == IMAGE_SIZE:
        return cloth  # as the data are
    cloth = _fit(cloth[_box(shown)], IMAGE_SIZE)
    cloth *= 255 / cloth.max()  # each of the data's images reaches white
    return _place(cloth, *((IMAGE_SIZE - size + 1) // 2 for size in cloth.shape))  # as most of the data are


FORMS = {
    "mnist": (_find_digit, _bring_digit_into_form),
    "fashion_mnist": (_find_garment, _bring_garment_into_form),
}


def _check_that_something_is_there(ink: np.ndarray, noise: float, name: str) -> None:
    if ink.max() <= max(noise, FAINTEST):
        raise DataError(f"{name} shows nothing but its background. Take a picture with more contrast.")


def _light_on_dark(difference: np.ndarray, polarity: str) -> np.ndarray:
    """What differs from the background, as light as it differs. The third power says which way it does: a little of
    strong ink outweighs a lot of shadow.
    """
    light = (difference**3).sum() >= 0 if polarity == "auto" else polarity == "light-on-dark"
    return (difference if light else -difference).clip(0, 255)


def _background(grey: np.ndarray, only_border: bool = False) -> tuple[np.ndarray, float]:
    """The background, unevenly lit as it may be, and how far it scatters: a surface of the second degree
    that is fitted to the border (to most of it, where most is of one tone: the rest may be ink), then again and again
    to every pixel that lies near it.
    """
    height, width = grey.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    everywhere, border = np.ones(grey.shape, bool), np.ones(grey.shape, bool)
    border[1:-1, 1:-1] = False
    even = border & (np.abs(grey - np.median(grey[border])) <= EVEN)
    near, surface, noise = even if 2 * even.sum() > border.sum() else border, grey, 0.0
    for among in (border, border, border, *3 * [border if only_border else everywhere]):
        coefficients, *_ = np.linalg.lstsq(terms[near], grey[near], rcond=None)
        surface = terms @ coefficients
        distance = np.abs(grey - surface)
        noise = 3 * NORMAL * float(np.median(distance[near])) + ROUNDING
        near = among & (distance <= noise)
    return surface, noise


def _otsu(values: np.ndarray) -> float:
    """The threshold that leaves the least variance on its two sides (Otsu 1979); the middle one, where there are many
    as good, as between black and white.
    """
    counts, edges = np.histogram(values, 256)
    below, sums = np.cumsum(counts), np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)
    n, total = below[:-1], sums[-1]
    between = (sums[:-1] / n - (total - sums[:-1]) / (values.size - n)) ** 2 * n * (values.size - n)
    return float(np.median(edges[1:-1][between >= 0.999 * between.max()]))


def _without_specks(strokes: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """The connected parts that hold a share of the ink, the others left out."""
    part = np.where(strokes, np.arange(1, strokes.size + 1).reshape(strokes.shape), 0)
    spread = np.zeros_like(part)
    while (spread != part).any():  # each pixel takes the largest number beside it
        spread = part
        wide = np.pad(part, 1)
        wide = np.maximum(np.maximum(wide[:-2], wide[1:-1]), wide[2:])
        part = np.where(strokes, np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:]), 0)
    held = np.bincount(part.ravel(), weights=np.where(strokes, ink, 0).ravel())
    return strokes & (held >= SPECK * held.max())[part]


def _box(shown: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that hold all that is shown."""
    rows, columns = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _is_in_form(ink: np.ndarray) -> bool:
    """Whether a 28 x 28 image has the two marks of MNIST's: a box of 20, the centre of mass in its place."""
    longest = max(ink[_box(ink > 0)].shape)
    return longest == DIGIT_BOX and all(abs(index - DIGIT_CENTRE) < 0.51 for index in _centre_of_mass(ink))


def _centre_of_mass(ink: np.ndarray) -> tuple[float, float]:
    height, width = ink.shape
    return float(ink.sum(1) @ np.arange(height) / ink.sum()), float(ink.sum(0) @ np.arange(width) / ink.sum())


def _fit(grey: np.ndarray, size: int) -> np.ndarray:
    """With its longest edge made `size`."""
    height, width = (max(1, round(edge * size / max(grey.shape))) for edge in grey.shape)
    return _resize(grey, height, width)


def _resize(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    image = Image.fromarray(grey.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).clip(0, 255)  # antialiased


def _place(grey: np.ndarray, top: int, left: int) -> np.ndarray:
    """On black, 28 x 28, with its first pixel there, or as near as it fits."""
    height, width = grey.shape
    top, left = min(max(top, 0), IMAGE_SIZE - height), min(max(left, 0), IMAGE_SIZE - width)
    placed = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)
    placed[top : top + height, left : left + width] = grey
    return placed
