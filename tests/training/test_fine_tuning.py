"""Test `weights=`: a run begins with the weights of a file."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CARD, RunTrain

import models
from models import WeightsError, cards
from models.weights import initialize_from, serialize

UNCHANGED = ("optimizer=sgd", "optimizer.lr=1e-30", "epochs=1")


@pytest.mark.slow
def test_run_starts_from_the_network_and_weights_of_the_file(
    run_train: RunTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_train("model=mlp", "model.hidden_sizes=[64,32]", "epochs=1", folder="first")
    monkeypatch.chdir(first.folder.parent)
    second = run_train("weights=first", "data=fashion_mnist", *UNCHANGED, folder="second")
    assert second.status == 0, second.errors
    before, after = models.load(first.folder).state_dict(), models.load(second.folder).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    card = models.card(second.folder)
    assert (card["network"], card["data"]) == ("mlp", "fashion_mnist")
    assert card["training"]["weights"] == "first/weights.safetensors"  # no path of this machine


@pytest.mark.slow
def test_arguments_of_the_command_line_override_those_of_the_file(run_train: RunTrain) -> None:
    first = run_train("model=mlp", "model.dropout=0.5", "epochs=1", folder="first")
    second = run_train(f"weights={first.folder}", "model.dropout=0.1", *UNCHANGED, folder="second")
    assert models.card(second.folder)["arguments"]["dropout"] == 0.1


@pytest.mark.slow
def test_run_is_resumed_without_the_file_it_started_from(run_train: RunTrain) -> None:
    first = run_train("model=softmax_regression", "epochs=1", folder="first")
    settings = (f"weights={first.folder}", "scheduler=constant")
    whole = run_train(*settings, folder="whole")
    stopped = run_train(*settings, "epochs=1", folder="stopped")
    after_one = stopped.metrics["weights_sha256"]
    shutil.rmtree(first.folder)
    resumed = run_train(f"resume={stopped.folder}", "epochs=2", folder="stopped")
    assert resumed.status == 0, resumed.errors
    assert resumed.metrics["weights_sha256"] != after_one
    a, b = (models.load(run.folder).state_dict() for run in (whole, resumed))
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["weights=WEIGHTS", "model=gru"], 4, "holds another network (softmax_regression)."),
        (["weights=no-such"], 4, "there are no published weights 'no-such'"),
        (["-m", "weights=a,b"], 2, "weights=a,b: weights has one value, also in a sweep."),
    ],
)
def test_wrong_weights_are_refused_before_a_folder_exists(
    run_train: RunTrain, tmp_path: Path, words: list[str], status: int, says: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(serialize(models.create("softmax_regression"), "softmax_regression", {}, CARD))
    run = run_train(*(word.replace("WEIGHTS", str(file)) for word in words))
    assert run.status == status
    assert says in run.errors
    assert not run.folder.exists()


@pytest.mark.parametrize(
    ("name", "arguments", "head"),
    [
        ("lenet", {}, {"output.weight", "output.bias"}),
        ("gru", {"bidirectional": True}, {"output.weight", "output.bias"}),
        ("resnet18", {"image_size": 28}, {"linear.weight", "linear.bias"}),
    ],
)
def test_new_head_is_kept_when_the_number_of_classes_differs(
    tmp_path: Path, name: str, arguments: dict[str, Any], head: set[str]
) -> None:
    """Expect all tensors of the file but those of the layer that depends on the number of classes."""
    file, there = tmp_path / "file", {**arguments, "num_classes": 7}
    trained = models.create(name, **there)
    file.write_bytes(serialize(trained, name, there, CARD))
    network = models.create(name, **arguments)
    fresh = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    initialize_from(network, arguments, cards.read(file))
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, fresh[key] if key in head else trained.state_dict()[key]), key


def test_new_last_block_of_nin_is_kept_when_the_number_of_classes_differs(tmp_path: Path) -> None:
    file, there = tmp_path / "file", {"image_size": 28, "num_classes": 7}
    file.write_bytes(serialize(models.create("nin", **there), "nin", there, CARD))
    network = models.create("nin", image_size=28)
    fresh = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    initialize_from(network, {"image_size": 28}, cards.read(file))
    kept = {key for key, tensor in network.state_dict().items() if tensor.dim() > 1 and torch.equal(tensor, fresh[key])}
    *_, last = (key.partition(".")[0] for key in fresh)
    assert kept == {key for key in fresh if key.startswith(last) and fresh[key].dim() > 1}


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(serialize(models.create("mlp"), "mlp", {}, CARD))
    network = models.create("mlp", hidden_sizes=(128,))
    with pytest.raises(WeightsError, match=r"holds a mlp with hidden_sizes=\[256\], this run has \[128\]"):
        initialize_from(network, {"hidden_sizes": (128,)}, cards.read(file))


def test_weights_of_another_activation_with_the_same_shapes_are_refused(tmp_path: Path) -> None:
    file, relu = tmp_path / "file", {"activation": "relu"}
    file.write_bytes(serialize(models.create("lenet", **relu), "lenet", relu, CARD))
    with pytest.raises(WeightsError, match="holds a lenet with activation=relu, this run has sigmoid"):
        initialize_from(models.create("lenet"), {}, cards.read(file))
    with pytest.raises(WeightsError, match="holds another network"):
        initialize_from(models.create("mlp"), {}, cards.read(file))
