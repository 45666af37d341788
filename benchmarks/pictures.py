"""Measure the accuracy on picture files, as predict.py reads them, against that on the test images themselves.

Test images are turned into pictures of several kinds, written as files, read back and classified.

    uv run python -m benchmarks.pictures --weights lenet-mnist
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import data
import pictures
from data.splits import Images
from models import cards
from models.weights import load_network
from reports import tables
from training import evaluation

NEAREST, BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="a run folder, a weights file or a published name")
    parser.add_argument("--images", type=int, default=1000, help="the first test images (default: 1000)")
    command = parser.parse_args()
    file = cards.read(command.weights)
    network, preprocess, name = load_network(file), evaluation.preprocess_of(file.card), file.card["data"]
    images, labels = data.load(name, test_size=command.images).test

    def answers(images: torch.Tensor) -> torch.Tensor:
        return evaluation.predict_logits(network, Images(images, labels), preprocess).argmax(dim=1)

    own = answers(images)
    rows = [["the images themselves", share(own == labels), ""]]
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in KINDS.items():
            suffix = ".jpg" if "JPEG" in kind else ".png"
            path = Path(folder, f"picture{suffix}")
            seen = []
            for image in images[:, 0].numpy():
                make(image).save(path)
                seen.append(torch.from_numpy(pictures.read(str(path), name).pixels))
            found = answers(torch.stack(seen))
            rows.append([kind, share(found == labels), share(found == own)])
    print(f"{file.card['network']} on {name}, {len(labels)} test images\n")
    print(tables.markdown(["pictures", "accuracy", "same answer as for the image"], *rows))


def share(correct: torch.Tensor) -> str:
    return f"{100 * correct.double().mean().item():.1f} %"


def negative(image: np.ndarray) -> Image.Image:
    return Image.fromarray(255 - image)


def enlarged(image: np.ndarray, times: int, how: Image.Resampling = BICUBIC) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((28 * times, 28 * times), how))


def on_a_sheet(image: np.ndarray) -> Image.Image:
    """Draw dark on white, 112 x 112 pixels off the centre of 260 x 200."""
    sheet = Image.new("L", (260, 200), 255)
    sheet.paste(negative(enlarged(image, 4)), (120, 20))
    return sheet


def on_a_page(image: np.ndarray) -> Image.Image:
    """Draw dark on white, 84 x 84 pixels on A4 at 150 dpi."""
    page = Image.new("L", (1240, 1754), 255)
    page.paste(negative(enlarged(image, 3)), (700, 400))
    return page


def photographed(image: np.ndarray) -> Image.Image:
    """Draw dark on grey paper, 280 x 280 pixels on 430 x 380, with uneven light and noise."""
    ink = np.pad(enlarged(image, 10), ((40, 60), (20, 130))) / 255
    y, x = np.mgrid[-1 : 1 : ink.shape[0] * 1j, -1 : 1 : ink.shape[1] * 1j]
    light = 200 + 25 * x - 15 * y - 20 * (x * x + y * y)
    noise = np.random.default_rng(0).normal(0, 4, ink.shape)
    return Image.fromarray((light * (1 - 0.7 * ink) + noise).clip(0, 255).astype(np.uint8))


def cut_out(image: np.ndarray, level: int) -> Image.Image:
    """Draw in one grey level on a transparent background."""
    opacity = Image.fromarray(enlarged(image, 4))
    return Image.merge("LA", [Image.new("L", opacity.size, level), opacity])


KINDS: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "28 x 28, PNG": Image.fromarray,
    "28 x 28, negated, PNG": negative,
    "28 x 28, negated, JPEG": negative,
    "4 x, pixels as squares, PNG": lambda image: Image.fromarray(enlarged(image, 4, NEAREST)),
    "4 x, PNG": lambda image: Image.fromarray(enlarged(image, 4)),
    "4 x, dark on white, JPEG": lambda image: negative(enlarged(image, 4)),
    "4 x, aside on a white sheet, JPEG": on_a_sheet,
    "3 x, on a white page of 1,240 x 1,754, JPEG": on_a_page,
    "10 x, aside on grey paper, uneven light, noise, JPEG": photographed,
    "4 x, black on transparent, PNG": lambda image: cut_out(image, 0),
    "4 x, white on transparent, PNG": lambda image: cut_out(image, 255),
}


if __name__ == "__main__":
    main()
