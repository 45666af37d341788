"""Test what is shown of the inside of a network."""

import pytest
import torch

from data import load
from inspection import networks, stages
from models.__main__ import stages as listed_stages

NAMES = (
    "softmax_regression-mnist",
    "mlp-mnist",
    "lenet_relu-mnist",
    "nin-mnist",
    "rnn-mnist",
    "gru-mnist",
    "lstm-mnist",
)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return load("mnist", test_size=1).test.images


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_those_that_python_m_models_lists(name: str, image: torch.Tensor) -> None:
    trained = networks.load(name)
    outputs = stages.stage_outputs(trained, image)
    network = trained.card["network"]
    _, *rows, _ = listed_stages(network, trained.card["arguments"])
    assert {stage: " x ".join(map(str, output.shape)) for stage, output in outputs.items()} == {
        stage: shape for stage, shape, *_ in rows
    }
    torch.testing.assert_close(list(outputs.values())[-1].softmax(dim=-1), trained.probabilities(image))
    assert not any(module._forward_hooks for module in trained.network.modules())


def test_output_of_a_stage_is_that_of_the_modules_up_to_it(image: torch.Tensor) -> None:
    trained = networks.load("lenet-mnist")
    outputs = stages.stage_outputs(trained, image)
    stage = dict(trained.network.named_children())
    with torch.no_grad():
        c3 = stage["c3"](stage["s2"](stage["c1"](trained.preprocess(image))))
    torch.testing.assert_close(outputs["c3"], c3)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("lenet-mnist", (6, 1, 5, 5)), ("softmax_regression-mnist", (10, 1, 28, 28)), ("mlp-mnist", (256, 1, 28, 28))],
)
def test_weights_of_the_first_layer_are_images(name: str, shape: tuple[int, ...]) -> None:
    trained = networks.load(name)
    weights = stages.first_weights(trained)
    assert weights is not None
    assert weights.shape == shape
    first = next(parameter for parameter in trained.network.parameters() if parameter.dim() > 1)
    assert torch.equal(weights.flatten(), first.detach().flatten())


def test_weights_of_softmax_regression_give_its_logits(image: torch.Tensor) -> None:
    """Take the inner product of image and weights: it shows that height and width are not exchanged."""
    trained = networks.load("softmax_regression-mnist")
    weights = stages.first_weights(trained)
    assert weights is not None
    logits = (weights * trained.preprocess(image)).sum(dim=(1, 2, 3))
    found = stages.stage_outputs(trained, image)["output"][0]
    torch.testing.assert_close(found - found.mean(), logits - logits.mean(), atol=1.0, rtol=0)


@pytest.mark.parametrize("name", ["rnn-mnist", "gru-mnist", "lstm-mnist"])
def test_answer_after_the_last_row_is_the_networks(name: str, image: torch.Tensor) -> None:
    trained = networks.load(name)
    after = stages.probabilities_after_rows(trained, image)
    assert after is not None
    assert after.shape == (28, 10)
    torch.testing.assert_close(after[-1:], trained.probabilities(image), rtol=1e-4, atol=1e-6)
    changed = image.clone()
    changed[:, :, 20:] = 255 - changed[:, :, 20:]
    again = stages.probabilities_after_rows(trained, changed)
    assert again is not None
    assert torch.allclose(after[:20], again[:20], atol=1e-6)
    assert not torch.allclose(after[20:], again[20:], atol=1e-3)
    assert stages.first_weights(trained) is None


def test_networks_that_read_the_image_at_once_have_no_answer_after_rows(image: torch.Tensor) -> None:
    assert stages.probabilities_after_rows(networks.load("lenet-mnist"), image) is None
