"""Augmentation made on the device, a whole batch at a time, with a draw of its own for each image.

Every function takes a float32 batch (N, H, W) of pixels in 0..255 and returns a new one like it. All it draws comes
from `generator`, which is on the images' device. The host never waits for a value, and no size depends on one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


def shift(images: Tensor, generator: torch.Generator, pixels: int) -> Tensor:
    """Crop with padding: `pixels` black ones on every side, then one of the (2 pixels + 1)^2 crops, each as likely."""
    count, height, width = images.shape
    padded = functional.pad(images, (pixels,) * 4)
    crops = padded.unfold(1, height, 1).unfold(2, width, 1)  # a view: (N, 2 pixels + 1, 2 pixels + 1, H, W)
    row, column = torch.randint(2 * pixels + 1, (2, count), generator=generator, device=images.device)
    return crops[torch.arange(count, device=images.device), row, column]


def horizontal_flip(images: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """Not for digits: a mirrored one is another sign or none."""
    chosen = _uniform(images, generator, 0, 1) < probability
    return torch.where(chosen.unsqueeze(2), images.flip(2), images)


def rotate_and_scale(images: Tensor, generator: torch.Generator, degrees: float, scale: float) -> Tensor:
    """Rotated by an angle uniform in [-degrees, degrees] and enlarged by a factor uniform in [1 - scale, 1 + scale],
    both about the centre, in one bilinear interpolation; what comes from outside is black. 0 turns either part off.
    """
    height, width = images.shape[1:]
    angle = _uniform(images, generator, -degrees, degrees).deg2rad().unsqueeze(2)
    factor = _uniform(images, generator, 1 - scale, 1 + scale).unsqueeze(2)
    cos, sin = angle.cos() / factor, angle.sin() / factor  # (N, 1, 1), of the inverse: where does a pixel come from
    x = torch.arange(width, device=images.device) - (width - 1) / 2  # pixels from the centre
    y = torch.arange(height, device=images.device).unsqueeze(1) - (height - 1) / 2
    to_x, to_y = 2 / width, 2 / height  # for grid_sample both sides of the image measure 2
    source = (cos * (to_x * x) + sin * (to_x * y), cos * (to_y * y) - sin * (to_y * x))
    grid = torch.stack(source, dim=1).permute(0, 2, 3, 1)  # with affine_grid, all this takes four times as long
    return functional.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(1)


# Zhong, Zheng, Kang, Li & Yang, "Random Erasing Data Augmentation", AAAI 2020: s_l, s_h and r_1 = 1 / r_2 of all the
# experiments. As in torchvision, but not in the paper, the ratio is drawn on a logarithmic scale, so that wide is as
# likely as tall, and the draws for an image end after CANDIDATES.
ERASED_AREA = (0.02, 0.4)  # of the image's
ASPECT_RATIO = (0.3, 1 / 0.3)  # height to width
CANDIDATES = 10


def random_erasing(images: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """With `probability`, a rectangle becomes random pixels, uniform in 0..255: the first of ten candidates that is
    less high and less wide than the image, and none if none is.
    """
    height, width = images.shape[1:]
    area = height * width * _uniform(images, generator, *ERASED_AREA, draws=CANDIDATES)
    ratio = _uniform(images, generator, *map(math.log, ASPECT_RATIO), draws=CANDIDATES).exp()
    heights, widths = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()  # (N, CANDIDATES)
    fits = (heights < height) & (widths < width)
    first = fits.byte().argmax(dim=1, keepdim=True)  # of equal values the first
    fits, high, wide = (tensor.gather(1, first) for tensor in (fits, heights, widths))
    top = (_uniform(images, generator, 0, 1) * (height - high + 1)).floor()
    left = (_uniform(images, generator, 0, 1) * (width - wide + 1)).floor()
    chosen = fits & (_uniform(images, generator, 0, 1) < probability)
    noise = torch.empty_like(images).uniform_(0, 255, generator=generator)
    return torch.where(_rectangles(images, top, left, high, wide) & chosen.unsqueeze(2), noise, images)


def cutout(images: Tensor, generator: torch.Generator, side: int, fill: float) -> Tensor:
    """A square about a uniformly random pixel becomes `fill`; what of it lies outside the image is lost.

    DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017. There the images
    are standardised before, and what is cut out is 0: the mean pixel of the data set.
    """
    row, column = (
        torch.randint(length, (len(images), 1), generator=generator, device=images.device)
        for length in images.shape[1:]
    )
    return images.masked_fill(_rectangles(images, row - side // 2, column - side // 2, side, side), fill)


@dataclass(frozen=True)
class Augmentation:
    """uint8 or float images (N, H, W) -> float32 (N, H, W). Whatever is 0 is off, and then draws nothing."""

    fill: float  # what cutout leaves: the data set's mean pixel, in 0..255
    shift: int = 0  # pixels, up, down, left and right
    horizontal_flip: float = 0.0  # probability
    rotation: float = 0.0  # degrees, either way
    scale: float = 0.0  # by how much the factor may differ from 1
    erasing: float = 0.0  # probability
    cutout: int = 0  # pixels, the side of the square

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        images = images.float()
        if self.horizontal_flip:
            images = horizontal_flip(images, generator, self.horizontal_flip)
        if self.rotation or self.scale:
            images = rotate_and_scale(images, generator, self.rotation, self.scale)
        if self.shift:
            images = shift(images, generator, self.shift)
        if self.erasing:  # after all that moves pixels: its rectangles and the squares of cutout stay upright and sharp
            images = random_erasing(images, generator, self.erasing)
        if self.cutout:
            images = cutout(images, generator, self.cutout, self.fill)
        return images


def _uniform(images: Tensor, generator: torch.Generator, low: float, high: float, draws: int = 1) -> Tensor:
    """(N, draws), in [low, high)."""
    return torch.empty(len(images), draws, device=images.device).uniform_(low, high, generator=generator)


def _rectangles(images: Tensor, top: Tensor, left: Tensor, height: Tensor | int, width: Tensor | int) -> Tensor:
    """A mask (N, H, W), true inside the rectangle of each image; all its measures are (N, 1)."""
    row, column = (torch.arange(length, device=images.device) for length in images.shape[1:])
    in_rows, in_columns = (row >= top) & (row < top + height), (column >= left) & (column < left + width)
    return in_rows.unsqueeze(2) & in_columns.unsqueeze(1)
