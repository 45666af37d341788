"""Publishing: what is stored is what was measured, better weights stay, and the table in README.md is of now."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Run

import data
import evaluate
import models
import publish
from data.splits import Images
from launch import errors, flags
from models import WeightsError, cards
from training.evaluation import compute_metrics, predict_logits, preprocess_of

RunTrain = Callable[..., Run]
ROOT = Path(__file__).parents[1]
PUBLISHED = cards.published()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another repository's weights folder and README."""
    monkeypatch.setattr(cards, "PUBLISHED", tmp_path / "weights")
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    monkeypatch.setattr(publish, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(f"before\n{publish.BEGIN}old\n{publish.END}\nafter\n")
    return tmp_path / "weights"


def test_what_is_published_is_measured_as_it_is_stored(run_train: RunTrain, shelf: Path) -> None:
    runs = [run_train("model=lenet", "optimizer.lr=0.01", f"seed={seed}", folder=str(seed)) for seed in (1, 2)]
    said = publish.publish("lenet-mnist", [run.folder for run in runs])
    card, network = models.card("lenet-mnist"), models.load("lenet-mnist")
    assert card["storage"] == "float16"
    splits = data.load("mnist", train_size=600, val_size=400)
    for name, split in (("val", splits.val), ("test", splits.test)):
        assert split is not None
        assert card["metrics"][name] == compute_metrics(
            predict_logits(network, split, preprocess_of(card)), split.labels
        )
        assert card["metrics"][name]["loss"] != runs[0].metrics[name]["loss"]  # that was in 32 bits
        assert card["metrics"][name]["accuracy"] == pytest.approx(runs[0].metrics[name]["accuracy"], abs=1e-3)
    assert card["metrics"]["quick"]["images"] == 500
    assert f"{card['metrics']['test']['accuracy']:.4f}" in said
    test = [accuracy_in_16_bits(models.load(run.folder), splits.test, card) for run in runs]
    assert card["accuracy_over_seeds"]["seeds"] == [1, 2]
    assert card["accuracy_over_seeds"]["test"]["mean"] == pytest.approx(sum(test) / 2)
    assert card["accuracy_over_seeds"]["test"]["sd"] == pytest.approx(abs(test[0] - test[1]) / 2**0.5)
    assert (card["parameters"], card["multiply_adds"]) == (44_426, 281_640)
    assert card["command"] == "uv run train.py recipe=lenet-mnist seed=1"
    stored, original = network.state_dict(), models.load(runs[0].folder).state_dict()
    assert all(torch.allclose(stored[key], original[key], rtol=1e-3, atol=1e-7) for key in original)
    beside = json.loads((shelf / "lenet-mnist.json").read_text())
    assert beside["file"]["size"] == (shelf / "lenet-mnist.safetensors").stat().st_size < 2 * 44_426 * 1.2


def accuracy_in_16_bits(network: torch.nn.Module, images: Images, card: dict) -> float:
    for weight in network.parameters():
        if weight.dim() > 1:
            weight.data = weight.data.half().float()
    return compute_metrics(predict_logits(network, images, preprocess_of(card)), images.labels)["accuracy"]


def test_better_weights_stay(run_train: RunTrain, shelf: Path) -> None:
    worse = run_train("model=softmax_regression", "epochs=1", "optimizer.lr=1e-5", folder="worse").folder
    better = run_train("model=softmax_regression", "epochs=1", folder="better").folder
    publish.publish("softmax_regression-mnist", [worse])
    first = (shelf / "softmax_regression-mnist.safetensors").read_bytes()
    publish.publish("softmax_regression-mnist", [better])
    second = (shelf / "softmax_regression-mnist.safetensors").read_bytes()
    assert first != second
    assert "is better on validation, and stays" in publish.publish("softmax_regression-mnist", [worse])
    assert (shelf / "softmax_regression-mnist.safetensors").read_bytes() == second
    unvalidated = run_train("model=softmax_regression", "epochs=1", "data.val_size=0", folder="unvalidated").folder
    with pytest.raises(WeightsError, match="without validation nobody can say"):
        publish.publish("softmax_regression-mnist", [unvalidated])
    card = shelf / "softmax_regression-mnist.json"
    for damage in (card.unlink, lambda: card.write_text("{"), lambda: card.write_text(card.read_text() + "x")):
        damage()
        assert publish.is_missing("softmax_regression-mnist")
        assert "stays" in publish.publish("softmax_regression-mnist", [worse])  # the file says how good it is
        assert not publish.is_missing("softmax_regression-mnist")
        assert (shelf / "softmax_regression-mnist.safetensors").read_bytes() == second
    (shelf / "softmax_regression-mnist.safetensors").write_bytes(second[:-1])
    assert publish.is_missing("softmax_regression-mnist")
    publish.publish("softmax_regression-mnist", [worse])  # in the place of damaged ones
    assert not publish.is_missing("softmax_regression-mnist")


def test_large_networks_are_stored_in_8_bits(run_train: RunTrain, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "LARGEST_16_BIT", 100_000)
    run = run_train("model=mlp", "epochs=1")
    publish.publish("mlp-mnist", [run.folder])
    assert models.card("mlp-mnist")["storage"] == "int8"
    assert (shelf / "mlp-mnist.safetensors").stat().st_size < 1.1 * 203_530
    monkeypatch.setattr(publish, "LARGEST", 100_000)
    with pytest.raises(WeightsError, match="at most 100000 may be published"):
        publish.publish("mlp-mnist", [run.folder])
    monkeypatch.undo()


def test_a_recipe_is_trained_where_it_is_missing(
    shelf: Path, run_train: RunTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """train.py is begun for each seed, resumed where it was begun before, and what ends badly is not published."""
    name, calls, statuses = "softmax_regression-mnist", [], {}
    short = ("epochs=1", "data.train_size=600", "data.val_size=400", "trainer=cpu")

    def train(words: list[str]) -> int:
        calls.append(words[2:])
        (folder,) = (Path(word.partition("=")[2]) for word in words if word.startswith(("run_dir=", "resume=")))
        seed = int(folder.name.removeprefix("seed"))
        if not statuses.get(seed) and not folder.exists():
            run_train(f"recipe={name}", *short, f"seed={seed}", f"run_dir={folder}")
            (folder / ".hydra/overrides.yaml").write_text(f"- recipe={name}\n- seed={seed}\n- run_dir=x\n")
        if statuses.get(seed) == 143:
            raise errors.Interrupted("stopped by SIGTERM", 143)
        return statuses.get(seed, 0)

    monkeypatch.setattr(publish, "run_to_its_end", train)
    monkeypatch.setitem(publish.TARGETS, "softmax_regression", {"mnist": (10.0, 20.0)})
    monkeypatch.setattr(publish, "recipes", lambda: ["fast-mnist", name])  # what is there for its speed is left out

    def publish_missing() -> int:
        monkeypatch.setattr("sys.argv", ["publish", "--missing", "--seeds", "1,2"])
        return flags.status_of(publish.main)

    statuses[2] = 1
    assert publish_missing() == 1
    assert not cards.published()
    folder = shelf.parent / "runs" / name
    assert calls == [
        [f"recipe={name}", "seed=1", f"run_dir={folder}/seed1"],
        [f"recipe={name}", "seed=2", f"run_dir={folder}/seed2"],
    ]
    statuses[2] = 143
    assert publish_missing() == 143
    statuses[2] = 0
    calls.clear()
    assert publish_missing() == 0
    assert calls == [[f"resume={folder}/seed1"], [f"recipe={name}", "seed=2", f"run_dir={folder}/seed2"]]
    text = publish.README.read_text()
    assert "is under its floor" not in text
    monkeypatch.setitem(publish.TARGETS, "softmax_regression", {"mnist": (99.9, 99.95)})
    assert f"|\n\n`{name}` is under its floor: nobody has said why.\n" in publish.with_table(text)
    monkeypatch.setitem(publish.WHY_UNDER_THE_FLOOR, name, "it is linear")
    assert f"|\n\n`{name}` is under its floor: it is linear.\n" in publish.with_table(text)
    assert text.startswith(f"before\n{publish.BEGIN}| weights |")
    assert text.endswith(f"|\n{publish.END}\nafter\n")
    assert f"| `{name}` | {100 * models.card(name)['metrics']['test']['accuracy']:.2f} |" in text
    calls.clear()
    assert publish_missing() == 0
    assert not calls  # nothing is missing
    (folder / "seed1/.hydra/overrides.yaml").write_text(f"- recipe={name}\n- optimizer.lr=1\n")
    with pytest.raises(errors.RunFailed, match="is not a run of"):
        publish.train(name, 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name recipes, or say --missing."),
        (["--missing", "lenet-mnist"], "name recipes, or say --missing."),
        (["--seeds", "x", "lenet-mnist"], "--seeds x is not valid"),
        (["--seeds", "1,2,1", "lenet-mnist"], "--seeds 1,2,1 names one twice"),
        (["fast-mnist"], "fast-mnist has no floor and goal."),
        (["lenet-mnits"], "there is no recipe 'lenet-mnits', did you mean 'lenet-mnist'?"),
    ],
)
def test_wrong_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    monkeypatch.setattr("sys.argv", ["publish", *words])
    assert flags.status_of(publish.main) == 2
    assert says in capsys.readouterr().err


def test_what_is_published_here_is_what_its_cards_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first 500 test images of each; `evaluate.py --weights all` takes all of them."""
    monkeypatch.setattr("sys.argv", ["evaluate.py", "--weights", "all", "--quick", "--json", "-"])
    assert flags.status_of(evaluate.main) == 0
    results = json.loads(capsys.readouterr().out)
    assert [result["weights"] for result in results] == PUBLISHED
    assert all(result["as_recorded"] for result in results)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_card_is_complete(name: str) -> None:
    file = cards.read(name)
    card, size = file.card, len(file.content)
    assert card["name"] == name
    assert name in publish.recipes()
    assert size <= publish.LARGEST
    assert size <= publish.LARGEST_16_BIT or card["storage"] == "int8"
    assert card["metrics"]["test"]["images"] == 10_000
    wanted = ["hardware", "train_seconds", "multiply_adds", "licence", "seed", "command", "versions"]
    assert all(card[key] for key in wanted)
    variant, _, trained_on = name.partition("-")
    assert card["data"] == trained_on
    assert card["network"] == variant.partition("_relu")[0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_claims_what_its_card_says(name: str) -> None:
    text, card = (publish.RECIPES / f"{name}.yaml").read_text(), models.card(name)
    recipe, metrics, over = " ".join(text.replace("\n#", "").split()), card["metrics"], card["accuracy_over_seeds"]
    assert f"test accuracy {100 * metrics['test']['accuracy']:.2f} %" in recipe
    assert f"validation {100 * metrics['val']['accuracy']:.2f} %" in recipe
    if len(over["seeds"]) > 1:
        spread = f"{100 * over['test']['mean']:.2f} ± {100 * over['test']['sd']:.2f}"
        assert f"(seed {card['seed']}; {spread} over seeds {', '.join(map(str, over['seeds']))})" in recipe


def test_the_table_in_the_readme_is_that_of_the_cards() -> None:
    text = publish.README.read_text(encoding="utf-8")
    assert publish.with_table(text) == text
    assert "nobody has said why" not in text
    assert sum((cards.PUBLISHED / f"{name}.safetensors").stat().st_size for name in PUBLISHED) <= publish.LARGEST_IN_ALL


def test_git_leaves_the_files_as_they_are() -> None:
    names = [f"weights/{name}.safetensors" for name in PUBLISHED]
    command = ["git", "check-ignore", "--no-index", *names, ".venv/x"]
    ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ignored.stdout == ".venv/x\n"


def test_a_training_that_is_stopped_saves_its_work_first(tmp_path: Path) -> None:
    """A second for it, as a large checkpoint takes."""
    lines = [
        "import pathlib, signal, sys, time",
        "def save(*_):",
        "    time.sleep(1)",
        f"    pathlib.Path({str(tmp_path)!r}, 'saved').touch()",
        "    sys.exit(143)",
        "signal.signal(signal.SIGTERM, save)",
        f"pathlib.Path({str(tmp_path)!r}, 'ready').touch()",
        "time.sleep(60)",
    ]

    def stop() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(errors.Interrupted, match="stopped by SIGTERM") as stopped:
        publish.run_to_its_end([sys.executable, "-c", "\n".join(lines)])
    thread.join()
    assert stopped.value.status == 143
    assert (tmp_path / "saved").exists()
