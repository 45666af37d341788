"""Test evaluate.py: it reproduces the metrics of a run, and refuses weights that it cannot trust."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, Result, RunProgram, RunTrain

import data
import evaluate
import models
from models import cards
from models.weights import serialize
from training.evaluation import metrics_match


@pytest.fixture
def run_evaluate(run_program: RunProgram) -> RunProgram:
    def run(*arguments: str | Path) -> Result:
        return run_program(evaluate, *arguments)

    return run


def write_weights(file: Path, classes: int = 10, **changes: Any) -> Path:
    """Write an untrained softmax regression with a card like those of train.py, with `changes`."""
    torch.manual_seed(0)
    arguments = {"num_classes": classes}
    card = {
        "data": "mnist",
        "input": {"channels": 1, "image_size": 28, "mean": 0.13, "std": 0.31},
        "classes": [str(digit) for digit in range(classes)],
        "metrics": {"val": None, "test": None},
        "training": {"epoch": 1, "train_size": None, "val_size": 5000, "test_size": 1000},
        "versions": {},
    }
    content = serialize(
        models.create("softmax_regression", **arguments), "softmax_regression", arguments, card | changes
    )
    file.write_bytes(content)
    return file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ("model=mlp ema=0.9", "mnist"),
        ("model=lenet optimizer.lr=0.01", "fashion_mnist"),
        ("model=gru model.bidirectional=true data.test_size=300 select=best", "mnist"),
        ("model=densenet data.test_size=32 data.train_size=64 data.val_size=32 epochs=1", "fashion_mnist"),
    ],
)
def test_metrics_equal_those_of_the_run(
    run_train: RunTrain, run_evaluate: RunProgram, settings: str, name: str, tmp_path: Path
) -> None:
    run = run_train(*settings.split(), f"data={name}")
    assert run.status == 0, run.errors
    for split in ("test", "val"):
        status, output, errors = run_evaluate("--weights", run.folder, "--split", split, "--json", tmp_path / "j")
        assert (status, errors) == (0, "")
        recorded = run.metrics[split]
        measured = json.loads((tmp_path / "j").read_text())
        assert {key: measured[key] for key in recorded} == recorded  # to the last bit: the same arithmetic
        assert measured["as_recorded"] is True
        assert f"{split} accuracy {recorded['accuracy']:.4f}" in output
        assert output.endswith("as recorded\n")


def test_split_has_the_images_of_the_run(run_train: RunTrain, run_evaluate: RunProgram) -> None:
    """Measure without augmentation, which the training metrics of the run include."""
    run = run_train("model=softmax_regression", "data.train_size=600", "data.val_size=400", "data.augment.shift=4")
    status, output, _ = run_evaluate("--weights", run.folder, "--split", "train", "--json", "-")
    assert status == 0
    measured = json.loads(output)
    train, card = data.load("mnist", train_size=600, val_size=400).train, models.card(run.folder)
    inputs = (train.images.float() / 255 - card["input"]["mean"]) / card["input"]["std"]
    with torch.no_grad():
        right = models.load(run.folder)(inputs).argmax(dim=1) == train.labels
    assert measured["images"] == 600
    assert measured["accuracy"] == right.double().mean().item()
    assert measured["recorded"] is None


def test_weights_are_evaluated_on_another_data_set(run_evaluate: RunProgram, tmp_path: Path) -> None:
    file = write_weights(tmp_path / "file")
    status, output, _ = run_evaluate("--weights", file, "--data", "fashion_mnist", "--quick")
    assert status == 0
    assert "fashion_mnist: test accuracy 0." in output
    assert "(500 images)\n" in output


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ([], 2, "--weights is missing: a run folder, a weights file, a published name, or all."),
        (["--weight", "x"], 2, "unrecognized arguments: --weight x. --help shows the flags."),
        (["--weights", "x", "--split", "tets"], 2, "there is no --split 'tets', did you mean 'test'?"),
        (["--weights", "x", "--data", "mnits"], 2, "there is no --data 'mnits', did you mean 'mnist'?"),
        (["--weights", "x", "--split", "val", "--quick"], 2, "--quick uses test images. Leave --split out."),
        (["--list", "--json", "-"], 2, "--json writes metrics, which --list does not measure."),
        (["--weights", "FILE", "--json", "FILE"], 2, "would replace a file that holds no results."),
        (["--weights", "FILE", "--json", "~nobody_is_called_so/f"], 2, "'~nobody_is_called_so/f' is not a file name"),
        (["--weights", "FILE", "--json", "n" * 300], 2, "is not a file name"),
        (["--weights", "no-such-name"], 4, "there are no published weights 'no-such-name', and no file or run folder"),
        (["--weights", "no/such/folder"], 4, "there are no weights at no/such/folder."),
        (["--weights", "FILE", "--device", "cuda"], 5, "there is no CUDA GPU here"),
        (["--weights", "FILE", "--json", "/no/such/folder/f", "--quick"], 5, "/no/such/folder/f cannot be written"),
    ],
)
def test_wrong_command_prints_a_one_line_error(
    run_evaluate: RunProgram, tmp_path: Path, words: list[str], status: int, says: str
) -> None:
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    file = write_weights(tmp_path / "file")
    ended, _, errors = run_evaluate(*(file if word == "FILE" else word for word in words))
    assert ended == status
    assert errors.startswith("refzoo: ")
    assert says in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"data": "letters"}, 3, "was trained on 'letters', which is not here"),
        ({"training": {}}, 4, "does not say how its data were split"),
        ({"training": {"train_size": None, "val_size": 0, "test_size": None}}, 2, "there is no --split val"),
        ({"input": {"mean": 0.1, "std": 0, "image_size": 28}}, 4, "does not say what its network's input is"),
        ({"input": {"mean": 0.1, "std": 0.3, "image_size": 32}}, 4, "does not say what its network's input is"),
        (
            {"training": {"train_size": None, "val_size": -5, "test_size": None}},
            4,
            "does not say how its data were split",
        ),
        ({"metrics": {"val": {"loss": 1.0, "accuracy": 0.9, "images": 5000}}}, 4, "1 of 1 are not what their"),
    ],
)
def test_invalid_card_is_refused(
    run_evaluate: RunProgram, tmp_path: Path, changes: dict[str, Any], status: int, says: str
) -> None:
    file = write_weights(tmp_path / "file", **changes)
    ended, _, errors = run_evaluate("--weights", file, "--split", "val")
    assert ended == status
    assert says in errors


def test_labels_beyond_the_classes_of_the_network_are_refused(run_evaluate: RunProgram, tmp_path: Path) -> None:
    status, _, errors = run_evaluate("--weights", write_weights(tmp_path / "file", classes=9))
    assert status == 3
    assert "mnist has 1 channels and 10 classes, the network is for 1 and 9" in errors


def test_metrics_match_up_to_rounding() -> None:
    recorded = {"loss": 0.5, "accuracy": 0.9, "images": 10_000}
    assert metrics_match({"loss": 0.5004, "accuracy": 0.9002, "images": 10_000}, recorded)
    assert metrics_match({"loss": 0.5, "accuracy": 0.8998, "images": 10_000}, recorded)
    assert not metrics_match({"loss": 0.5, "accuracy": 0.9003, "images": 10_000}, recorded)
    assert not metrics_match({"loss": 0.501, "accuracy": 0.9, "images": 10_000}, recorded)
    assert not metrics_match({"loss": 0.5, "accuracy": 0.9, "images": 9_999}, recorded)


@pytest.mark.slow
def test_evaluate_imports_only_what_it_needs(tmp_path: Path) -> None:
    """Expect no torch for a wrong command and a list, and no Lightning, torchvision or Hydra for an evaluation."""
    file = write_weights(tmp_path / "file")
    lines = [
        "import sys, evaluate; from launch import flags",
        "for words in (['--list'], ['--weights', 'nonsense']):",
        "    sys.argv[1:] = words; flags.status_of(evaluate.main)",
        "assert 'torch' not in sys.modules",
        f"sys.argv[1:] = ['--weights', {str(file)!r}, '--quick']; status = flags.status_of(evaluate.main)",
        "assert not {'lightning', 'torchvision', 'torchmetrics', 'hydra'} & set(sys.modules)",
        "import models; [models.load(name) for name in ('mlp-mnist', 'gru-mnist')]",
        "assert 'torch._dynamo' not in sys.modules  # which skipping the initialisation would import",
        "sys.exit(status)",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, check=True)


@pytest.mark.slow
def test_ctrl_c_prints_one_line() -> None:
    """Send the signal after the first line, while torch is imported, where an exception might be lost."""
    command = [sys.executable, "evaluate.py", "--weights", "gru-mnist"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "refzoo: stopped by SIGINT.\n")


def test_all_weights_are_evaluated_on_a_split_without_recorded_metrics(
    run_evaluate: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "published", lambda: ["softmax_regression-mnist"])
    status, output, errors = run_evaluate("--weights", "all", "--data", "fashion_mnist")
    assert (status, errors) == (0, "")
    assert "as recorded" not in output


def test_damaged_file_among_all_is_named_and_the_others_are_evaluated(
    run_evaluate: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("softmax_regression-mnist", "mlp-mnist", "lenet-mnist"):
        for suffix in (".json", ".safetensors"):
            (tmp_path / f"{name}{suffix}").write_bytes((cards.PUBLISHED / f"{name}{suffix}").read_bytes())
    monkeypatch.setattr(cards, "PUBLISHED", tmp_path)
    damaged = (tmp_path / "mlp-mnist.safetensors").read_bytes()
    (tmp_path / "mlp-mnist.safetensors").write_bytes(damaged[:-1] + bytes([damaged[-1] ^ 1]))
    status, output, errors = run_evaluate("--weights", "all", "--quick", "--json", tmp_path / "j")
    assert status == 4
    assert output.count("as recorded") == 2
    measured = json.loads((tmp_path / "j").read_text())
    assert [(result["weights"], result["as_recorded"]) for result in measured] == [
        ("softmax_regression-mnist", True),
        ("mlp-mnist", False),
        ("lenet-mnist", True),
    ]
    assert measured[1]["error"] in errors
    assert "mlp-mnist.safetensors is damaged: its sha256 is" in errors
    assert errors.endswith("1 of 3 are not what their cards say: mlp-mnist.\n")
    status, output, errors = run_evaluate("--list")
    assert (status, errors.count("\n")) == (4, 1)
    assert "mlp-mnist.safetensors is damaged" in errors
    assert [line.split()[0] for line in output.splitlines()[2:]] == ["softmax_regression-mnist", "lenet-mnist"]
