"""Convert a network to the bytes of a weights file, and back. Reading imports and runs nothing that a file names."""

import json
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from . import WeightsError, cards, create, defaults, network_class

STORAGE = ("float32", "float16", "int8")  # of the tensors with two or more dimensions
MAY_DIFFER = ("num_classes", "image_size", "dropout", "init")  # between a network and its initial weights
SCALE = ".scale"  # the suffix of an int8 tensor's scales: one float32 per output channel
LARGEST_INT8 = 127


def serialize(
    network: nn.Module, name: str, arguments: dict[str, Any], card: dict[str, Any], storage: str = "float32"
) -> bytes:
    """Return the content of the weights file of a network that `create(name, **arguments)` built.

    Or of a user's own network, whose `name` is the dotted path of its class. The same network gives the same bytes.
    `card` holds the remaining fields of the card, as plain JSON. `storage` is the type of tensors with two or more
    dimensions; int8 rounds to 1/127 of the largest weight of each output channel.
    """
    tensors = store(network, storage)
    card = {"network": name, "arguments": defaults(type(network)) | arguments, **card, "storage": storage}
    sealed = cards.seal(card, save(tensors))
    return save(tensors, metadata={cards.KEY: json.dumps(sealed, sort_keys=True)})


def load_network(file: cards.WeightsFile, own: type[nn.Module] | None = None) -> nn.Module:
    """Build a weights file's network, in evaluation mode: of the class `own`, or else of the zoo.

    Raises WeightsError unless keys, shapes and values fit.
    """
    path, card, content = file
    try:
        stored = load(content)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}). {cards.WHAT_NEXT}") from None
    if own is None and "." in card["network"]:
        how = f"models.load(source, network={card['network'].rpartition('.')[2]})"
        raise WeightsError(f"{path} holds {card['network']}, a network of your own: load it by {how}.")
    try:
        network = _build(card["network"], card["arguments"], own)
    except (ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} describes a network that cannot be built: {error}") from None
    expected = network.state_dict()
    scales = {key + SCALE for key, tensor in stored.items() if tensor.dtype == torch.int8 and key in expected}
    if missing := (expected.keys() | scales) - stored.keys():
        raise WeightsError(f"{path} lacks {_few(missing)}, which {card['network']} has. {cards.WHAT_NEXT}")
    if unknown := stored.keys() - (expected.keys() | scales):
        raise WeightsError(f"{path} holds {_few(unknown)}, which {card['network']} does not have. {cards.WHAT_NEXT}")
    for key, wanted in expected.items():
        fits = stored[key].shape == wanted.shape and (
            stored[key].dtype == wanted.dtype
            or (wanted.dtype == torch.float32 and wanted.dim() > 1 and stored[key].dtype in (torch.float16, torch.int8))
        )
        if not fits:
            found, meant = (f"{list(tensor.shape)} {tensor.dtype}" for tensor in (stored[key], wanted))
            raise WeightsError(f"{path}: {key} is {found}, expected {meant}. {cards.WHAT_NEXT}")
        scale = stored[key + SCALE] if key + SCALE in scales else None
        if scale is not None and (scale.dtype, scale.shape) != (torch.float32, wanted.shape[:1]):
            raise WeightsError(f"{path}: {key + SCALE} is not one float32 per output channel. {cards.WHAT_NEXT}")
    tensors = restore(stored)
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {key} holds values that are not finite. {cards.WHAT_NEXT}")
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def initialize_from(network: nn.Module, arguments: dict[str, Any], file: cards.WeightsFile) -> None:
    """Copy the weights of a file into the `network` that `create` built of `arguments`.

    Where the numbers of classes differ, the tensors that depend on this number keep their values. Raises WeightsError
    if the file holds another network or other arguments.
    """
    stored, wanted, card = load_network(file).state_dict(), network.state_dict(), file.card
    if not isinstance(network, network_class(card["network"])):
        raise WeightsError(f"{file.path} holds another network ({card['network']}). Leave model and recipe out.")
    for key, theirs in card["arguments"].items():
        ours = (defaults(card["network"]) | arguments)[key]
        ours = list(ours) if isinstance(ours, tuple) else ours
        if key not in MAY_DIFFER and ours != theirs:
            it = f"{file.path} holds a {card['network']} with {key}={theirs}"
            raise WeightsError(f"{it}, this run has {ours}. Leave model and recipe out.")
    with torch.device("meta"):
        more_classes = {**card["arguments"], "num_classes": card["arguments"]["num_classes"] + 1}
        widened = create(card["network"], **more_classes).state_dict()
    head = {key for key, tensor in stored.items() if tensor.shape != widened[key].shape}
    if differing := stored.keys() ^ wanted.keys():
        it = f"{file.path} holds another network ({card['network']})"
        raise WeightsError(f"{it}: {_few(differing)} is only in one of the two.")
    for key, tensor in stored.items():
        if tensor.shape == wanted[key].shape:
            wanted[key].copy_(tensor)
        elif key not in head:
            shapes = f"{list(tensor.shape)} there, {list(wanted[key].shape)} here"
            raise WeightsError(f"{file.path} holds another network ({card['network']}): {key} is {shapes}.")


def store(network: nn.Module, storage: str) -> dict[str, Tensor]:
    """Convert a network's tensors to `storage`; those with one dimension or none, biases and norms, stay float32."""
    stored: dict[str, Tensor] = {}
    for key, tensor in network.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.dim() < 2 or storage == "float32":
            stored[key] = tensor
        elif storage == "float16":
            stored[key] = tensor.half()
        else:
            scale = tensor.flatten(1).abs().amax(dim=1) / LARGEST_INT8
            steps = tensor / _along(scale.clamp(min=torch.finfo(torch.float32).tiny), tensor)
            stored[key], stored[key + SCALE] = steps.round().to(torch.int8), scale
    return stored


def restore(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the tensors of `store` back to float32."""
    restored: dict[str, Tensor] = {}
    for key, tensor in stored.items():
        if tensor.dtype == torch.int8:
            restored[key] = tensor.float() * _along(stored[key + SCALE], tensor)
        elif key.removesuffix(SCALE) == key or key.removesuffix(SCALE) not in stored:  # not a scale
            restored[key] = tensor.float() if tensor.dtype == torch.float16 else tensor
    return restored


def _build(name: str, arguments: dict[str, Any], own: type[nn.Module] | None) -> nn.Module:
    """Build a network without drawing from the random numbers of the program: on the meta device, without memory.

    A class of the user's is built on the CPU, because its constructor may compute with the values of tensors.
    """
    if own is None:
        with torch.device("meta"):
            return create(name, **arguments)
    with torch.random.fork_rng(devices=[]):
        return own(**arguments)


def _along(scale: Tensor, tensor: Tensor) -> Tensor:
    """Reshape (output channels,) to (output channels, 1, ...), to multiply it with `tensor`."""
    return scale.reshape(-1, *[1] * (tensor.dim() - 1))


def _few(keys: Any) -> str:
    first, *rest = sorted(keys)
    return f"{first} and {len(rest)} more" if rest else first
