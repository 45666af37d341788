"""Bring a garment into Fashion-MNIST's form: Xiao, Rasul & Vollgraf 2017, section 2.

The background is trimmed, the longest edge resized to 28 and the garment centred.
"""

import numpy as np

from data import IMAGE_SIZE

from .background import EVEN, border, check_visible, fit_background, light_on_dark
from .geometry import bounding_box, fit, paste


def find_garment(grey: np.ndarray, polarity: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the cloth (H, W), light on dark, and its mask (H, W). Raises DataError if there is none."""
    edge, trim = grey[border(grey)], EVEN
    background = np.median(edge)
    if np.median(np.abs(edge - background)) > trim:  # unevenly lit, unlike a picture from a studio
        background, noise = fit_background(grey, border_only=True)
        trim = max(trim, noise)
    cloth = light_on_dark(grey - background, polarity)
    check_visible(cloth, trim)
    return cloth, cloth > trim


def normalise_garment(cloth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Trim, size and centre the cloth under `mask` (H, W) as Fashion-MNIST does: (28, 28)."""
    if cloth.shape == (IMAGE_SIZE, IMAGE_SIZE) and max(cloth[bounding_box(cloth > 0)].shape) == IMAGE_SIZE:
        return cloth  # it has that form already
    cloth = fit(cloth[bounding_box(mask)], IMAGE_SIZE)
    cloth *= 255 / cloth.max()  # each image of the data set reaches white
    return paste(cloth, *((IMAGE_SIZE - size + 1) // 2 for size in cloth.shape))  # as in most of its images
