"""Find weights files, read their cards and detect damage, without torch.

A weights file is a safetensors file whose header holds the card, as JSON under the single key "refzoo". The card
states the network, its arguments, its input and classes, how it was trained, and its metrics. A SHA-256 in the card
covers card and tensors. Beside a published file, `weights/<name>.safetensors`, lies a copy of the card,
`weights/<name>.json`, with the file's size and SHA-256; a file that differs from this copy, or that has another name,
is refused.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from . import WeightsError, did_you_mean, names

PUBLISHED = Path(__file__).resolve().parents[1] / "weights"
KEY = "refzoo"  # one entry in the header: safetensors writes several in random order
FIELDS = {  # of every card, and their types
    "network": str,  # a name of the zoo, or the dotted path of a user's class, such as my_networks.Tiny
    "arguments": dict,
    "data": str,  # the name of the data set
    "input": dict,  # channels, image_size, mean and std of pixels in [0, 1]
    "classes": list,
    "metrics": dict,  # val (or null) and test, each with loss, accuracy, images
    "training": dict,
    "versions": dict,
}
LARGEST_FILE = 2 << 30  # bytes, four times VGG-11 at 224 x 224: a larger file is named by mistake and not read
WHAT_NEXT = "Train it again, or copy the file again from its source."


class WeightsFile(NamedTuple):
    """A file without damage. `content` holds the bytes that were checked, even if the file changes later."""

    path: Path
    card: dict[str, Any]
    content: bytes


def published() -> list[str]:
    """List the names of the published weights, in the order of the zoo's networks."""

    def order(name: str) -> tuple[int, str]:
        return next((index for index, network in enumerate(names()) if name.startswith(network)), len(names())), name

    found = {path.stem for path in PUBLISHED.glob("[!.]*") if path.suffix in (".json", ".safetensors")}
    return sorted(found, key=order)  # one of the two may be missing: `read` then raises


def locate(source: str | Path) -> Path:
    """Return the path of a weights file, given a published name, a run folder or a file.

    A published name comes first: a folder of the same name is `./<name>`. Raises WeightsError if there is no such file.
    """
    if str(source) in published():
        return PUBLISHED / f"{source}.safetensors"
    try:
        path = Path(source).expanduser()
        file = path / "weights.safetensors" if path.is_dir() else path
        if file.is_file():
            return file
    except (OSError, RuntimeError, ValueError) as error:  # a name that is too long, an unknown ~user, a null byte
        raise WeightsError(f"{str(source)!r} is not a file name ({error}).") from None
    if path.is_dir():
        raise WeightsError(f"there are no weights at {file}. Expected the folder of a finished run.")
    if path.name == str(source) and not path.suffix:
        valid = did_you_mean(str(source), published()) if published() else "."
        raise WeightsError(f"there are no published weights {str(source)!r}, and no file or run folder{valid}")
    raise WeightsError(f"there are no weights at {path}. Expected a run folder, a weights file, or a published name.")


def read(source: str | Path) -> WeightsFile:
    """Read the weights file that `locate` finds.

    Raises WeightsError, which says what is wrong, unless size, hash, header and card are correct.
    """
    path = locate(source)
    try:
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise WeightsError(f"{path} is {size} bytes, more than any weights file of this project.")
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}). {WHAT_NEXT}") from None
    if (name := _published_name(path)) is None:
        return parse(path, content)
    copy, identity = _read_copy(name)
    for key, found in _identity(content).items():
        if found != identity[key]:
            raise WeightsError(f"{path} is damaged: its {key} is {found}, its card says {identity[key]}. {WHAT_NEXT}")
    file = parse(path, content)
    if file.card != copy:
        raise WeightsError(f"{PUBLISHED}/{name}.json is damaged: it is not the card inside the file. {WHAT_NEXT}")
    if (own := file.card.get("name")) != name:
        raise WeightsError(f"{path} holds the weights {own}: it was renamed, or exchanged with them. {WHAT_NEXT}")
    return file


