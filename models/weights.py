"""From a network to the bytes of its weights file, and back. Reading imports and runs nothing that a file names."""

import json
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from . import NETWORKS, WeightsError, cards, create, signature

STORAGE = ("float32", "float16", "int8")
MAY_DIFFER = ("num_classes", "image_size", "dropout", "init")  # between a network and the weights it begins with
SCALE = ".scale"  # of the int8 matrix whose name stands before it: a float32 for each output channel
LARGEST_INT8 = 127


def serialize(
    network: nn.Module, name: str, arguments: dict[str, Any], card: dict[str, Any], storage: str = "float32"
) -> bytes:
    """The file of a network that `create(name, **arguments)` made: the same network gives the same bytes.

    `card` adds to the file whatever else should be known of the network, as plain JSON. `storage` is how tensors of two
    and more dimensions are kept: int8 is rounded to 127ths of the largest weight of each output channel.
    """
    tensors = store(network, storage)
    complete = {key: arguments.get(key, argument.default) for key, argument in signature(name).items()}
    card = {"network": name, "arguments": complete, **card, "storage": storage}
    sealed = cards.seal(card, save(tensors))
    return save(tensors, metadata={cards.KEY: json.dumps(sealed, sort_keys=True)})


def load_network(file: cards.WeightsFile) -> nn.Module:
    path, card, content = file
    try:
        stored = load(content)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}). {cards.WHAT_NEXT}") from None
    try:
        if card["arguments"].get("num_layers", 1) > len(stored):  # to build them all would take a while, for nothing
            raise WeightsError(f"{path} describes more layers than it holds tensors. {cards.WHAT_NEXT}")
        with torch.device("meta"):  # nothing is allocated before the file's own shapes are known to fit
            network = create(card["network"], **card["arguments"])
    except (ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} describes a network that cannot be built: {error}") from None
    expected = network.state_dict()
    scales = {key + SCALE for key, tensor in stored.items() if tensor.dtype == torch.int8 and key in expected}
    if missing := (expected.keys() | scales) - stored.keys():
        raise WeightsError(f"{path} lacks {_few(missing)}, which {card['network']} has. {cards.WHAT_NEXT}")
    if unknown := stored.keys() - (expected.keys() | scales):
        raise WeightsError(f"{path} holds {_few(unknown)}, which {card['network']} has not. {cards.WHAT_NEXT}")
    for key, wanted in expected.items():
        fits = stored[key].shape == wanted.shape and (
            stored[key].dtype == wanted.dtype
            or (wanted.dtype == torch.float32 and wanted.dim() > 1 and stored[key].dtype in (torch.float16, torch.int8))
        )
        if not fits:
            found, meant = (f"{list(tensor.shape)} {tensor.dtype}" for tensor in (stored[key], wanted))
            raise WeightsError(f"{path}: {key} is {found}, expected {meant}. {cards.WHAT_NEXT}")
        if key + SCALE in scales and not _fits_as_scale(stored[key + SCALE], wanted):
            raise WeightsError(f"{path}: {key + SCALE} is not one float32 an output channel. {cards.WHAT_NEXT}")
    tensors = restore(stored)
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {key} holds values that are not finite. {cards.WHAT_NEXT}")
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def initialize_from(network: nn.Module, arguments: dict[str, Any], file: cards.WeightsFile) -> None:
    """Give the `network` of these arguments the weights of a file. Where it has another number of classes than they,
    what depends on that number stays as it is. Raises WeightsError where they are of another function.
    """
    stored, wanted, card = load_network(file).state_dict(), network.state_dict(), file.card
    if type(network).__name__ != NETWORKS[card["network"]].partition(".")[2]:
        raise WeightsError(f"{file.path} holds another network ({card['network']}). Leave model and recipe out.")
    for key, theirs in card["arguments"].items():
        ours = arguments.get(key, signature(card["network"])[key].default)
        if key not in MAY_DIFFER and (list(ours) if isinstance(ours, tuple) else ours) != theirs:
            it = f"{file.path} holds a {card['network']} with {key}={theirs}"
            raise WeightsError(f"{it}, this run has {ours}. Leave model and recipe out.")
    with torch.device("meta"):
        more_classes = {**card["arguments"], "num_classes": card["arguments"]["num_classes"] + 1}
        widened = create(card["network"], **more_classes).state_dict()
    head = {key for key, tensor in stored.items() if tensor.shape != widened[key].shape}
    if differing := stored.keys() ^ wanted.keys():
        raise WeightsError(f"{file.path} holds another network ({card['network']}): {_few(differing)} is not in both.")
    for key, tensor in stored.items():
        if tensor.shape == wanted[key].shape:
            wanted[key].copy_(tensor)
        elif key not in head:
            shapes = f"{list(tensor.shape)} there, {list(wanted[key].shape)} here"
            raise WeightsError(f"{file.path} holds another network ({card['network']}): {key} is {shapes}.")


def store(network: nn.Module, storage: str) -> dict[str, Tensor]:
    """A network's tensors as a file keeps them."""
    stored: dict[str, Tensor] = {}
    for key, tensor in network.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.dim() < 2 or storage == "float32":  # biases and norms stay as they are
            stored[key] = tensor
        elif storage == "float16":
            stored[key] = tensor.half()
        else:
            scale = tensor.flatten(1).abs().amax(dim=1) / LARGEST_INT8
            steps = tensor / _along(scale.clamp(min=torch.finfo(torch.float32).tiny), tensor)
            stored[key], stored[key + SCALE] = steps.round().to(torch.int8), scale
    return stored


def restore(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `store` was given, as nearly as their storage allows."""
    return {
        key: tensor.float() * _along(stored[key + SCALE], tensor)
        if tensor.dtype == torch.int8
        else tensor.float()
        if tensor.dtype == torch.float16
        else tensor
        for key, tensor in stored.items()
        if not (key.endswith(SCALE) and key.removesuffix(SCALE) in stored)
    }


def _along(scale: Tensor, tensor: Tensor) -> Tensor:
    """One number an output channel, shaped to be multiplied with the channel's weights."""
    return scale.reshape(-1, *[1] * (tensor.dim() - 1))


def _fits_as_scale(scale: Tensor, matrix: Tensor) -> bool:
    return scale.dtype == torch.float32 and scale.shape == matrix.shape[:1]


def _few(keys: Any) -> str:
    first, *rest = sorted(keys)
    return f"{first} and {len(rest)} more" if rest else first
