"""The networks through `torch.hub`, fresh or trained:

    torch.hub.load("<this folder>", "resnet18", source="local", image_size=28)
    torch.hub.load("<this folder>", "resnet18", source="local", weights="fashion_mnist")

`torch.hub` runs this file inside the caller's program, which may have a package `models` of its own. Ours is therefore
imported as `refzoo_models`: it neither finds the caller's nor is found in its place, and `data` is not imported at all.
A network pickled whole has that name in it, and is read where this file was run before; a `state_dict` has none.
"""

import importlib
import importlib.util
import inspect
import pathlib
import sys
import types
import typing

# torch.hub lists whatever is callable here and has no underscore: nothing is imported from a module by its name.
dependencies = ["torch", "safetensors"]


def _import_models(path: pathlib.Path) -> types.ModuleType:
    """The package at `path`, the same one for every call of torch.hub, as long as it is the same folder's."""
    name = "refzoo_models"
    if name in sys.modules and sys.modules[name].__file__ == str(path):
        return sys.modules[name]
    for other in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[other]  # another version's
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

    file, network = _models.NETWORKS[name].split(".")
    module = importlib.import_module(f"{_models.__name__}.{file}")
    arguments = [f"{key}: {kind} = {default!r}" for key, (kind, default) in _models.signature(name).items()]
    load.__name__ = load.__qualname__ = name
    load.__doc__ = f"""{inspect.getdoc(module)}

{network}: {inspect.getdoc(getattr(module, network))}

Arguments, all by keyword: {", ".join(arguments)}.

Without `weights`, a fresh network in training mode. With `weights`, a trained one in evaluation mode, whose arguments
are those it was trained with: "mnist" or "fashion_mnist", for the published {name}-mnist or {name}-fashion_mnist; the
whole name of other published weights of this network; a weights file; a run folder."""
    return load


def _load_trained(name: str, weights: str | pathlib.Path, arguments: dict[str, typing.Any]) -> typing.Any:
    """Raises WeightsError if there are no such weights of this network, ValueError for arguments they contradict."""
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
