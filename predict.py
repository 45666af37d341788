"""Classify image files with trained weights."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import pictures
from data import DataError
from data.datasets import height_and_width
from launch import errors, flags
from models import cards

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = """
  predict.py --weights lenet-mnist digit.png *.jpg         published weights
  predict.py --weights runs/<run> photo.jpg --json -       a run's, as JSON
  predict.py --weights lenet-mnist - < digit.png           standard input

One digit or one garment in a picture, of any size and colour, on a plain background. Pictures for a network that was
trained on your own data are resized as those were.
"""
WIDEST_NAME = 40  # characters; the table is aligned for shorter names


def main() -> int:
    command = read_flags()
    file = cards.read(command.weights)
    out = sys.stderr if command.json == "-" else sys.stdout
    names = [pictures.printable(str(name)) for name in file.card["classes"]]
    print(f"{command.weights}: {file.card['network']}, trained on {file.card['data']}", file=out, flush=True)

    results = [{"file": name} for name in command.files]
    images = [read_pixels(result, file.card, command.polarity) for result in results]
    readable = [(result, pixels) for result, pixels in zip(results, images, strict=True) if pixels is not None]
    if readable:
        probabilities = classify(file, [pixels for _, pixels in readable], command.device)
        for (result, _), row in zip(readable, probabilities, strict=True):
            result |= likeliest_classes(row, names, command.top)
    print_results(results, out)
    if command.json:
        flags.write_json(command.json, results)
    return errors.STATUS[DataError] if len(readable) < len(results) else 0


def read_flags() -> argparse.Namespace:
    parser = flags.Flags("predict.py", __doc__, EXAMPLES)
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help=f"{', '.join(pictures.FORMATS)}; - is standard input")
    add("--weights", metavar="W", help="a run folder, a weights file or a published name")
    add("--top", type=int, default=3, metavar="N", help="how many classes to list for each picture (default: 3)")
    add("--polarity", default="auto", help=f"{', '.join(pictures.POLARITIES)} (default: auto)")
    add("--device", default="auto", help="auto (the default: CUDA if available), cpu or cuda")
    flags.add_json(parser, "the results")
    command = parser.parse_intermixed_args()
    flags.check(command, polarity=pictures.POLARITIES, device=flags.DEVICES)
    if not command.weights:
        raise errors.SettingsError("--weights is missing: a run folder, a weights file or a published name.")
    if not command.files:
        raise errors.SettingsError("no image file is named. Expected: predict.py --weights W FILE ...")
    if command.files.count("-") > 1:
        raise errors.SettingsError("- is named twice, but standard input can be read only once.")
    if command.top < 1:
        raise errors.SettingsError(f"--top is {command.top}, expected 1 or more.")
    return command


def read_pixels(result: dict[str, Any], card: dict[str, Any], polarity: str) -> np.ndarray | None:
    """Read uint8 pixels (C, H, W) from the file of `result`; if that fails, report and record why and return None."""
    channels, size = card["arguments"]["in_channels"], height_and_width(card["arguments"]["image_size"])
    try:
        name = card["data"] if cards.is_bundled(card) else ""
        picture = pictures.read(result["file"], name, polarity, channels, size)
    except DataError as error:
        result["error"] = errors.report(error)[1]
        return None
    if picture.one_of_several:
        name = pictures.printable(result["file"])
        print(f"refzoo: {name} holds several pictures, only the first is classified.", file=sys.stderr)
    return picture.pixels


def classify(file: cards.WeightsFile, pixels: list[np.ndarray], device: str) -> list[list[float]]:
    """Return the probability of each class for each picture."""
    import torch  # takes seconds, and is not needed for a wrong command or file

    from data.splits import Images
    from models.weights import load_network
    from training import evaluation, machine

    network, preprocess = load_network(file), evaluation.preprocess_of(file.card)
    images = torch.stack([torch.from_numpy(each) for each in pixels])
    unlabelled = Images(images, torch.zeros(len(images), dtype=torch.int64))
    logits = evaluation.predict_logits(network, unlabelled, preprocess, machine.choose_accelerator(device))
    evaluation.require_valid(logits, file)
    return logits.double().softmax(dim=1).tolist()


def likeliest_classes(probabilities: list[float], names: list[str], count: int) -> dict[str, Any]:
    """Return the likeliest class's label, name and probability and, as "top", those of the `count` likeliest."""
    likeliest = sorted(range(len(names)), key=lambda label: -probabilities[label])[:count]
    top = [{"label": label, "class": names[label], "probability": probabilities[label]} for label in likeliest]
    return {**top[0], "top": top}


def print_results(results: list[dict[str, Any]], out: Any) -> None:
    """Print a line for each classified file: its likeliest class, the probability, and the next classes."""
    classified = [(pictures.printable(result["file"]), result) for result in results if "top" in result]
    wide = max((len(name) for name, _ in classified if len(name) <= WIDEST_NAME), default=0)
    class_wide = max((len(result["class"]) for _, result in classified), default=0)
    for name, result in classified:
        likely = [(each["class"], f"{100 * each['probability']:.1f} %") for each in result["top"]]
        others = ", ".join(f"{other} {share}" for other, share in likely[1:] if share != "0.0 %")
        line = f"{name:{wide}}  {result['class']:{class_wide}}  {likely[0][1]:>7}"
        print(f"{line}   ({others})" if others else line, file=out)


if __name__ == "__main__":
    flags.run(main)
