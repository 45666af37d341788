"""Test torch.hub: it builds every network, untrained and trained, and leaves a program's own packages alone."""

import ast
import inspect
import json
import re
import runpy
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import CARD, ROOT

import models
from models.weights import serialize

METRICS = {"loss": 1.0, "accuracy": 0.5, "images": 9}
PUBLISHED = CARD | {"metrics": {"test": METRICS, "quick": METRICS}, "parameters": 1}
every_network = pytest.mark.parametrize("name", models.names())


def load(name: str, root: Path = ROOT, **arguments: Any) -> Any:
    return torch.hub.load(str(root), name, source="local", **arguments)


@pytest.fixture(autouse=True)
def downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the download of torch.hub.list and torch.hub.help, which read no local folder, by this folder."""
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *_, **__: str(ROOT))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Publish softmax_regression-mnist, lenet-mnist and lenet_relu-mnist in a temporary folder."""
    load("lenet")
    cards: Any = sys.modules["refzoo_models.cards"]
    for name, network, arguments in [
        ("softmax_regression-mnist", "softmax_regression", {}),
        ("lenet-mnist", "lenet", {}),
        ("lenet_relu-mnist", "lenet", {"activation": "relu"}),
    ]:
        path = tmp_path / f"{name}.safetensors"
        card = PUBLISHED | {"name": name}
        path.write_bytes(content := serialize(models.create(network, **arguments), network, arguments, card))
        path.with_suffix(".json").write_text(json.dumps(cards.beside_file(cards.parse(path, content))))
    monkeypatch.setattr(cards, "PUBLISHED", tmp_path)
    return tmp_path


def test_list_names_only_the_networks() -> None:
    assert torch.hub.list("") == sorted(models.names())
    module = runpy.run_path(str(ROOT / "hubconf.py"))
    assert [module[name].__name__ for name in models.names()] == models.names()


@every_network
def test_help_shows_source_arguments_and_weights(name: str) -> None:
    text = torch.hub.help("", name) or ""
    network = models.network_class(name)
    assert text.startswith(inspect.getdoc(sys.modules[network.__module__]) or "none")
    assert f"\n{network.__name__}: Map images (N, in_channels, " in text
    for argument, default in models.defaults(name).items():
        assert re.search(rf"\b{argument}: [^=]+ = {re.escape(repr(default))}[,.]", text)
    assert f"{name}-fashion_mnist" in text


@every_network
def test_untrained_network_equals_models_create(name: str) -> None:
    torch.manual_seed(0)
    network = load(name, image_size=28, num_classes=7)
    torch.manual_seed(0)
    expected = models.create(name, image_size=28, num_classes=7).state_dict()
    assert network.training
    assert network.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("weights", "name"),
    [("mnist", "lenet-mnist"), ("lenet-mnist", "lenet-mnist"), ("lenet_relu-mnist", "lenet_relu-mnist")],
)
def test_trained_network_equals_models_load(weights: str, name: str, published: Path) -> None:
    images, expected = torch.randn(2, 1, 28, 28), models.load(published / f"{name}.safetensors")
    for network in (load("lenet", weights=weights), load("lenet", weights=published / f"{name}.safetensors")):
        assert not network.training
        assert torch.equal(network(images), expected(images))
    assert not hasattr(load("softmax_regression", weights="mnist"), "c1")


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"weights": "mnits"}, "WeightsError", "no published weights 'mnits' of lenet, .* did you mean 'mnist'"),
        ({"weights": "lenet_rulu-mnist"}, "WeightsError", r"'lenet_relu-mnist'\? Valid: mnist, lenet_relu-mnist$"),
        (
            {"weights": "softmax_regression-mnist"},
            "WeightsError",
            "has the weights of softmax_regression, not of lenet",
        ),
        ({"weights": "m" * 5000}, "WeightsError", "there are no published weights 'mmm"),
        ({"weights": "~nobody_is_called_so/x"}, "WeightsError", "there are no published weights '~nobody"),
        ({"weights": "mnist", "image_size": 32}, "ValueError", "lenet-mnist has image_size=28, got 32. Leave it out."),
        (
            {"weights": "mnist", "imagesize": 28},
            "ValueError",
            "lenet has no argument 'imagesize', did you mean 'image_s",
        ),
        ({"imagesize": 28}, "ValueError", "lenet has no argument 'imagesize', did you mean 'image_size'"),
    ],
)
def test_wrong_request_raises_an_error_with_valid_names(arguments: dict[str, Any], error: str, says: str) -> None:
    with pytest.raises(Exception, match=says) as raised:
        load("lenet", **arguments)
    assert raised.type.__name__ == error


def test_arguments_equal_to_those_of_the_weights_are_accepted(published: Path) -> None:
    arguments = {"image_size": 28, "layers_per_block": (1, 1, 1, 1)}
    content = serialize(models.create("densenet", **arguments), "densenet", arguments, PUBLISHED)
    (published / "mine").write_bytes(content)
    with pytest.raises(Exception, match="is not a card"):  # a file in the folder of published weights needs one
        load("densenet", weights=published / "mine")
    file = published / "run" / "weights.safetensors"
    file.parent.mkdir()
    file.write_bytes(content)
    load("densenet", weights=file.parent, **arguments)


def test_program_keeps_its_own_package_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [module for module in sys.modules if module.partition(".")[0] == "refzoo_models"]:
        monkeypatch.delitem(sys.modules, name)
    own = ModuleType("models")
    monkeypatch.setitem(sys.modules, "models", own)
    paths = list(sys.path)
    first, second = load("lenet"), load("lenet")
    assert type(first) is type(second)
    assert type(first).__module__ == "refzoo_models.lenet"
    assert sys.modules["models"] is own
    assert sys.path == paths


def test_another_version_is_not_mixed_with_this_one(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    shutil.copy(ROOT / "hubconf.py", tmp_path)
    for root in (ROOT, tmp_path, ROOT):
        assert Path(sys.modules[type(load("lenet", root)).__module__].__file__ or "").parents[1] == root


def test_dependencies_are_what_models_imports() -> None:
    imported = set()
    for path in (ROOT / "models").glob("[!_]*.py"):  # __main__ is a program
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
    (stated,) = (
        ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "hubconf.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "dependencies"
    )
    assert set(stated) == imported - sys.stdlib_module_names
