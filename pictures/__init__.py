"""Turn an image file into the pixels that a network was trained on. Imports no torch.

Both bundled data sets show one object, light on dark, trimmed and centred. A picture is brought into that form as the
data set's authors describe. Before that, uneven light, specks and transparency are removed, which they do not mention.

A picture passes through these files: `data/decode` (file -> image), `view` (image -> grey levels), `digits` or
`garments` (find the object, then size and centre it). These two share `background` and `geometry`.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from data import DataError
from data.decode import FORMATS, decode, printable, quietly, read_file, to_pixels

from . import digits, garments
from .view import plain, to_grey, zoom_in

__all__ = ["FORMATS", "POLARITIES", "Picture", "decode_picture", "printable", "read"]

POLARITIES = ("auto", "light-on-dark", "dark-on-light")
FINEST_JPEG = 1024  # pixels; a larger JPEG is decoded at a fraction of its size, at least this
METHODS = {
    "mnist": (digits.find_digit, digits.normalise_digit),
    "fashion_mnist": (garments.find_garment, garments.normalise_garment),
}


class Picture(NamedTuple):
    pixels: np.ndarray  # uint8 (C, H, W)
    one_of_several: bool  # whether it is the first frame of an animation or the first page of a document


def read(
    file: str, data: str, polarity: str = "auto", channels: int = 1, image_size: tuple[int, int] = (28, 28)
) -> Picture:
    """Read a picture in `file` ("-": standard input) as `decode_picture` does. A DataError begins with its name."""
    try:
        return decode_picture(read_file(file), data, polarity, channels, image_size)
    except DataError as error:
        raise DataError(f"{'standard input' if file == '-' else printable(file)} {error}") from None


def decode_picture(
    content: bytes, data: str, polarity: str = "auto", channels: int = 1, image_size: tuple[int, int] = (28, 28)
) -> Picture:
    """Decode a picture and make it look like the images of the data set `data`.

    For own data it is stored in `channels` (1 or 3) and resized to `image_size` (height, width), as for training, and
    negated if `polarity` is "dark-on-light". Raises DataError if it is no image or shows nothing.
    """
    with quietly():
        if data in METHODS:
            image, one_of_several = decode(content, plain, FINEST_JPEG)
            pixels = normalise(image, data, polarity).round().clip(0, 255).astype(np.uint8)[None]
        else:
            stored, one_of_several = decode(content, lambda image: to_pixels(image, channels, image_size))
            pixels = 255 - stored if polarity == "dark-on-light" else stored
    return Picture(pixels, one_of_several)


def normalise(image: Image.Image, data: str, polarity: str) -> np.ndarray:
    """Find, size and centre the object in an image of mode L, RGBA or F: float (28, 28), light on dark, in 0..255."""
    grey = to_grey(image, polarity, keep_tile=data == "mnist")
    find, normalise_size = METHODS[data]
    light, mask = find(grey, polarity)
    while part := zoom_in(image, mask):
        image = part
        light, mask = find(to_grey(image, polarity, keep_tile=data == "mnist"), polarity)
    return normalise_size(light, mask)