def parse(path: Path, content: bytes) -> WeightsFile:
    """Check the content of a weights file that is, or will be, at `path`. Raises WeightsError as `read` does."""
    header, data = _split(path, content)
    try:
        card = json.loads(header.pop("__metadata__")[KEY])
        stated = card.pop("sha256", None)
    except (KeyError, TypeError):
        raise WeightsError(f"{path} has no card: it is not a file of this project. {WHAT_NEXT}") from None
    except (ValueError, AttributeError):
        raise WeightsError(f"{path} has a damaged card. {WHAT_NEXT}") from None
    if stated != (found := digest(card, header, data)):
        raise WeightsError(f"{path} is damaged: its SHA-256 is {found}, its card says {stated}. {WHAT_NEXT}")
    for field, kind in FIELDS.items():
        if not isinstance(card.get(field), kind):
            raise WeightsError(f"{path} has a card whose {field} is {card.get(field)!r}. {WHAT_NEXT}")
    if card["network"] not in names() and "." not in card["network"]:
        raise WeightsError(f"{path} holds a network {card['network']!r}, which is none of {', '.join(names())}.")
    sizes = {key: card["arguments"].get(key) for key in ("image_size", "in_channels", "num_classes")}
    image_size, *counts = sizes.values()
    counts += image_size if isinstance(image_size, list) and len(image_size) == 2 else [image_size]
    if not all(isinstance(count, int) and count > 0 for count in counts):
        raise WeightsError(f"{path} has a card with impossible arguments: {sizes}. {WHAT_NEXT}")
    return WeightsFile(path, card, content)


def is_bundled(card: dict[str, Any]) -> bool:
    """Return whether the network was trained on a bundled data set, not on the user's own data."""
    return "format" not in card["training"]


def data_arguments(card: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with which `data.load` splits the data as for a card's training, but for their image size.

    "format" is among them if these are the user's own data. Raises WeightsError if the card lacks one.
    """
    training = card["training"]
    own = () if is_bundled(card) else ("format", "root", "split_seed")
    try:
        return {"name": card["data"], **{key: training[key] for key in ("train_size", "val_size", "test_size", *own)}}
    except KeyError as error:
        raise WeightsError(f"the card does not say how its data were split ({error}).") from None


def seal(card: dict[str, Any], content: bytes) -> dict[str, Any]:
    """Add to a card the SHA-256 over itself and the tensors of `content`, a safetensors file without metadata."""
    header, data = _split(Path("the new file"), content)
    return {**card, "sha256": digest(card, header, data)}


def digest(card: dict[str, Any], header: dict[str, Any], data: memoryview) -> str:
    """Compute the SHA-256 of card, header (each tensor's type, shape and offsets in `data`) and data, as hex digits."""
    found = hashlib.sha256(json.dumps([card, header], sort_keys=True).encode())
    found.update(data)
    return found.hexdigest()


def beside_file(file: WeightsFile) -> dict[str, Any]:
    """Return the copy of a file's card that is published beside the file: with the file's size and SHA-256."""
    return {**file.card, "file": _identity(file.content)}


def _identity(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _published_name(path: Path) -> str | None:
    """Return the name of a file in the folder of published weights, which links may lead into and out of, else None."""
    for each in (path.absolute(), path.resolve()):
        if each.parent.resolve() == PUBLISHED.resolve():
            return each.stem
    return None


def _read_copy(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the copy of the card beside a published file: the card, and the size and SHA-256 of the file."""
    path = PUBLISHED / f"{name}.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        identity = card.pop("file")
        return card, {key: identity[key] for key in ("size", "sha256")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not a card ({type(error).__name__}: {error}). {WHAT_NEXT}") from None


def _split(path: Path, content: bytes) -> tuple[dict[str, Any], memoryview]:
    """Split a safetensors file into header and data, whose lengths must fit each other."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
        expected = 8 + length + end
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        why = f"{len(content)} bytes; {type(error).__name__}: {error}"
        raise WeightsError(f"{path} is not a readable safetensors file ({why}). {WHAT_NEXT}") from None
    if len(content) != expected:
        raise WeightsError(f"{path} is damaged: it is {len(content)} bytes, its header says {expected}. {WHAT_NEXT}")
    return header, memoryview(content)[8 + length :]
