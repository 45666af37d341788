"""Build the networks of the zoo: `create` a new one by its name, `load` a trained one.

Importing this package imports no torch; `create`, `network_class` and `defaults` import the network's file.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .checks import check_counts
from .suggest import did_you_mean as did_you_mean

if TYPE_CHECKING:
    from torch import nn


class Network(NamedTuple):
    """A network's file in this package, and its class in that file."""

    module: str
    class_name: str


NETWORKS = {
    "softmax_regression": Network("softmax_regression", "SoftmaxRegression"),
    "mlp": Network("mlp", "MLP"),
    "lenet": Network("lenet", "LeNet"),
    "alexnet": Network("alexnet", "AlexNet"),
    "vgg11": Network("vgg", "VGG11"),
    "nin": Network("nin", "NiN"),
    "googlenet": Network("googlenet", "GoogLeNet"),
    "resnet18": Network("resnet", "ResNet18"),
    "densenet": Network("densenet", "DenseNet"),
    "rnn": Network("rnn", "RNN"),
    "gru": Network("gru", "GRU"),
    "lstm": Network("lstm", "LSTM"),
}


class WeightsError(Exception):
    """A weights file is missing, damaged, or not of this project."""


def names() -> list[str]:
    """List the networks' names."""
    return list(NETWORKS)


def network_class(name: str) -> type[nn.Module]:
    """Import a network's file and return its class. Raises ValueError for an unknown name."""
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}{did_you_mean(name, NETWORKS)}")
    module, class_name = NETWORKS[name]
    return getattr(import_module(f"{__name__}.{module}"), class_name)


def defaults(network: str | type[nn.Module]) -> dict[str, Any]:
    """Return the arguments that have a default in the constructor of a network, given its name or its class, in order.

    Those of the zoo's networks all have one. Raises ValueError for an unknown name.
    """
    parameters = inspect.signature(network_class(network) if isinstance(network, str) else network).parameters
    return {
        argument: parameter.default
        for argument, parameter in parameters.items()
        if parameter.default is not parameter.empty
    }


def create(name: str, **arguments: Any) -> nn.Module:
    """Build an untrained network, which maps standardised images (N, in_channels, H, W) to logits (N, num_classes).

    `arguments` are those of the network's class; the defaults are the sizes of its paper. `image_size` is one number or
    two, (H, W). Raises ValueError for an unknown name, an unknown argument and a wrong value; a value of the wrong type
    may raise any error of torch.
    """
    network, valid = network_class(name), defaults(name)
    for argument in arguments:
        if argument not in valid:
            raise ValueError(f"{name} has no argument {argument!r}{did_you_mean(argument, valid)}")
    check_counts(name, **{count: arguments.get(count, 1) for count in ("in_channels", "num_classes")})
    return network(**arguments)


def load(source: str | Path, network: type[nn.Module] | None = None) -> nn.Module:
    """Load the trained network of a run folder, a weights file or a published name: on the CPU, in evaluation mode.

    Weights of a network of your own need its class, `network`, which is called with the arguments of its training:
    nothing that a file names is imported. Raises WeightsError, which says what is wrong, unless size, hash, header,
    keys, shapes and values are correct.
    """
    from .cards import read
    from .weights import load_network

    return load_network(read(source), network)


def card(source: str | Path) -> dict[str, Any]:
    """Return the card of weights: network, arguments, input, classes, metrics, training, versions. Needs no torch.

    Raises WeightsError as `load` does, but does not check the tensors' keys, shapes and values.
    """
    from .cards import read

    return read(source).card
