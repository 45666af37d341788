"""Draw the classes of both data sets, or what augmentation does to their images."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from . import DATASETS, IMAGE_SIZE, load

if TYPE_CHECKING:
    from PIL import Image

IMAGES = 5  # of each class
SHOWN = (5, 9)  # two classes whose images are not symmetric
DRAWS = 6  # of each image
CELL = 2 * IMAGE_SIZE + 4  # an image, enlarged, and the space to the next
LABEL, HEAD, GAP = 180, 32, 12  # width of the labels, height of the titles, space between blocks
BACKGROUND = (30, 50, 80)  # a blue: images and what augmentation fills in are grey


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"refzoo: {message}\n")


def main() -> None:
    parser = Parser(prog="python -m data", description=__doc__)
    add = parser.add_argument
    add("picture", nargs="?", choices=("classes", "augmentation"), default="classes", help="default: classes")
    settings = "augment with these keys of data.augment together, e.g. shift=2 rotation=10 (default: each key alone)"
    add("settings", nargs="*", metavar="key=value", help=settings)
    add("--output", type=Path, metavar="FILE", help="default: classes.png or augmentation.png")
    command = parser.parse_intermixed_args()
    if command.settings and command.picture != "augmentation":
        parser.error("key=value goes with augmentation: python -m data augmentation shift=2")
    if command.picture == "augmentation":
        try:
            sheet = draw_augmentation(dict(parse(word) for word in command.settings))
        except ValueError as error:
            parser.error(str(error))
    else:
        sheet = draw_classes()
    output = command.output or Path(f"{command.picture}.png")
    try:
        sheet.save(output)
    except (OSError, ValueError) as error:  # ValueError: a suffix that names no format
        parser.exit(5, f"refzoo: {output} cannot be written: {error}\n")
    print(f"{output}: {', '.join(DATASETS)}")


def parse(word: str) -> tuple[str, float | str]:
    """Split `key=value` and convert the value to a number; `Augmentation` refuses what is no number."""
    key, _, value = word.partition("=")
    for convert in (int, float):
        with contextlib.suppress(ValueError):
            return key, convert(value)
    return key, value


def draw_classes() -> Image.Image:
    """Draw five training images of each class, a column for a class."""
    import torch
    from torchvision.transforms.v2.functional import to_pil_image
    from torchvision.utils import make_grid

    sheets = []
    for name, info in DATASETS.items():
        images, labels = load(name).train
        chosen = [images[labels == label][:IMAGES] for label in range(len(info.classes))]
        by_class = torch.stack(chosen, dim=1).flatten(0, 1)  # a column for each class
        sheets.append(make_grid(by_class, nrow=len(info.classes), padding=2, pad_value=64))
    return to_pil_image(torch.cat(sheets, dim=2))


def draw_augmentation(settings: dict[str, Any]) -> Image.Image:
    """Draw images and, beside each, six augmented copies.

    With `settings`, all of them augment one image of each class; without, each key has rows of its own. Raises
    ValueError for a wrong key or value.
    """
    import torch
    from PIL import Image, ImageDraw, ImageFont

    from .augmentation import SETTINGS, Augmentation

    if unknown := settings.keys() - SETTINGS:
        raise ValueError(f"there is no key data.augment.{unknown.pop()}, there are {', '.join(SETTINGS)}.")
    Augmentation((0,), **settings)
    blocks = [settings] if settings else [{key: each["shown"]} for key, each in SETTINGS.items()]
    labels_shown = range(10) if settings else SHOWN
    block_height, set_width = len(labels_shown) * CELL + GAP, (1 + DRAWS) * CELL + 2 * GAP
    size = (LABEL + len(DATASETS) * set_width, HEAD + len(blocks) * block_height)
    sheet = Image.new("RGB", size, BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=17)
    for block, values in enumerate(blocks):
        text = "\n".join(f"{key}={value:g}" for key, value in values.items())
        pen.multiline_text((GAP, HEAD + block * block_height), text, fill="white", font=font, spacing=6)
    for column, (name, info) in enumerate(DATASETS.items()):
        left = LABEL + column * set_width
        pen.text((left, 6), f"{name}: the image, {DRAWS} draws", fill="white", font=font)
        images, labels = load(name).train
        chosen = torch.stack([images[labels == label][0] for label in labels_shown])
        generator = torch.Generator().manual_seed(0)
        for block, values in enumerate(blocks):
            top = HEAD + block * block_height
            values = {key: value for key, value in values.items() if key != "horizontal_flip" or info.may_be_flipped}
            if not values:
                pen.text((left, top), "not for digits: their mirror images are none", fill="white", font=font)
                continue
            augment = Augmentation(tuple(255 * mean for mean in info.mean), **values)
            drawn = augment(chosen.repeat_interleave(DRAWS, dim=0), generator).round().byte()
            rows = torch.cat((chosen.unsqueeze(1), drawn.unflatten(0, (-1, DRAWS))), dim=1).squeeze(2).numpy()
            for i, row in enumerate(rows):
                for j, pixels in enumerate(row):
                    enlarged = Image.fromarray(pixels).resize((CELL - 4, CELL - 4), Image.Resampling.NEAREST)
                    sheet.paste(enlarged, (left + j * CELL + GAP * (j > 0), top + i * CELL))
    return sheet


if __name__ == "__main__":
    main()
