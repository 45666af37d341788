"""Build the networks through `torch.hub`, untrained or trained:

    torch.hub.load("<this folder>", "resnet18", source="local", image_size=28)
    torch.hub.load("<this folder>", "lenet", source="local", weights="fashion_mnist")

`torch.hub` runs this file inside the caller's program, which may have a package `models` of its own. Ours is therefore
imported as `refzoo_models`, which does not mix with the caller's. A network that was pickled whole needs this name, and
can be read only after this file was run; a `state_dict` does not need it.
"""

import importlib
import importlib.util
import inspect
import pathlib
import sys
import types
import typing

# torch.hub lists every callable of this file whose name has no underscore: import modules only, no functions.
dependencies = ["torch", "safetensors"]


def _import_models(path: pathlib.Path) -> types.ModuleType:
    """Import the package at `path`, once for all calls of torch.hub on the same folder."""
    name = "refzoo_models"
    if name in sys.modules and sys.modules[name].__file__ == str(path):
        return sys.modules[name]
    for other in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[other]  # it is another version
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    sys.modules[name] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


_models = _import_models(pathlib.Path(__file__).resolve().parent / "models" / "__init__.py")
_cards = importlib.import_module(f"{_models.__name__}.cards")


def _entry_point(name: str) -> typing.Callable:
    def load(*, weights: str | pathlib.Path | None = None, **arguments: typing.Any) -> typing.Any:
        return _models.create(name, **arguments) if weights is None else _load_trained(name, weights, arguments)

    network = _models.network_class(name)
    arguments = ", ".join(map(str, inspect.signature(network).parameters.values()))
    load.__name__ = load.__qualname__ = name
    load.__doc__ = f"""{inspect.getdoc(sys.modules[network.__module__])}

{network.__name__}: {inspect.getdoc(network)}

Arguments, all by keyword: {arguments}.

Without `weights`, returns an untrained network in training mode. With `weights`, returns a trained one in evaluation
mode, with the arguments of its training. `weights` is "mnist" or "fashion_mnist", for the published {name}-mnist or
{name}-fashion_mnist; the whole name of other published weights of this network; a weights file; or a run folder."""
    return load


def _load_trained(name: str, weights: str | pathlib.Path, arguments: dict[str, typing.Any]) -> typing.Any:
    """Load trained weights. Raises WeightsError if this network has no such weights, ValueError if arguments differ."""
    published = _cards.published()
    if f"{name}-{weights}" in published:
        weights = f"{name}-{weights}"
    elif weights not in published and not _exists(weights):
        valid = [each.removeprefix(f"{name}-") for each in published if each.startswith(name)]
        which = _models.did_you_mean(str(weights), valid) if valid else "."
        raise _models.WeightsError(
            f"there are no published weights {str(weights)!r} of {name}, and no file or run folder{which}"
        )
    file = _cards.read(weights)
    if (found := file.card["network"]) != name:
        raise _models.WeightsError(f"{weights} has the weights of {found}, not of {name}. Load {found!r}.")
    stated = file.card["arguments"]
    for argument, value in arguments.items():
        if argument not in stated:
            raise ValueError(f"{name} has no argument {argument!r}{_models.did_you_mean(argument, stated)}")
        if stated[argument] != (list(value) if isinstance(value, tuple) else value):
            raise ValueError(f"{weights} has {argument}={stated[argument]!r}, got {value!r}. Leave it out.")
    return importlib.import_module(f"{_models.__name__}.weights").load_network(file)


def _exists(weights: str | pathlib.Path) -> bool:
    try:
        return pathlib.Path(weights).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, an unknown ~user, a null byte
        return False


globals().update({_name: _entry_point(_name) for _name in _models.names()})
