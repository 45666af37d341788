"""The contract of every network that a configuration can name: built from its YAML, trained, evaluated, refused."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

import models

ROOT = Path(__file__).parents[1]
CONFIGURATIONS = sorted((ROOT / "configs" / "model").glob("*.yaml"))
every_configuration = pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda path: path.stem)
every_network = pytest.mark.parametrize("name", models.names())


def build(configuration: Path) -> nn.Module:
    """What training builds of the YAML, at 28 x 28 and with 10 classes."""
    torch.manual_seed(0)
    composed = OmegaConf.create({"image_size": 28, "data": {"num_classes": 10}})
    composed["model"] = OmegaConf.load(configuration)
    arguments: Any = OmegaConf.to_container(composed, resolve=True)
    assert arguments["model"].pop("_target_") == "models.create"
    return models.create(**arguments["model"])


def batch(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 1, 28, 28, generator=generator), torch.randint(10, (size,), generator=generator)


@every_configuration
def test_configuration_holds_no_number(configuration: Path) -> None:
    values: Any = OmegaConf.to_container(OmegaConf.load(configuration))
    assert values["name"] in models.names()
    assert all(isinstance(value, str) for value in values.values())
    assert {"image_size": "${image_size}", "num_classes": "${data.num_classes}"}.items() <= values.items()


def test_every_network_has_a_configuration() -> None:
    assert sorted(models.names()) == [path.stem for path in CONFIGURATIONS if path.stem in models.names()]


@every_configuration
def test_batch_of_one(configuration: Path) -> None:
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
def test_loss_falls_on_one_batch(configuration: Path) -> None:
    network = build(configuration)
    images, labels = batch(4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    losses = []
    for _ in range(5):
        torch.manual_seed(0)  # dropout leaves the same units
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@every_configuration
def test_evaluation_is_deterministic_and_each_image_counts_alone(configuration: Path) -> None:
    network = build(configuration).eval()
    images, _ = batch(3)
    with torch.no_grad():
        outputs = network(images)
        assert torch.equal(network(images), outputs)
        torch.testing.assert_close(network(images[1:2]), outputs[1:2], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(outputs[0], outputs[1])


@every_configuration
def test_weights_move_to_a_twin_without_memory(configuration: Path) -> None:
    network = build(configuration).eval()
    with torch.device("meta"):
        twin = build(configuration).eval()
    twin.load_state_dict(network.state_dict(), assign=True)
    images, _ = batch(2)
    with torch.no_grad():
        assert torch.equal(twin(images), network(images))


@every_configuration
def test_compiles_as_one_graph(configuration: Path) -> None:
    network = build(configuration).eval()
    images, _ = batch(2)
    one_graph = not any(isinstance(module, torch.nn.RNNBase) for module in network.modules())  # dynamo leaves those out
    compiled = torch.compile(network, backend="eager", fullgraph=one_graph)
    with torch.no_grad():
        assert torch.equal(compiled(images), network(images))


@every_configuration
def test_wrong_images(configuration: Path) -> None:
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
def test_unknown_argument(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} has no argument 'imagesize', did you mean 'image_size'\? Valid: "):
        models.create(name, imagesize=28)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"^there is no network 'resnet', did you mean 'resnet18'\? Valid: softmax_"):
        models.create("resnet")


@every_network
def test_signature_is_what_the_source_says(name: str) -> None:
    file, network = models.NETWORKS[name].split(".")
    module = importlib.import_module(f"models.{file}")
    parameters = inspect.signature(getattr(module, network)).parameters
    stated = models.signature(name)
    assert list(stated) == list(parameters)
    assert list(stated)[:3] == ["image_size", "in_channels", "num_classes"]
    assert (stated["in_channels"].default, stated["num_classes"].default) == (1, 10)
    for argument, (annotation, default) in stated.items():
        assert default == parameters[argument].default
        assert eval(annotation, {"Literal": Literal}) == parameters[argument].annotation


def test_importing_models_imports_no_torch() -> None:
    script = "import sys, models; models.names(); models.signature('vgg11'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60).returncode == 0


def test_models_know_nothing_of_training() -> None:
    for path in (ROOT / "models").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            packages = {module.partition(".")[0] for module in imported}
            assert not packages & {"data", "training", "hydra", "lightning", "torchvision"}, path.name
