"""Measure how much accuracy is lost when test images come as pictures, as predict.py reads them.

Test images are made into pictures of several kinds, written as files, read back and classified. The first row is the
accuracy on the images themselves.

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
from training import evaluation

NEAREST, BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="a run folder, a weights file or a published name")
    parser.add_argument("--images", type=int, default=1000, help="how many test images to use (default: 1000)")
    command = parser.parse_args()
    file = cards.read(command.weights)
    network, preprocess, name = load_network(file), evaluation.preprocess_of(file.card), file.card["data"]
    images, labels = data.load(name, test_size=command.images).test

    def classify(images: torch.Tensor) -> torch.Tensor:
        return evaluation.predict_logits(network, Images(images, labels), preprocess).argmax(dim=1)

    own = classify(images)
    print(f"{file.card['network']} on {name}, {len(labels)} test images\n")
    print("| pictures | accuracy | same answer as for the image |\n| --- | ---: | ---: |")
    print(f"| the images themselves | {share(own == labels)} | |")
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in KINDS.items():
            suffix = ".jpg" if "JPEG" in kind else ".png"
            path = Path(folder, f"picture{suffix}")
            read = []
            for image in images.numpy():
                make(image).save(path)
                read.append(torch.from_numpy(pictures.read(str(path), name).pixels))
            found = classify(torch.stack(read))
            print(f"| {kind} | {share(found == labels)} | {share(found == own)} |", flush=True)


def share(correct: torch.Tensor) -> str:
    return f"{100 * correct.double().mean().item():.1f} %"


def negate(image: np.ndarray) -> Image.Image:
    return Image.fromarray(255 - image)


def enlarge(image: np.ndarray, times: int, how: Image.Resampling = BICUBIC) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((28 * times, 28 * times), how))


def put_on_sheet(image: np.ndarray) -> Image.Image:
    """Enlarge to 112 x 112, dark on white, off the centre of 260 x 200."""
    sheet = Image.new("L", (260, 200), 255)
    sheet.paste(negate(enlarge(image, 4)), (120, 20))
    return sheet


def put_on_page(image: np.ndarray) -> Image.Image:
    """Enlarge to 84 x 84, dark on white, off the centre of A4 at 150 dots per inch."""
    page = Image.new("L", (1240, 1754), 255)
    page.paste(negate(enlarge(image, 3)), (700, 400))
    return page


def photograph(image: np.ndarray) -> Image.Image:
    """Enlarge to 280 x 280, dark on grey, off the centre of 430 x 380, unevenly lit, with noise."""
    ink = np.pad(enlarge(image, 10), ((40, 60), (20, 130))) / 255
    y, x = np.mgrid[-1 : 1 : ink.shape[0] * 1j, -1 : 1 : ink.shape[1] * 1j]
    light = 200 + 25 * x - 15 * y - 20 * (x * x + y * y)
    noise = np.random.default_rng(0).normal(0, 4, ink.shape)
    return Image.fromarray((light * (1 - 0.7 * ink) + noise).clip(0, 255).astype(np.uint8))


def cut_out(image: np.ndarray, level: int) -> Image.Image:
    opacity = Image.fromarray(enlarge(image, 4))
    return Image.merge("LA", [Image.new("L", opacity.size, level), opacity])


KINDS: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "28 x 28, PNG": Image.fromarray,
    "28 x 28, negated, PNG": negate,
    "28 x 28, negated, JPEG": negate,
    "4 x, pixels as squares, PNG": lambda image: Image.fromarray(enlarge(image, 4, NEAREST)),
    "4 x, PNG": lambda image: Image.fromarray(enlarge(image, 4)),
    "4 x, dark on white, JPEG": lambda image: negate(enlarge(image, 4)),
    "4 x, aside on a white sheet, JPEG": put_on_sheet,
    "3 x, on a white page of 1,240 x 1,754, JPEG": put_on_page,
    "10 x, aside on grey paper, uneven light, noise, JPEG": photograph,
    "4 x, black on transparent, PNG": lambda image: cut_out(image, 0),
    "4 x, white on transparent, PNG": lambda image: cut_out(image, 255),
}


if __name__ == "__main__":
    main()
