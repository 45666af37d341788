"""Test what all networks have in common, each one built from its YAML in configs/model/."""

import ast
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from omegaconf import OmegaConf
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional as F

import models

OWN = ROOT / "configs" / "model" / "own.yaml"  # for networks of the user's own
CONFIGURATIONS = sorted(path for path in OWN.parent.glob("*.yaml") if path != OWN)
every_configuration = pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda path: path.stem)
every_network = pytest.mark.parametrize("name", models.names())


def build(configuration: Path) -> nn.Module:
    """Build a network as training does, for 28 x 28 images and 10 classes."""
    torch.manual_seed(0)
    composed = OmegaConf.create({"image_size": 28, "data": {"num_classes": 10, "channels": 1}})
    composed["model"] = OmegaConf.load(configuration)
    arguments: Any = OmegaConf.to_container(composed, resolve=True)
    assert arguments["model"].pop("_target_") == "models.create"
    return models.create(**arguments["model"])


def batch(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 1, 28, 28, generator=generator), torch.randint(10, (size,), generator=generator)


@every_configuration
def test_configuration_lists_every_argument_with_its_default(configuration: Path) -> None:
    values: Any = OmegaConf.to_container(OmegaConf.load(configuration))
    assert values.pop("_target_") == "models.create"
    expected = models.defaults(values.pop("name")) | {
        "image_size": "${image_size}",
        "in_channels": "${data.channels}",
        "num_classes": "${data.num_classes}",
    }
    assert list(values) == list(expected)
    assert values == {key: list(value) if isinstance(value, tuple) else value for key, value in expected.items()}


def test_every_network_has_a_configuration() -> None:
    assert sorted(models.names()) == [path.stem for path in CONFIGURATIONS]


@every_configuration
def test_batch_of_one_gives_logits_and_every_gradient(configuration: Path) -> None:
    network = build(configuration)
    images, labels = batch(1)
    outputs = network(images)
    assert outputs.shape == (1, 10)
    F.cross_entropy(outputs, labels).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    outputs = network.eval()(images)
    assert outputs.shape == (1, 10)
    assert outputs.isfinite().all()


@every_configuration
def test_training_on_one_batch_reduces_the_loss(configuration: Path) -> None:
    network = build(configuration)
    images, labels = batch(4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    losses = []
    for _ in range(5):
        torch.manual_seed(0)  # dropout drops the same units in every step
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@every_configuration
def test_evaluation_is_deterministic_and_independent_of_the_batch(configuration: Path) -> None:
    network = build(configuration).eval()
    images, _ = batch(3)
    with torch.no_grad():
        outputs = network(images)
        assert torch.equal(network(images), outputs)
        torch.testing.assert_close(network(images[1:2]), outputs[1:2], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(outputs[0], outputs[1])


@every_configuration
def test_weights_are_assigned_to_a_network_on_the_meta_device(configuration: Path) -> None:
    network = build(configuration).eval()
    with torch.device("meta"):
        twin = build(configuration).eval()
    twin.load_state_dict(network.state_dict(), assign=True)
    images, _ = batch(2)
    with torch.no_grad():
        assert torch.equal(twin(images), network(images))


@pytest.mark.slow
@every_configuration
def test_network_compiles_to_one_graph(configuration: Path) -> None:
    network = build(configuration).eval()
    images, _ = batch(2)
    one_graph = not any(
        isinstance(module, torch.nn.RNNBase) for module in network.modules()
    )  # dynamo does not trace these
    compiled = torch.compile(network, backend="eager", fullgraph=one_graph)
    with torch.no_grad():
        assert torch.equal(compiled(images), network(images))


@every_configuration
def test_images_of_another_shape_are_refused(configuration: Path) -> None:
    with torch.device("meta"):
        network = build(configuration)
        for shape, message in [
            ((2, 1, 32, 32), "reads 28 x 28 images, got 32 x 32$"),
            ((2, 3, 28, 28), "reads images of 1 channels, got 3$"),
            ((28, 28), r"reads images \(N, 1, 28, 28\), got \(28, 28\)$"),
        ]:
            with pytest.raises(ValueError, match=message):
                network(torch.empty(shape))


@every_network
def test_unknown_argument_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} has no argument 'imagesize', did you mean 'image_size'\? Valid: "):
        models.create(name, imagesize=28)


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^there is no network 'resnet', did you mean 'resnet18'\? Valid: softmax_"):
        models.create("resnet")


@every_network
def test_constructor_has_defaults_and_types_for_all_arguments(name: str) -> None:
    stated = models.defaults(name)
    assert list(stated)[:3] == ["image_size", "in_channels", "num_classes"]
    assert (stated["in_channels"], stated["num_classes"]) == (1, 10)
    types = typing.get_type_hints(models.network_class(name).__init__)
    for argument, default in stated.items():
        assert TypeAdapter(types[argument]).validate_python(default, strict=True) == default


def test_importing_models_imports_no_torch() -> None:
    script = "import sys, models, models.cards, models.checks; models.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60).returncode == 0


def test_models_import_nothing_of_other_packages() -> None:
    for path in (ROOT / "models").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            packages = {module.partition(".")[0] for module in imported}
            assert not packages & {"data", "launch", "training", "hydra", "lightning", "torchvision"}, path.name
