"""View a decoded image, or the part of it that matters, as an array of grey levels."""

import numpy as np
from PIL import Image

from data import DataError
from data.decode import is_deep

from .geometry import bounding_box

VIEW_SIZE = 128  # pixels; larger images are reduced to this, still several times finer than a network's input
SMALLEST_OBJECT = 56  # pixels of the view, twice a network's input; a smaller object is zoomed in on
TILE_CONTRAST = 64  # grey levels between a digit and the tile behind it


def plain(image: Image.Image) -> Image.Image:
    """Convert an image to mode L, RGBA if it has transparency, or F (0 to 255) if it has 16 or 32 bits.

    Raises DataError for pixels that are not finite.
    """
    if not is_deep(image):
        return image.convert("RGBA" if image.has_transparency_data else "L")
    deep = np.asarray(image, np.float32)
    if not np.isfinite(deep).all():
        raise DataError("has pixels that are not finite. Convert it to PNG.")
    return Image.fromarray((deep - deep.min()) * (255 / (np.ptp(deep) or 1)))


def to_grey(image: Image.Image, polarity: str, keep_tile: bool) -> np.ndarray:
    """Reduce an image of mode L, RGBA or F to at most 128 x 128 grey levels, float32 (H, W), in 0..255.

    A transparent image is laid on white if its visible part is dark and on black if it is light; with `keep_tile`, on
    its own median if it is mostly opaque with contrast of its own, as a digit on a tile with transparent corners is.
    Raises DataError if nothing is visible.
    """
    if max(image.size) > VIEW_SIZE:
        image = image.copy()
        image.thumbnail((VIEW_SIZE, VIEW_SIZE), Image.Resampling.BOX, reducing_gap=None)
    if image.mode != "RGBA":
        return np.asarray(image, np.float32)
    grey, alpha = np.asarray(image.convert("L"), np.float32), np.asarray(image, np.float32)[..., 3] / 255
    if not alpha.any():
        raise DataError("is wholly transparent: there is nothing to classify. Fill in its background.")
    opaque = grey[alpha > 0.5]
    if keep_tile and opaque.size > grey.size / 2 and np.ptp(opaque) > TILE_CONTRAST:
        background = np.median(opaque)
    else:
        dark = np.average(grey, weights=alpha) < 128 if polarity == "auto" else polarity == "dark-on-light"
        background = 255 if dark else 0
    return grey * alpha + background * (1 - alpha)


def zoom_in(image: Image.Image, mask: np.ndarray) -> Image.Image | None:
    """Crop `image` to the surroundings of an object, given its mask (H, W) in the view of that image.

    Returns None if the object is large enough already or if cropping would gain little.
    """
    box, scale = bounding_box(mask), max(image.size) / max(mask.shape)
    longest = max(mask[box].shape)
    if longest >= SMALLEST_OBJECT or scale <= 1:
        return None
    rows, columns = ((scale * (each.start - longest / 2 - 1), scale * (each.stop + longest / 2 + 1)) for each in box)
    corners = (columns[0], rows[0], columns[1], rows[1])
    left, top, right, bottom = (
        min(max(round(corner), 0), edge) for corner, edge in zip(corners, 2 * image.size, strict=True)
    )
    return image.crop((left, top, right, bottom)) if max(right - left, bottom - top) < 0.9 * max(image.size) else None
