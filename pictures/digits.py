"""Bring a digit into MNIST's form: LeCun, Bottou, Bengio & Haffner 1998, section III-A.

The size is normalised to fit into 20 x 20, then the centre of mass is moved to the centre of 28 x 28.
"""

import numpy as np

from data import IMAGE_SIZE

from .background import check_visible, fit_background, light_on_dark
from .geometry import bounding_box, fit, paste

BOX = 20  # pixels
CENTRE = 14  # index of the pixel where MNIST's centres of mass lie, within half a pixel for every test image
SPECK = 0.02  # a connected part with less than this share of the largest part's ink is dust


def find_digit(grey: np.ndarray, polarity: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the ink (H, W), light on dark, and the mask (H, W) of its strokes. Raises DataError if there is no ink."""
    paper, noise = fit_background(grey)
    ink = light_on_dark(grey - paper, polarity)
    ink = np.where(ink > noise, ink, 0)
    check_visible(ink, noise)
    return ink, remove_specks(ink > otsu_threshold(ink) / 2, ink)


def normalise_digit(ink: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """Size and centre the ink under the mask `strokes` (H, W) as MNIST does: (28, 28)."""
    if ink.shape == (IMAGE_SIZE, IMAGE_SIZE) and is_normalised(ink):
        return ink  # resampling it once more would only blur it
    ink = fit(np.where(strokes, ink, 0)[bounding_box(strokes)], BOX)
    ink = ink * (255 / np.percentile(ink[ink > ink.max() / 2], 50))  # half of a digit's inside is white
    return paste(ink.clip(0, 255), *(CENTRE - round(index) for index in centre_of_mass(ink)))


def is_normalised(ink: np.ndarray) -> bool:
    """Return whether a 28 x 28 image has MNIST's two marks: a box of 20 and its centre of mass in the centre."""
    longest = max(ink[bounding_box(ink > 0)].shape)
    return longest == BOX and all(abs(index - CENTRE) < 0.51 for index in centre_of_mass(ink))


# The next three are ours: SciPy and scikit-image have them, but would add 35 MB and import time for these lines.


def centre_of_mass(ink: np.ndarray) -> tuple[float, float]:
    """Return the (row, column) of the centre of mass."""
    height, width = ink.shape
    return float(ink.sum(1) @ np.arange(height) / ink.sum()), float(ink.sum(0) @ np.arange(width) / ink.sum())


def otsu_threshold(values: np.ndarray) -> float:
    """Return the threshold with the least variance on its two sides (Otsu 1979); of many as good, the middle one."""
    counts, edges = np.histogram(values, 256)
    below, sums = np.cumsum(counts), np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)
    n, total = below[:-1], sums[-1]
    between = (sums[:-1] / n - (total - sums[:-1]) / (values.size - n)) ** 2 * n * (values.size - n)
    return float(np.median(edges[1:-1][between >= 0.999 * between.max()]))


def remove_specks(strokes: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Remove from the mask `strokes` (H, W) the connected parts that hold little ink."""
    part = np.where(strokes, np.arange(1, strokes.size + 1).reshape(strokes.shape), 0)
    last = np.zeros_like(part)
    while (last != part).any():  # each pixel takes the largest number among its neighbours
        last = part
        wide = np.pad(part, 1)
        wide = np.maximum(np.maximum(wide[:-2], wide[1:-1]), wide[2:])
        part = np.where(strokes, np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:]), 0)
    held = np.bincount(part.ravel(), weights=np.where(strokes, ink, 0).ravel())
    return strokes & (held >= SPECK * held.max())[part]
