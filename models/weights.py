"""Convert a network to the bytes of a weights file, and back. Reading imports and runs nothing that a file names."""

import json
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from . import WeightsError, cards, create, defaults, network_class

STORAGE = ("float32", "float16", "int8")  # of the tensors with two or more dimensions
MAY_DIFFER = ("image_size", "in_channels", "num_classes", "dropout", "init")  # between weights and the network
SCALE = ".scale"  # the suffix of an int8 tensor's scales: one float32 per output channel
LARGEST_INT8 = 127


class Transfer(NamedTuple):
    """What `initialize_from` did not copy unchanged, by stage: by direct child of the network."""

    fresh: list[str]  # those with initial values, because they depend on the number of classes
    adapted: list[str]  # those that read the images, for another number of channels
    classes: tuple[int, int]  # in the file, in the network
    channels: tuple[int, int]

    def __str__(self) -> str:
        parts = []
        if self.fresh:
            there, here = self.classes
            parts.append(f"left fresh: {', '.join(self.fresh)} ({here} in place of {there} classes)")
        if self.adapted:
            there, here = self.channels
            parts.append(f"adapted: {', '.join(self.adapted)} ({here} in place of {there} channels)")
        return "; ".join(parts) or "all tensors copied"


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


def initialize_from(network: nn.Module, arguments: dict[str, Any], file: cards.WeightsFile) -> Transfer:
    """Copy the weights of a file into a `network` that was built of `arguments`; return what was not copied unchanged.

    For another number of classes, the tensors that depend on it keep their values. For another number of channels, the
    weights that read the images are adapted, see `fit_channels`. Raises WeightsError if the file holds another network
    or other arguments, if the channels cannot be adapted, or if a tensor depends on the image size, which differs.
    """
    card, ours = file.card, defaults(type(network)) | arguments
    name, theirs = card["network"], card["arguments"]
    own = type(network) if "." in name else None
    if not (name.endswith(f".{own.__name__}") if own else isinstance(network, network_class(name))):
        raise WeightsError(f"{file.path} holds another network ({name}). Leave model and recipe out.")
    stored, wanted = load_network(file, own).state_dict(), network.state_dict()
    for key, there in theirs.items():
        here = list(ours[key]) if isinstance(ours[key], tuple) else ours[key]
        if key not in MAY_DIFFER and here != there:
            it = f"{file.path} holds a {name} with {key}={there}"
            raise WeightsError(f"{it}, this run has {here}. Leave model and recipe out.")

    def shapes(argument: str) -> dict[str, torch.Size]:
        """Return the shapes of the tensors of a network like the file's, but with our value of one argument."""
        state = _build(name, theirs | {argument: ours[argument]}, own).state_dict()
        return {key: tensor.shape for key, tensor in state.items()}

    for_classes, for_channels = shapes("num_classes"), shapes("in_channels")
    channels, size = (theirs["in_channels"], ours["in_channels"]), theirs["image_size"]
    fresh = [key for key, tensor in stored.items() if tensor.shape != for_classes.get(key)]
    values = {key: tensor for key, tensor in stored.items() if key not in fresh}
    adapted = [key for key, tensor in values.items() if tensor.shape != for_channels.get(key)]
    for key in adapted:
        value = fit_channels(values[key], *channels, for_channels.get(key))
        if value is None:
            it = f"{file.path} holds a {name} for images of {channels[0]} channels, this run has {channels[1]}"
            raise WeightsError(
                f"{it}, to which {key} cannot be adapted. A first layer is adapted from or to 1 channel."
            )
        values[key] = value
    other_shape = (key for key, value in values.items() if key in wanted and value.shape != wanted[key].shape)
    if differing := {*other_shape, *stored.keys() ^ wanted.keys()}:
        it = f"{file.path} holds a {name} for image_size={size}, and {_few(differing)} depends on it"
        raise WeightsError(f"{it}. Keep image_size={size}.")
    for key, value in values.items():
        wanted[key].copy_(value)
    return Transfer(_stages(fresh), _stages(adapted), (theirs["num_classes"], ours["num_classes"]), channels)


def fit_channels(weight: Tensor, there: int, here: int, shape: torch.Size | None) -> Tensor | None:
    """Adapt the weights of a layer that reads images to another number of channels, which gives them this `shape`.

    A channel's weights are repeated and divided by the number of channels, those of several are summed into one: for
    grey images, the outputs stay the same. Returns None if neither applies. The channels must be the outermost part of
    the second dimension, as in convolutions (N, C, kernel, kernel), behind a flatten (N, C * H * W) and in recurrent
    layers (N, C * W).
    """
    if shape is None or weight.dim() < 2 or 1 not in (there, here):
        return None
    if shape != (len(weight), weight.shape[1] * here // there, *weight.shape[2:]):
        return None
    by_channel = weight.reshape(len(weight), there, -1)
    return (by_channel.sum(dim=1, keepdim=True) / here).expand(-1, here, -1).reshape(shape)


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


def _stages(keys: list[str]) -> list[str]:
    """Return the stages of tensors: c1 of c1.0.weight and c1.0.bias."""
    return list(dict.fromkeys(key.partition(".")[0] for key in keys))


def _few(keys: Any) -> str:
    first, *rest = sorted(keys)
    return f"{first} and {len(rest)} more" if rest else first
