"""Test what programs do with a network: torch.fx traces it, and copies of it keep its check of images."""

import copy
import pickle
import re
from typing import Any

import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

import models

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {"image_size": 28}) for name in models.names()),
    *(
        (name, {"image_size": 67}) for name in models.names() if models.defaults(name)["image_size"] == 224
    ),  # ImageNet stem
    ("resnet18", {"image_size": 28, "variant": "paper"}),
    ("gru", {"bidirectional": True, "num_layers": 2, "dropout": 0.5}),
    ("gru", {"reset_after": True, "pool": "mean"}),
    ("lstm", {"bidirectional": True}),
]
every_network = pytest.mark.parametrize("name", models.names())


def build(name: str, arguments: dict[str, Any]) -> tuple[nn.Module, Tensor]:
    """Build a network of three channels and two images for it."""
    torch.manual_seed(0)
    network = models.create(name, **arguments, in_channels=3)
    size = arguments.get("image_size", 28)
    return network, torch.randn(2, 3, size, size)


def outputs_by_hooks(network: nn.Module, images: Tensor) -> dict[str, Any]:
    """Return the output of each child of the network."""
    outputs: dict[str, Any] = {}
    handles = [
        child.register_forward_hook(lambda _, inputs, output, name=name: outputs.update({name: output}))
        for name, child in network.named_children()
    ]
    network(images)
    for handle in handles:
        handle.remove()
    return outputs


def states(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output  # a recurrent layer also returns its final state


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("name", "arguments"), CASES, ids=str)
def test_feature_extractor_returns_the_outputs_of_every_stage(
    name: str, arguments: dict[str, Any], training: bool
) -> None:
    network, images = build(name, arguments)
    network.train(training)
    stages = [stage for stage, _ in network.named_children()]
    extractor = create_feature_extractor(network, stages)
    assert extractor.training == training
    torch.manual_seed(1)  # dropout drops the same units
    expected = outputs_by_hooks(network, images)
    torch.manual_seed(1)
    found = extractor(images)
    assert list(found) == list(expected) == stages
    for stage in stages:
        assert torch.equal(states(found[stage]), states(expected[stage])), stage


def test_documented_features_have_the_documented_shapes() -> None:
    page = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.+?)```", page, flags=re.DOTALL)
    exec(snippet, variables := {})
    documented = re.findall(r"(\w+): \(([\d, ]+)\)", snippet)
    assert len(documented) == 2
    assert documented == [(stage, ", ".join(map(str, found.shape))) for stage, found in variables["features"].items()]


@every_network
def test_network_is_traced_as_a_part_of_another_one(name: str) -> None:
    network, images = build(name, {"image_size": 28})
    whole = nn.Sequential(nn.InstanceNorm2d(3), network).eval()
    stages = [f"1.{stage}" for stage, _ in network.named_children()]
    found = create_feature_extractor(whole, stages)(images)
    assert list(found) == stages
    assert torch.equal(found[stages[-1]], whole(images))


@every_network
def test_copies_of_a_network_compute_its_outputs_and_refuse_other_images(name: str) -> None:
    network, images = build(name, {"image_size": 28})
    parameters = {key: tensor.detach().clone() for key, tensor in network.eval().named_parameters()}
    copies = {
        "deepcopy": copy.deepcopy(network),
        "pickle": pickle.loads(pickle.dumps(network)),
        "functional_call": lambda images: torch.func.functional_call(network, parameters, (images,)),
    }
    for way, network_copy in copies.items():
        assert torch.equal(network_copy(images), network(images)), way
        with pytest.raises(ValueError, match=r"reads 28 x 28 images, got 32 x 32$"):
            network_copy(torch.zeros(2, 3, 32, 32))
