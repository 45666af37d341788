"""Weights that describe themselves: one safetensors file holds the tensors and, in its header, the card.

The card names the network among our own (it is looked up there and nowhere else), its arguments, what its input must
look like, its classes, how it was trained and how good it is. A SHA-256 covers card and tensors. Reading a file
imports and runs nothing that the file names.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from . import WeightsError, create, names, signature

LARGEST_ARGUMENT = 65_536  # no size of a network is larger; a card that asks for more is damaged or hostile


def serialize(network: nn.Module, name: str, arguments: dict[str, Any], card: dict[str, Any]) -> bytes:
    """The file of a network that `create(name, **arguments)` made: the same network gives the same bytes.

    `card` adds to the file whatever else should be known of the network, as plain JSON.
    """
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    complete = {key: arguments.get(key, argument.default) for key, argument in signature(name).items()}
    card = {"network": name, "arguments": complete, **card}
    card["sha256"] = _digest(card, tensors)
    return save(tensors, metadata={"refzoo": json.dumps(card, sort_keys=True)})  # one entry: their order is random


def read_card(source: str | Path) -> dict[str, Any]:
    return _read(source)[0]


def load_network(source: str | Path) -> nn.Module:
    path = locate(source)
    card, tensors = _read(source)
    try:
        with torch.device("meta"):  # nothing is allocated before the file's own shapes are known to fit
            network = create(card["network"], **card["arguments"])
    except (ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} describes a network that cannot be built: {error}") from None
    expected = network.state_dict()
    if missing := expected.keys() - tensors.keys():
        raise WeightsError(f"{path} lacks {_few(missing)}, which {card['network']} has. {WHAT_NEXT}")
    if unknown := tensors.keys() - expected.keys():
        raise WeightsError(f"{path} holds {_few(unknown)}, which {card['network']} has not. {WHAT_NEXT}")
    for key, tensor in tensors.items():
        found, wanted = (f"{list(t.shape)} {t.dtype}" for t in (tensor, expected[key]))
        if found != wanted:
            raise WeightsError(f"{path}: {key} is {found}, expected {wanted}. {WHAT_NEXT}")
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {key} holds values that are not finite. {WHAT_NEXT}")
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def locate(source: str | Path) -> Path:
    """The weights file of a run folder, or the file itself. Raises WeightsError when there is none."""
    path = Path(source)
    if path.is_dir():
        path = path / "weights.safetensors"
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}. Expected a run folder that has finished, or its file.")
    return path


def _read(source: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The card and the tensors of a file, held against its SHA-256 and the fields that every card has."""
    path = locate(source)
    try:
        content = path.read_bytes()  # once: what is checked is what is used, whatever becomes of the file
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        card = json.loads(header["__metadata__"]["refzoo"])
    except KeyError:
        raise WeightsError(f"{path} has no card: it is not a file of this project. {WHAT_NEXT}") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}). {WHAT_NEXT}") from None
    if not isinstance(card, dict):
        raise WeightsError(f"{path} has a damaged card. {WHAT_NEXT}")
    if (stated := card.pop("sha256", None)) != (digest := _digest(card, tensors)):
        raise WeightsError(f"{path} is damaged: its SHA-256 is {digest}, its card says {stated}. {WHAT_NEXT}")
    if card.get("network") not in names():
        raise WeightsError(f"{path} holds a network {card.get('network')!r}, which is none of {', '.join(names())}.")
    if not isinstance(card.get("arguments"), dict) or not all(map(_is_modest, card["arguments"].values())):
        raise WeightsError(f"{path} has a card with impossible arguments: {card.get('arguments')}. {WHAT_NEXT}")
    return card, tensors


def _is_modest(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= 64 and all(map(_is_modest, value))
    return (
        value is None or isinstance(value, str) or (isinstance(value, int | float) and abs(value) <= LARGEST_ARGUMENT)
    )


def _digest(card: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for key in sorted(tensors):
        tensor = tensors[key]
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _few(keys: Any) -> str:
    first, *rest = sorted(keys)
    return f"{first} and {len(rest)} more" if rest else first


WHAT_NEXT = "Train it again, or take the file from where it came."
