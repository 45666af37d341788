"""Look at the data: a picture of the classes of each data set, or of what augmentation makes of their images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import AUGMENTATIONS, DATASETS, IMAGE_SIZE, load

if TYPE_CHECKING:
    from PIL import Image

IMAGES = 5  # of each class
TYPICAL = {"horizontal_flip": 0.5, "rotation": 15, "scale": 0.15, "shift": 4, "erasing": 0.5, "cutout": 10}
SHOWN = (5, 9)  # the classes that show each augmentation on its own: their mirror images are others
DRAWS = 6  # of each image
ENLARGED = 2  # times; a pixel stays a square
CELL = ENLARGED * IMAGE_SIZE + 4
LABEL, HEAD, GAP = 180, 32, 12  # the width of the labels, the height of the titles, between blocks
BACKGROUND = (30, 50, 80)  # bluish, as no image and no filling is


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"refzoo: {message}\n")


def main() -> None:
    parser = Parser(prog="python -m data", description=__doc__)
    add = parser.add_argument
    add("picture", nargs="?", choices=("classes", "augmentation"), default="classes", help="default: classes")
    settings = f"draw these together, as training would: {', '.join(AUGMENTATIONS)} (without: each of them on its own)"
    add("settings", nargs="*", type=setting, metavar="name=value", help=settings)
    add("--output", type=Path, metavar="FILE", help="default: classes.png or augmentation.png")
    command = parser.parse_intermixed_args()
    if command.picture == "augmentation":
        sheet, legend = augmentation(dict(command.settings)), f"{DRAWS} draws beside each image"
    elif command.settings:
        parser.error("name=value goes with augmentation: python -m data augmentation shift=2")
    else:
        sheet, legend = classes(), "a column for each class"
    output = command.output or Path(f"{command.picture}.png")
    try:
        sheet.save(output)
    except (OSError, ValueError) as error:  # ValueError: a suffix that names no format
        parser.exit(5, f"refzoo: {output} cannot be written: {error}\n")
    print(f"{output}: {', '.join(DATASETS)}, {legend}")


def setting(word: str) -> tuple[str, float]:
    """`name=value` as a name and a number of its type."""
    name, _, value = word.partition("=")
    if name not in AUGMENTATIONS:
        raise argparse.ArgumentTypeError(f"there is no augmentation {name!r}, there are {', '.join(AUGMENTATIONS)}")
    largest = AUGMENTATIONS[name]
    try:
        number = type(largest)(value)
    except ValueError:
        number = -1
    if not 0 <= number <= largest:
        kind = "a whole number" if isinstance(largest, int) else "a number"
        raise argparse.ArgumentTypeError(f"{word} is not valid, it should be {kind} from 0 to {largest:g}")
    return name, number


def classes() -> Image.Image:
    """Five training images of each class."""
    import torch
    from torchvision.transforms.v2.functional import to_pil_image
    from torchvision.utils import make_grid

    sheets = []
    for name, facts in DATASETS.items():
        images, labels = load(name).train
        chosen = [images[labels == label][:IMAGES] for label in range(len(facts.classes))]
        by_class = torch.stack(chosen, dim=1).flatten(0, 1).unsqueeze(1)  # a column for each class
        sheets.append(make_grid(by_class, nrow=len(facts.classes), padding=2, pad_value=64))
    return to_pil_image(torch.cat(sheets, dim=2))


def augmentation(settings: dict[str, float]) -> Image.Image:
    """Beside each image several draws: by all `settings` together on one image of each class, or without settings a
    block of rows for each augmentation on its own.
    """
    import torch
    from PIL import Image, ImageDraw, ImageFont

    from .augmentation import Augmentation

    blocks = [settings] if settings else [{name: value} for name, value in TYPICAL.items()]
    labels_shown = range(10) if settings else SHOWN
    block_height, set_width = len(labels_shown) * CELL + GAP, (1 + DRAWS) * CELL + 2 * GAP
    size = (LABEL + len(DATASETS) * set_width, HEAD + len(blocks) * block_height)
    sheet = Image.new("RGB", size, BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=17)
    for block, values in enumerate(blocks):
        text = "\n".join(f"{name}={value:g}" for name, value in values.items())
        pen.multiline_text((GAP, HEAD + block * block_height), text, fill="white", font=font, spacing=6)
    for column, (name, facts) in enumerate(DATASETS.items()):
        left = LABEL + column * set_width
        pen.text((left, 6), f"{name}: the image, {DRAWS} draws", fill="white", font=font)
        images, labels = load(name).train
        chosen = torch.stack([images[labels == label][0] for label in labels_shown])
        generator = torch.Generator().manual_seed(0)
        for block, values in enumerate(blocks):
            top = HEAD + block * block_height
            values = {key: value for key, value in values.items() if key != "horizontal_flip" or facts.may_be_flipped}
            if not values:
                pen.text((left, top), "not for digits: their mirror images are none", fill="white", font=font)
                continue
            augment = Augmentation(255 * facts.mean, **values)  # pyright: ignore[reportArgumentType]
            drawn = augment(chosen.repeat_interleave(DRAWS, dim=0), generator).round().byte()
            rows = torch.cat((chosen.unsqueeze(1), drawn.unflatten(0, (-1, DRAWS))), dim=1).numpy()
            for i, row in enumerate(rows):
                for j, pixels in enumerate(row):
                    enlarged = Image.fromarray(pixels).resize((CELL - 4, CELL - 4), Image.Resampling.NEAREST)
                    sheet.paste(enlarged, (left + j * CELL + GAP * (j > 0), top + i * CELL))
    return sheet


if __name__ == "__main__":
    main()
