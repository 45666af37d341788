"""Test `compile`: a compiled run equals an uncompiled one up to rounding, and stores an ordinary network."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch._inductor.config
from conftest import SMALL_DENSENET, RunTrain
from safetensors.torch import load_file
from torch import Tensor

import models

SMALL = ("data.train_size=160", "batch_size=32", "data.val_size=40", "data.test_size=40")
# torch's eager batch norm sums channels-last maps one by one: its means are up to 2e-4 from those in float64, those
# compiled 1e-6. Such differences grow with every step, and Adam makes whole steps of gradients that are only rounding.
FEW_STEPS = ("optimizer=sgd", "epochs=1", "data.train_size=96", "ema=0.9", "select=best")
NETWORK = """from torch import nn

class Tiny(nn.Sequential):
    def __init__(self, image_size, in_channels, num_classes):
        convolution = nn.Conv2d(in_channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()
        super().__init__(*convolution, nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 13 * 13, num_classes))
"""


@pytest.mark.slow
@pytest.mark.thorough
def test_compiled_run_equals_an_uncompiled_one_with_batch_norm_and_dropout(
    run_train: RunTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network_to_compile.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    settings = (*SMALL, *FEW_STEPS, "model._target_=network_to_compile.Tiny")
    plain, compiled = (run_train(*settings, f"compile={wanted}", folder=wanted) for wanted in ("false", "true"))
    assert compiled.status == 0, compiled.errors
    assert (plain.metrics["compile"], plain.metrics["compile_seconds"]) == (False, None)
    assert compiled.metrics["compile"]
    assert compiled.metrics["compile_seconds"] > 0
    expected, found = (load_file(run.folder / "weights.safetensors") for run in (plain, compiled))
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=1e-4, msg=key)
    for split in ("train", "val", "test"):
        figures = plain.metrics[split]
        loss = pytest.approx(figures["loss"], rel=2e-4)
        assert compiled.metrics[split] == {**figures, "loss": loss}


@pytest.mark.slow
def test_warm_up_of_the_compiled_network_changes_no_weights(
    run_train: RunTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expect also that only training calls the compiled network."""
    calls = []

    def compile(forward: Callable[[Tensor], Tensor], **_: object) -> Callable[[Tensor], Tensor]:
        return lambda images: calls.append(len(images)) or forward(images)

    plain = run_train(*SMALL_DENSENET, *SMALL, folder="plain")
    monkeypatch.setattr(torch, "compile", compile)
    compiled = run_train(*SMALL_DENSENET, *SMALL, "compile=true", folder="compiled")
    assert compiled.status == 0, compiled.errors
    assert calls == [32] * (1 + 2 * 5)
    expected, found = (models.load(run.folder).state_dict() for run in (plain, compiled))
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


@pytest.mark.slow
def test_missing_compiler_exits_with_status_5(run_train: RunTrain) -> None:
    with torch._inductor.config.patch({"cpp.cxx": (None, "/nonexistent")}):
        run = run_train("model=mlp", "model.hidden_sizes=[7]", *SMALL, "compile=true")  # a size that is in no cache
    assert (run.status, run.metrics["status"]) == (5, "failed")
    last = run.errors.splitlines()[-1]
    assert last.startswith("refzoo: torch.compile failed here: ")
    assert last.endswith("Take compile=false.")
