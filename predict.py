"""Classify image files by trained weights."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import pictures
from data import DataError
from launch import errors, flags
from models import WeightsError, cards

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = """
  predict.py --weights lenet-mnist digit.png *.jpg         published weights
  predict.py --weights runs/<run> photo.jpg --json -       a run's, as JSON
  predict.py --weights lenet-mnist - < digit.png           standard input

One digit or one garment in a picture, of any size and colour, on a plain background.
"""
WIDEST_NAME = 40  # a longer one pushes its own line only


def main() -> int:
    command = read_flags()
    file = cards.read(command.weights)
    out = sys.stderr if command.json == "-" else sys.stdout
    names = [pictures.printable(str(name)) for name in file.card["classes"]]
    print(f"{command.weights}: {file.card['network']}, trained on {file.card['data']}", file=out, flush=True)

    results = [{"file": name} for name in command.files]
    seen = [look(result, file.card["data"], command.polarity) for result in results]
    if readable := [pixels for pixels in seen if pixels is not None]:
        rows = iter(classify(file, readable, command.device))
        for result, pixels in zip(results, seen, strict=True):
            if pixels is not None:
                result |= answer(next(rows), names, command.top)
    show(results, out)
    if command.json:
        flags.write_json(command.json, results)
    return errors.STATUS[DataError] if len(readable) < len(seen) else 0


def read_flags() -> argparse.Namespace:
    parser = flags.Flags(
        prog="predict.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help=f"{', '.join(pictures.FORMATS)}; - is standard input")
    add("--weights", metavar="W", help="a run folder, a weights file or a published name")
    add("--top", type=int, default=3, metavar="N", help="how many classes to name of each picture (default: 3)")
    add("--polarity", default="auto", help=f"{', '.join(pictures.POLARITIES)}: what a picture shows (default: auto)")
    add("--device", default="auto", help="auto (the default: CUDA where there is one), cpu or cuda")
    flags.add_json(parser, "the answers")
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


def look(result: dict[str, Any], data: str, polarity: str) -> np.ndarray | None:
    """The pixels for the network; None where the file gives none, which is said at once and noted in `result`."""
    try:
        picture = pictures.read(result["file"], data, polarity)
    except DataError as error:
        result["error"] = errors.report(error)[1]
        return None
    if picture.one_of_several:
        name = pictures.printable(result["file"])
        print(f"refzoo: {name} holds several pictures, only the first is looked at.", file=sys.stderr)
    return picture.pixels


def classify(file: cards.WeightsFile, seen: list[np.ndarray], device: str) -> list[list[float]]:
    """The probability of each class for each picture."""
    # Only now what takes seconds to import.
    import torch

    from data.splits import Images
    from models.weights import load_network
    from training import evaluation, machine

    network, preprocess = load_network(file), evaluation.preprocess_of(file.card)
    images = torch.stack([torch.from_numpy(pixels) for pixels in seen])
    unlabelled = Images(images, torch.zeros(len(images), dtype=torch.int64))
    logits = evaluation.predict_logits(network, unlabelled, preprocess, machine.choose_accelerator(device))
    if not logits.isfinite().all():
        raise errors.RunFailed(f"{file.path} answers with numbers that are not finite. {cards.WHAT_NEXT}")
    if (classes := len(file.card["classes"])) != logits.shape[1]:
        raise WeightsError(f"{file.path} names {classes} classes, its network has {logits.shape[1]}. {cards.WHAT_NEXT}")
    return logits.double().softmax(dim=1).tolist()


def answer(probabilities: list[float], names: list[str], count: int) -> dict[str, Any]:
    likeliest = sorted(range(len(names)), key=lambda label: -probabilities[label])[:count]
    top = [{"label": label, "class": names[label], "probability": probabilities[label]} for label in likeliest]
    return {**top[0], "top": top}


def show(results: list[dict[str, Any]], out: Any) -> None:
    """A line for each classified file: its class, how sure of it the network is, and what else it may be."""
    answered = [(pictures.printable(result["file"]), result) for result in results if "top" in result]
    wide = max((len(name) for name, _ in answered if len(name) <= WIDEST_NAME), default=0)
    class_wide = max((len(result["class"]) for _, result in answered), default=0)
    for name, result in answered:
        likely = [(each["class"], f"{100 * each['probability']:.1f} %") for each in result["top"]]
        others = ", ".join(f"{other} {share}" for other, share in likely[1:] if share != "0.0 %")
        line = f"{name:{wide}}  {result['class']:{class_wide}}  {likely[0][1]:>7}"
        print(f"{line}   ({others})" if others else line, file=out)


if __name__ == "__main__":
    flags.run(main)
