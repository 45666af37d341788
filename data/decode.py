"""Read and decode an image file of any size, bit depth and colour.

The errors raised here do not name the file: the caller puts its name before them.
"""

import contextlib
import io
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps

from .datasets import DataError

Converted = TypeVar("Converted")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # Pillow's PPM reads PBM, PGM and PNM, too
LARGEST_FILE = 64 << 20  # bytes
LARGEST_PICTURE = 1 << 26  # pixels, as declared in the file's header


def printable(text: str) -> str:
    """Escape what would move a terminal's cursor, change its colours or begin a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read_file(file: str) -> bytes:
    """Read `file`, or standard input if it is "-". Raises DataError if it is unreadable, empty or too large."""
    try:
        if file == "-":
            if sys.stdin is None:
                raise DataError("is closed, expected an image. Name a file.")
            content = sys.stdin.buffer.read(LARGEST_FILE + 1)
        else:
            path = Path(os.path.expanduser(file))  # noqa: PTH111 Path's raises for an unknown ~user
            if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could wait forever
                what = "a folder" if path.is_dir() else "not a regular file"
                raise DataError(f"is {what}, expected an image file. Name the files themselves.")
            with path.open("rb") as stream:
                content = stream.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise DataError("does not exist. Check its spelling.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        why = getattr(error, "strerror", None) or error
        raise DataError(f"cannot be read ({why}). Name a file that you may read.") from None
    if not content:
        raise DataError("is empty, expected an image. Make or fetch it again.")
    if len(content) > LARGEST_FILE:
        raise DataError(f"is larger than {LARGEST_FILE:,} bytes. Make it smaller.")
    return content


def decode(
    content: bytes, convert: Callable[[Image.Image], Converted], finest: int | None = None
) -> tuple[Converted, bool]:
    """Decode an image, upright; return what `convert` makes of it, and whether the file holds more than this one.

    A JPEG of more than `finest` pixels a side may come at a fraction of its size, not below that. Raises DataError if
    the image is too large, damaged, or of another format than FORMATS. Call it within `quietly`.
    """
    with _open(io.BytesIO(content)) as image:
        if finest:
            image.draft(None, (finest, finest))
        one_of_several = getattr(image, "is_animated", False)
        ImageOps.exif_transpose(image, in_place=True)
        return convert(image), one_of_several


def look(path: Path) -> tuple[str, tuple[int, int]]:
    """Return mode and size (height, width) of an image, upright, from its file's header. Raises as `decode` does."""
    with _open(path) as image:
        lies = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return image.mode, (image.width, image.height) if lies else (image.height, image.width)


@contextlib.contextmanager
def _open(source: Path | io.BytesIO) -> Iterator[Image.Image]:
    too_large = f"has more than {LARGEST_PICTURE:,} pixels. Make it smaller."
    try:
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > LARGEST_PICTURE:
                raise DataError(too_large)
            yield image
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(too_large) from None
    except Image.UnidentifiedImageError:
        raise DataError(f"is not an image, or not one of {', '.join(FORMATS)}. Convert it to PNG.") from None
    except Exception as error:  # Pillow's readers raise nearly any exception for a damaged file
        raise DataError(f"is damaged ({printable(str(error))}). Make or fetch it again.") from None


def is_grey(mode: str) -> bool:
    """Return whether images of a Pillow mode have grey levels alone; those of a palette count as coloured."""
    return mode in ("1", "L", "LA", "La", "F") or mode[0] == "I"


def is_deep(image: Image.Image) -> bool:
    """Return whether the pixels have 16 or 32 bits, and white may have any value."""
    return image.mode[0] in "IF"


def to_pixels(image: Image.Image, channels: int, image_size: tuple[int, int]) -> np.ndarray:
    """Return the pixels, uint8 (C, height, width), grey or RGB, as they are stored for training on own data.

    What is transparent becomes white; 16 bits are scaled to 8. Raises DataError for floating point numbers.
    """
    if image.mode == "F":
        raise DataError("has floating point pixels, whose range is not known. Convert it to PNG.")
    if is_deep(image):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(resize(image.convert("L" if channels == 1 else "RGB"), image_size))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def resize(image: Image.Image, image_size: tuple[int, int]) -> Image.Image:
    """Resize an image to (height, width), whatever its proportions."""
    height, width = image_size
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence Pillow, whose warnings are about sizes and damage that are decided here. Not for several threads."""
    with warnings.catch_warnings(action="ignore"), _silent_stderr():
        yield


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send file descriptor 2 nowhere: Pillow's libtiff writes there what it finds wrong in a file."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, ValueError, AttributeError):  # standard error is closed
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
