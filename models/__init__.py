"""The zoo: `create` builds a network by its name, `names` lists them, `load` reads trained weights back.

Importing this package does not import torch; a network's file is imported when the network is first asked for.
"""

from __future__ import annotations

import ast
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .arguments import check_counts

if TYPE_CHECKING:
    from torch import nn

NETWORKS = {  # name: the file and the class in it
    "softmax_regression": "softmax_regression.SoftmaxRegression",
    "mlp": "mlp.MLP",
    "lenet": "lenet.LeNet",
    "alexnet": "alexnet.AlexNet",
    "vgg11": "vgg.VGG11",
    "nin": "nin.NiN",
    "googlenet": "googlenet.GoogLeNet",
    "resnet18": "resnet.ResNet18",
    "densenet": "densenet.DenseNet",
    "rnn": "rnn.RNN",
    "gru": "gru.GRU",
    "lstm": "lstm.LSTM",
}


class WeightsError(Exception):
    """A weights file that is missing, damaged, or not of this project."""


def names() -> list[str]:
    return list(NETWORKS)


def create(name: str, **arguments: Any) -> nn.Module:
    """A freshly initialised network: standardised images (N, in_channels, H, W) -> logits (N, num_classes).

    `arguments` are those of the network's class, which default to the size its paper or the course gave it.
    Raises ValueError for an unknown name, an unknown argument and a value that the network refuses; what a value of
    the wrong type does is left to torch.
    """
    valid = signature(name)
    for argument in arguments:
        if argument not in valid:
            raise ValueError(f"{name} has no argument {argument!r}{did_you_mean(argument, valid)}")
    check_counts(name, **{count: arguments.get(count, 1) for count in ("in_channels", "num_classes")})
    file, network = NETWORKS[name].split(".")
    return getattr(import_module(f"{__name__}.{file}"), network)(**arguments)


def load(source: str | Path) -> nn.Module:
    """The trained network of a run folder, a weights file or a published name, on the CPU in evaluation mode.

    Raises WeightsError, saying which of them it was, unless size, hash, header, keys, shapes and values are in order.
    """
    from .cards import read
    from .weights import load_network

    return load_network(read(source))


def card(source: str | Path) -> dict[str, Any]:
    """What weights say of themselves: network, arguments, input, classes, metrics, training, versions. Needs no torch.

    Raises WeightsError as `load` does, but does not look at the tensors' keys, shapes and values.
    """
    from .cards import read

    return read(source).card


class Argument(NamedTuple):
    """One argument of a network's constructor, as its source states it."""

    annotation: str
    default: Any


def signature(name: str) -> dict[str, Argument]:
    """A network's arguments, read from its source: a wrong command is answered without waiting for torch."""
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}{did_you_mean(name, NETWORKS)}")
    file, network = NETWORKS[name].split(".")
    tree = ast.parse(Path(__file__).with_name(f"{file}.py").read_text(encoding="utf-8"))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == network)
    (init,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    return {
        argument.arg: Argument(ast.unparse(argument.annotation), ast.literal_eval(default))
        for argument, default in zip(init.args.args[1:], init.args.defaults, strict=True)
        if argument.annotation
    }


def did_you_mean(word: str, valid: Any) -> str:
    """The end of an error message: the nearest valid word, and all of them."""
    by_lower_case = {str(each).lower(): each for each in valid}
    nearest = get_close_matches(str(word).lower(), by_lower_case, n=1)
    suggestion = f", did you mean {by_lower_case[nearest[0]]!r}?" if nearest else "."
    return f"{suggestion} Valid: {', '.join(valid)}"
