"""Separate what a picture shows from its background."""

import numpy as np

from data import DataError

MAD_TO_STD = 1.4826  # standard deviation / median absolute deviation of a normal distribution
ROUNDING = 0.5  # grey levels
EVEN = 0.05 * 255  # grey levels; Xiao et al. 2017, section 2: as close to the corners' colour as this is background
FAINTEST = 16  # grey levels of 255; what differs less from the background is not visible


def border(grey: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) of the outermost pixels."""
    mask = np.ones(grey.shape, bool)
    mask[1:-1, 1:-1] = False
    return mask


def fit_background(grey: np.ndarray, border_only: bool = False) -> tuple[np.ndarray, float]:
    """Fit the grey levels (H, W) of an unevenly lit background and its noise (three standard deviations).

    Fits a polynomial of degree 2 to the border (to most of it, if most is of one tone: the rest may be ink), then
    repeatedly to all pixels near the last fit, with `border_only` to those of the border.
    """
    height, width = grey.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    edge, everywhere = border(grey), np.ones(grey.shape, bool)
    even = edge & (np.abs(grey - np.median(grey[edge])) <= EVEN)
    near, surface, noise = even if 2 * even.sum() > edge.sum() else edge, grey, 0.0
    for candidates in (edge, edge, edge, *3 * [edge if border_only else everywhere]):
        coefficients, *_ = np.linalg.lstsq(terms[near], grey[near], rcond=None)
        surface = terms @ coefficients
        distance = np.abs(grey - surface)
        noise = 3 * MAD_TO_STD * float(np.median(distance[near])) + ROUNDING
        near = candidates & (distance <= noise)
    return surface, noise


def light_on_dark(difference: np.ndarray, polarity: str) -> np.ndarray:
    """Turn differences from the background (H, W) into levels in 0..255, 0 for the background.

    With polarity "auto", the sum of third powers says whether the object is lighter or darker than the background: a
    little strong ink outweighs a large weak shadow.
    """
    light = (difference**3).sum() >= 0 if polarity == "auto" else polarity == "light-on-dark"
    return (difference if light else -difference).clip(0, 255)


def check_visible(light: np.ndarray, noise: float) -> None:
    """Raise DataError unless some level is above the background's noise."""
    if light.max() <= max(noise, FAINTEST):
        raise DataError("shows nothing but its background. Take a picture with more contrast.")
