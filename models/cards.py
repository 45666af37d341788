"""Weights files and their cards, without torch: where a file is, what it says of itself, whether it is whole.

A weights file is one safetensors file; the card lies in its header, under the single key "refzoo". It names the network
among our own, its arguments, what its input must look like, its classes, how it was trained and how good it is. A
SHA-256 covers card and tensors. A published file, `weights/<name>.safetensors`, has its card beside it once more, with
the file's size and hash: what does not agree with it, or bears another's name, is refused.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from . import WeightsError, did_you_mean, names

PUBLISHED = Path(__file__).resolve().parents[1] / "weights"
KEY = "refzoo"  # one entry in the header: safetensors writes several in random order
FIELDS = {  # of every card, and their types
    "network": str,
    "arguments": dict,
    "data": str,  # the name of the data set
    "input": dict,  # channels, image_size, mean and std of pixels in [0, 1]
    "classes": list,
    "metrics": dict,  # val (or null) and test, each with loss, accuracy, images
    "training": dict,
    "versions": dict,
}
FIGURES = ("loss", "accuracy", "images")
LARGEST_FILE = 2 << 30  # bytes; four times VGG-11 at 224
LARGEST_ARGUMENT = 65_536  # no size of a network is larger; a card that asks for more is damaged or hostile
DEEPEST = 16  # lists and dictionaries in each other; a card of ours has four
WHAT_NEXT = "Train it again, or take the file from where it came."


class WeightsFile(NamedTuple):
    """A file that was found whole: what was checked is what is used, whatever becomes of it on the disk."""

    path: Path
    card: dict[str, Any]
    content: bytes


def published() -> list[str]:
    """In the order in which the zoo names its networks."""

    def order(name: str) -> tuple[int, str]:
        return next((place for place, network in enumerate(names()) if name.startswith(network)), len(names())), name

    found = {path.stem for path in PUBLISHED.glob("[!.]*") if path.suffix in (".json", ".safetensors")}
    return sorted(found, key=order)  # also those of which one half is missing: reading them says so


def locate(source: str | Path) -> Path:
    """The file meant by a published name, a run folder or a file. Raises WeightsError when there is none.

    A published name means the same wherever it is said: a folder of that name is `./<name>`.
    """
    if str(source) in published():
        return PUBLISHED / f"{source}.safetensors"
    try:
        path = Path(source).expanduser()
        file = path / "weights.safetensors" if path.is_dir() else path
        if file.is_file():
            return file
    except (OSError, RuntimeError, ValueError) as error:  # a name that is too long, an unknown ~user, a null byte
        raise WeightsError(f"{str(source)!r} is no name of a file ({error}).") from None
    if path.is_dir():
        raise WeightsError(f"there are no weights at {file}. Expected a run folder that has finished.")
    if path.name == str(source) and not path.suffix:
        valid = did_you_mean(str(source), published()) if published() else "."
        raise WeightsError(f"there are no published weights {str(source)!r}, and no file or run folder{valid}")
    raise WeightsError(f"there are no weights at {path}. Expected a run folder, its file, or a published name.")


def read(source: str | Path) -> WeightsFile:
    """Raises WeightsError, saying what is wrong, unless size, hash, header and card are in order."""
    path = locate(source)
    try:
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise WeightsError(f"{path} is {size} bytes, more than any network of ours. {WHAT_NEXT}")
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}). {WHAT_NEXT}") from None
    stated = _beside(name) if (name := _published_name(path)) else None
    if stated:
        for what, found in _identity(content).items():
            if found != stated["file"][what]:
                raise WeightsError(
                    f"{path} is damaged: its {what} is {found}, its card says {stated['file'][what]}. {WHAT_NEXT}"
                )
    file = parse(path, content)
    if stated and file.card != {key: value for key, value in stated.items() if key != "file"}:
        raise WeightsError(f"{PUBLISHED}/{name}.json is damaged: it is not the card inside the file. {WHAT_NEXT}")
    if name and (own := file.card.get("name")) != name:
        raise WeightsError(f"{path} holds the weights {own}: it was renamed, or exchanged with them. {WHAT_NEXT}")
    return file


def parse(path: Path, content: bytes) -> WeightsFile:
    """The content of a file that is or will be at `path`. Raises WeightsError as `read` does."""
    header, data = _split(path, content)
    try:
        card = json.loads(header.pop("__metadata__")[KEY])
    except (KeyError, TypeError):
        raise WeightsError(f"{path} has no card: it is not a file of this project. {WHAT_NEXT}") from None
    except (ValueError, RecursionError):
        card = None
    if not isinstance(card, dict):
        raise WeightsError(f"{path} has a damaged card. {WHAT_NEXT}")
    if (stated := card.pop("sha256", None)) != (found := digest(card, header, data)):
        raise WeightsError(f"{path} is damaged: its SHA-256 is {found}, its card says {stated}. {WHAT_NEXT}")
    _check(card, path)
    return WeightsFile(path, card, content)


def seal(card: dict[str, Any], content: bytes) -> dict[str, Any]:
    """The card with the SHA-256 over itself and the tensors of `content`, a safetensors file without metadata."""
    header, data = _split(Path("the new file"), content)
    return {**card, "sha256": digest(card, header, data)}


def digest(card: dict[str, Any], header: dict[str, Any], data: memoryview) -> str:
    """`header` names each tensor's type, shape and place in `data`."""
    found = hashlib.sha256(json.dumps([card, header], sort_keys=True).encode())
    found.update(data)
    return found.hexdigest()


