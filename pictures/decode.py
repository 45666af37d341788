"""Read and decode an image file of any size, bit depth and colour.

The errors raised here do not name the file: `pictures.read` puts its name before them.
"""

import contextlib
import io
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from data import DataError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # Pillow's PPM reads PBM, PGM and PNM, too
LARGEST_FILE = 64 << 20  # bytes
LARGEST_PICTURE = 1 << 26  # pixels, as declared in the file's header
FINEST_JPEG = 1024  # pixels; a larger JPEG is decoded at a fraction of its size, at least this


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


def decode(content: bytes) -> tuple[Image.Image, bool]:
    """Decode an image to mode L, RGBA or F (0 to 255); return it and whether the file holds more than this one.

    Raises DataError if the image is too large, damaged, or of another format than FORMATS.
    """
    too_large = f"has more than {LARGEST_PICTURE:,} pixels. Make it smaller."
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # Pillow's, about sizes and damage that are decided here
            _silent_stderr(),
            Image.open(io.BytesIO(content), formats=FORMATS) as image,
        ):
            if image.width * image.height > LARGEST_PICTURE:
                raise DataError(too_large)
            image.draft(None, (FINEST_JPEG, FINEST_JPEG))
            one_of_several = getattr(image, "is_animated", False)
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode[0] in "IF":  # 16 and 32 bits: white may have any value
                deep = np.asarray(image, np.float32)
                plain = Image.fromarray((deep - deep.min()) * (255 / (np.ptp(deep) or 1)))
            else:
                plain = image.convert("RGBA" if image.has_transparency_data else "L")
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(too_large) from None
    except Image.UnidentifiedImageError:
        raise DataError(f"is not an image, or not one of {', '.join(FORMATS)}. Convert it to PNG.") from None
    except Exception as error:  # Pillow's readers raise nearly any exception for a damaged file
        raise DataError(f"is damaged ({printable(str(error))}). Make or fetch it again.") from None
    if plain.mode == "F" and not np.isfinite(np.asarray(plain)).all():
        raise DataError("has pixels that are not finite. Convert it to PNG.")
    return plain, one_of_several


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
