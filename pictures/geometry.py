"""Find, resize and move the object in an array of grey levels."""

import numpy as np
from PIL import Image

from data import IMAGE_SIZE


def bounding_box(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns that hold all that is true in `mask` (H, W)."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def fit(grey: np.ndarray, size: int) -> np.ndarray:
    """Resize so that the longest edge is `size` pixels and the aspect ratio stays."""
    height, width = (max(1, round(edge * size / max(grey.shape))) for edge in grey.shape)
    return resize(grey, height, width)


def resize(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize with antialiasing: float32 (height, width), in 0..255."""
    image = Image.fromarray(grey.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).clip(0, 255)


def paste(grey: np.ndarray, top: int, left: int) -> np.ndarray:
    """Paste on black, float32 (28, 28), with the first pixel at (top, left), or as near to it as the array fits."""
    height, width = grey.shape
    top, left = min(max(top, 0), IMAGE_SIZE - height), min(max(left, 0), IMAGE_SIZE - width)
    canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)
    canvas[top : top + height, left : left + width] = grey
    return canvas
