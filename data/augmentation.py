"""Augment a whole batch on the device, with an independent draw for each image.

Every function takes float32 images (N, C, H, W) with pixels in 0..255 and returns new ones of the same shape. The
channels of an image share its draw. It draws from `generator` alone, which is on the images' device. No call makes the
CPU wait for a value on the device, and no tensor's shape depends on a drawn value.
"""

import math
from dataclasses import dataclass, field, fields
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional


def shift(images: Tensor, generator: torch.Generator, pixels: int) -> Tensor:
    """Pad every side with `pixels` black ones, then take one of the (2 pixels + 1)^2 crops, all equally likely."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (pixels,) * 4)
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, 2 pixels + 1, 2 pixels + 1, H, W)
    row, column = torch.randint(2 * pixels + 1, (2, count), generator=generator, device=images.device)
    return crops[torch.arange(count, device=images.device), :, row, column]


def horizontal_flip(images: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """Mirror each image left to right with `probability`. Not for digits: the mirror image of a digit is no digit."""
    chosen = _uniform(images, generator, 0, 1) < probability
    return torch.where(_per_image(chosen), images.flip(3), images)


def rotate_and_scale(images: Tensor, generator: torch.Generator, degrees: float, scale: float) -> Tensor:
    """Rotate by an angle uniform in [-degrees, degrees] and enlarge by a factor uniform in [1 - scale, 1 + scale].

    Both are about the centre, in one bilinear interpolation; pixels from outside the image are black.
    """
    height, width = images.shape[2:]
    angle = _uniform(images, generator, -degrees, degrees).deg2rad().unsqueeze(2)
    factor = _uniform(images, generator, 1 - scale, 1 + scale).unsqueeze(2)
    cos, sin = angle.cos() / factor, angle.sin() / factor  # (N, 1, 1), of the inverse map
    x = torch.arange(width, device=images.device) - (width - 1) / 2  # pixels, from the centre
    y = torch.arange(height, device=images.device).unsqueeze(1) - (height - 1) / 2
    to_x, to_y = 2 / width, 2 / height  # grid_sample's coordinates: -1 to 1 along either side
    source = (cos * (to_x * x) + sin * (to_x * y), cos * (to_y * y) - sin * (to_y * x))
    grid = torch.stack(source, dim=1).permute(0, 2, 3, 1)  # affine_grid would make all this four times slower
    return functional.grid_sample(images, grid, align_corners=False)


# Zhong, Zheng, Kang, Li & Yang, "Random Erasing Data Augmentation", AAAI 2020: s_l, s_h and r_1 = 1 / r_2 of all
# experiments. As in torchvision, but not in the paper, the ratio is drawn on a logarithmic scale, so that wide is as
# likely as tall, and at most CANDIDATES rectangles are drawn for an image.
ERASED_AREA = (0.02, 0.4)  # share of the image's area
ASPECT_RATIO = (0.3, 1 / 0.3)  # height / width
CANDIDATES = 10


def random_erasing(images: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """Replace a rectangle by noise uniform in 0..255 with `probability`.

    It is the first of ten candidates that is lower and narrower than the image; if none is, the image stays as it is.
    """
    height, width = images.shape[2:]
    area = height * width * _uniform(images, generator, *ERASED_AREA, draws=CANDIDATES)
    ratio = _uniform(images, generator, *map(math.log, ASPECT_RATIO), draws=CANDIDATES).exp()
    heights, widths = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()  # (N, CANDIDATES)
    fits = (heights < height) & (widths < width)
    first = fits.byte().argmax(dim=1, keepdim=True)  # argmax returns the first of equal values
    fits, high, wide = (tensor.gather(1, first) for tensor in (fits, heights, widths))
    top = (_uniform(images, generator, 0, 1) * (height - high + 1)).floor()
    left = (_uniform(images, generator, 0, 1) * (width - wide + 1)).floor()
    chosen = fits & (_uniform(images, generator, 0, 1) < probability)
    noise = torch.empty_like(images).uniform_(0, 255, generator=generator)
    return torch.where(_rectangles(images, top, left, high, wide) & _per_image(chosen), noise, images)


def cutout(images: Tensor, generator: torch.Generator, side: int, fill: tuple[float, ...]) -> Tensor:
    """Replace a square about a uniformly random pixel by the colour `fill`; it is clipped at the image's border.

    DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017. The paper fills it
    with 0 after standardisation, which is the mean pixel of the data set.
    """
    row, column = (
        torch.randint(length, (len(images), 1), generator=generator, device=images.device)
        for length in images.shape[2:]
    )
    colour = torch.tensor(fill, device=images.device).view(-1, 1, 1)
    return torch.where(_rectangles(images, row - side // 2, column - side // 2, side, side), colour, images)


Number = TypeVar("Number", int, float)


def setting(largest: Number, shown: Number) -> Number:
    """Declare a setting from 0 (off, the default) to `largest`; `python -m data augmentation` draws it at `shown`."""
    return field(default=type(largest)(0), metadata={"largest": largest, "shown": shown})


@dataclass(frozen=True)
class Augmentation:
    """Augment uint8 or float images (N, C, H, W) -> float32 (N, C, H, W). A setting of 0 is off and draws nothing.

    Raises ValueError if a setting has the wrong type or is out of range.
    """

    fill: tuple[float, ...]  # the colour that cutout leaves: a number in 0..255 per channel
    horizontal_flip: float = setting(largest=1.0, shown=0.5)  # probability
    rotation: float = setting(largest=180.0, shown=15.0)  # degrees, in either direction
    scale: float = setting(largest=0.9, shown=0.15)  # largest difference of the factor from 1
    shift: int = setting(largest=28, shown=4)  # pixels, in each of the four directions
    erasing: float = setting(largest=1.0, shown=0.5)  # probability
    cutout: int = setting(largest=224, shown=10)  # pixels, the side of the square

    def __post_init__(self) -> None:
        for name, each in SETTINGS.items():
            value, largest = getattr(self, name), each["largest"]
            kind, types = ("a whole number", int) if isinstance(largest, int) else ("a number", int | float)
            if isinstance(value, bool) or not isinstance(value, types) or not 0 <= value <= largest:
                expected = f"it should be {kind} from 0 to {largest:g}"
                raise ValueError(f"data.augment.{name}={value} is not valid, {expected}.")

    @property
    def is_off(self) -> bool:
        return not any(getattr(self, name) for name in SETTINGS)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        images = images.float()
        if self.horizontal_flip:
            images = horizontal_flip(images, generator, self.horizontal_flip)
        if self.rotation or self.scale:
            images = rotate_and_scale(images, generator, self.rotation, self.scale)
        if self.shift:
            images = shift(images, generator, self.shift)
        if self.erasing:  # after what moves pixels, as cutout is, so that rectangles stay upright and sharp
            images = random_erasing(images, generator, self.erasing)
        if self.cutout:
            images = cutout(images, generator, self.cutout, self.fill)
        return images


SETTINGS = {each.name: each.metadata for each in fields(Augmentation) if each.metadata}


def _uniform(images: Tensor, generator: torch.Generator, low: float, high: float, draws: int = 1) -> Tensor:
    """Draw (N, draws) uniformly from [low, high)."""
    return torch.empty(len(images), draws, device=images.device).uniform_(low, high, generator=generator)


def _per_image(values: Tensor) -> Tensor:
    """Reshape (N, 1), a value per image, to (N, 1, 1, 1)."""
    return values.unsqueeze(2).unsqueeze(3)


def _rectangles(images: Tensor, top: Tensor, left: Tensor, height: Tensor | int, width: Tensor | int) -> Tensor:
    """Return a mask (N, 1, H, W), true inside a rectangle of each image. Positions and sizes are (N, 1), in pixels."""
    row, column = (torch.arange(length, device=images.device) for length in images.shape[2:])
    in_rows, in_columns = (row >= top) & (row < top + height), (column >= left) & (column < left + width)
    return (in_rows.unsqueeze(2) & in_columns.unsqueeze(1)).unsqueeze(1)
