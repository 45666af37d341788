"""Test on a CUDA GPU what CPUs cannot show: that it computes what a CPU computes, up to rounding."""

import copy

import pytest
import torch
from conftest import SMALL_DENSENET, RunProgram, RunTrain
from torch import Tensor, nn
from torch.nn import functional

import evaluate
import models
from data.augmentation import Augmentation
from models import cards

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
SETTINGS = {"horizontal_flip": 0.5, "rotation": 10.0, "scale": 0.1, "shift": 2, "erasing": 0.5, "cutout": 6}


def gradient(network: nn.Module, images: Tensor, labels: Tensor, device: str, mixed: bool) -> tuple[float, Tensor]:
    """Return the loss of a batch and its gradient, all parameters in one vector, on the CPU."""
    network = copy.deepcopy(network).to(device)
    with torch.autocast(device, torch.bfloat16, enabled=mixed):
        loss = functional.cross_entropy(network(images.to(device)), labels.to(device))
    loss.backward()
    parts = [parameter.grad.flatten().float().cpu() for parameter in network.parameters() if parameter.grad is not None]
    return loss.item(), torch.cat(parts)


@pytest.mark.parametrize("name", models.names())
def test_gradient_is_that_of_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    takes_dropout = "dropout" in models.defaults(name)
    network = models.create(name, image_size=28, **({"dropout": 0.0} if takes_dropout else {}))
    images, labels = torch.randn(16, 1, 28, 28), torch.randint(10, (16,))
    loss, expected = gradient(network, images, labels, "cpu", mixed=False)
    for mixed, rtol, cosine in ((False, 1e-4, 0.9999), (True, 0.05, 0.9)):
        found_loss, found = gradient(network, images, labels, DEVICE, mixed)
        assert found_loss == pytest.approx(loss, rel=rtol)
        assert functional.cosine_similarity(found, expected, dim=0) > cosine


@pytest.mark.parametrize("name", SETTINGS)
def test_augmentation_draws_from_its_generator_alone(name: str) -> None:
    augment = Augmentation((0.0,), **{name: SETTINGS[name]})  # type: ignore[arg-type]
    images = torch.randint(256, (64, 1, 28, 28), dtype=torch.uint8, device=DEVICE)
    generator = torch.Generator(DEVICE)

    def draw(seed: int) -> Tensor:
        torch.rand(1, device=DEVICE)  # from the global generator
        return augment(images, generator.manual_seed(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert (draw(1) != images).flatten(1).any(dim=1).sum() > 16  # each image has a draw of its own


def test_published_weights_are_as_recorded(run_program: RunProgram) -> None:
    result = run_program(evaluate, "--weights", "all", "--quick", "--device", DEVICE)
    assert result.status == 0, result.errors
    assert result.output.count(", as recorded") == len(cards.published())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_compiled_run_is_close_to_an_uncompiled_one(run_train: RunTrain, precision: str) -> None:
    settings = (*SMALL_DENSENET, "trainer=gpu", f"precision={precision}", "optimizer=sgd", "optimizer.lr=0.01")
    plain, compiled = (run_train(*settings, f"compile={wanted}", folder=wanted) for wanted in ("false", "true"))
    assert (plain.status, compiled.status) == (0, 0), compiled.errors
    assert compiled.metrics["compile_seconds"] > 0
    for split in ("train", "val", "test"):
        assert compiled.metrics[split]["loss"] == pytest.approx(plain.metrics[split]["loss"], rel=0.02)