def _published_name(path: Path) -> str | None:
    """What a file in the folder of published ones is published as; links may lead into that folder and out of it."""
    for each in (path.absolute(), path.resolve()):
        if each.parent.resolve() == PUBLISHED.resolve():
            return each.stem
    return None


def _beside(name: str) -> dict[str, Any]:
    """The card of published weights as it lies beside the file, which is not looked at."""
    path = PUBLISHED / f"{name}.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        _check(card, path)
        complete = card["metrics"]["test"] and card["metrics"]["quick"] and card["parameters"]
        if card["file"].keys() != {"size", "sha256"} or not complete:
            raise ValueError("it lacks its file or its figures")
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not a card ({type(error).__name__}: {error}). {WHAT_NEXT}") from None
    return card


def beside_file(file: WeightsFile) -> dict[str, Any]:
    """The card to be published beside it."""
    return {**file.card, "file": _identity(file.content)}


def _identity(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _split(path: Path, content: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header and the data of a safetensors file, which must fit each other in length."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
        expected = 8 + length + int(end)
    except (ValueError, RecursionError, ArithmeticError, AttributeError, TypeError, LookupError) as error:
        why = f"{len(content)} bytes; {type(error).__name__}: {error}"
        raise WeightsError(f"{path} is not a readable safetensors file ({why}). {WHAT_NEXT}") from None
    if len(content) != expected:
        raise WeightsError(f"{path} is damaged: it is {len(content)} bytes, its header says {expected}. {WHAT_NEXT}")
    return header, memoryview(content)[8 + length :]


def _check(card: dict[str, Any], path: Path) -> None:
    """Raises WeightsError at the first thing that no card of ours says."""
    for field, kind in FIELDS.items():
        if not isinstance(card.get(field), kind):
            raise WeightsError(f"{path} has a card whose {field} is {card.get(field)!r}. {WHAT_NEXT}")
    if not _is_plain(card):
        raise WeightsError(f"{path} has a card with values that no card of ours has. {WHAT_NEXT}")
    if card["network"] not in names():
        raise WeightsError(f"{path} holds a network {card['network']!r}, which is none of {', '.join(names())}.")
    arguments = card["arguments"]
    sizes = [arguments.get(key) for key in ("image_size", "in_channels", "num_classes")]
    if not all(map(_is_modest, arguments.values())) or not all(type(size) is int and size > 0 for size in sizes):
        raise WeightsError(f"{path} has a card with impossible arguments: {arguments}. {WHAT_NEXT}")
    for split, figures in card["metrics"].items():
        numbers = [figures.get(key) for key in FIGURES] if isinstance(figures, dict) else []
        if figures is not None and not (numbers and all(type(number) in (int, float) for number in numbers)):
            raise WeightsError(f"{path} has a card whose {split} figures are {figures!r}. {WHAT_NEXT}")


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Text that does nothing to a terminal, numbers that are finite and of a size to calculate with, nothing nested
    deeper than a card may be.
    """
    if isinstance(value, dict | list):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return depth < DEEPEST and all(_is_plain(part, depth + 1) for part in parts)
    if isinstance(value, str):
        return value.isprintable()
    return value is None or abs(value) < 1e15  # NaN is not


def _is_modest(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= 64 and all(map(_is_modest, value))
    return (
        value is None or isinstance(value, str) or (isinstance(value, int | float) and abs(value) <= LARGEST_ARGUMENT)
    )
