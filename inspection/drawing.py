"""Draw arrays as images for a web page."""

import base64

import numpy as np
from matplotlib import colormaps
from torch import Tensor

ALONG = 16  # maps side by side in a grid
MOST = 32  # maps of a stage that are shown
VALUES_ALONG = 64  # of a stage without maps
MAP = 56  # pixels of the page, at least, of a map in a grid
GAP = 4  # between two
VALUE, ROW = 12, 5  # of a value of a stage without maps, of a value after a row


def from_data_url(address: str) -> bytes:
    """Return the content of an address that holds it."""
    return base64.b64decode(address.partition(",")[2], validate=True)


def as_image(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (C, H, W), C 1 or 3, as `png_address` takes them."""
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def coloured(values: np.ndarray, signed: bool = False, least: float = 0) -> np.ndarray:
    """Map (H, W) to colours, uint8 (H, W, 3): from the smallest to the largest, or from blue over white to red.

    Signed values get the strongest colours at the largest absolute value, or at `least` if that is larger.
    """
    if signed:
        largest = max(float(np.abs(values).max()), least) or 1
        return (255 * colormaps["RdBu_r"](values / (2 * largest) + 0.5)[..., :3]).astype(np.uint8)
    span = float(np.ptp(values)) or 1
    return (255 * colormaps["viridis"]((values - values.min()) / span)[..., :3]).astype(np.uint8)


def enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Repeat the pixels (H, W, ...) in both directions, so that each stays visible."""
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def grid(maps: Tensor, signed: bool = False) -> np.ndarray:
    """Lay out the first maps of (count, H, W) in rows, each in the whole range of colours: uint8 (rows, columns, 4)."""
    drawn = [enlarged(coloured(each, signed), -(-MAP // max(each.shape))) for each in maps[:MOST].numpy()]
    along = min(len(drawn), ALONG)
    height, width = drawn[0].shape[0] + GAP, drawn[0].shape[1] + GAP
    sheet = np.zeros((-(-len(drawn) // along) * height - GAP, along * width - GAP, 4), np.uint8)
    for place, each in enumerate(drawn):
        top, left = place // along * height, place % along * width
        sheet[top : top + each.shape[0], left : left + each.shape[1]] = np.insert(each, 3, 255, axis=2)
    return sheet


def stage_image(output: Tensor) -> np.ndarray:
    """Draw the output of a stage for one image: uint8 (height, width, 3 or 4).

    (1, C, H, W) are C maps, (1, C, 1, 1) and (1, D) values, (T, 1, D) are D values after each of T rows of the image.
    """
    if output.dim() == 4 and output.shape[2:].numel() > 1:
        return grid(output[0])
    if output.dim() == 3:
        return enlarged(coloured(output[:, 0].numpy()), ROW)
    values = output.flatten().numpy()
    along = min(len(values), VALUES_ALONG)
    colours = np.insert(coloured(values[None])[0], 3, 255, axis=1)  # (values, 4); what fills the last row is clear
    return enlarged(np.pad(colours, ((0, -len(values) % along), (0, 0))).reshape(-1, along, 4), VALUE)


def described(output: Tensor) -> str:
    """Say what `stage_image` shows."""
    if output.dim() == 4:
        _, channels, height, width = output.shape
        first = f", the first {MOST}" if channels > MOST and height * width > 1 else ""
        return f"{channels} maps of {height} x {width}{first}"
    if output.dim() == 3:
        return f"{output.shape[2]} values after each of {len(output)} rows"
    return f"{output.numel()} values"
