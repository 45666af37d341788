"""Test publishing: the stored weights are measured, better ones are kept, and the results tables match the cards."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Run, RunTrain

import data
import evaluate
import models
import publish
from data.splits import Images
from launch import errors, flags, trainings
from launch.trainings import Training
from models import WeightsError, cards
from reports import results_table, targets
from training import publishing
from training.evaluation import compute_metrics, predict_logits, preprocess_of

PUBLISHED = cards.published()


@pytest.fixture
def publish_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Publish into an empty folder with two pages, and return its weights folder."""
    monkeypatch.setattr(cards, "PUBLISHED", tmp_path / "weights")
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    pages = {tmp_path / "short.md": results_table.short_table, tmp_path / "long.md": results_table.long_table}
    monkeypatch.setattr(results_table, "PAGES", pages)
    for page in pages:
        page.write_text(f"before\n{results_table.BEGIN}old\n{results_table.END}\nafter\n")
    return tmp_path / "weights"


def as_trained(recipe: str, *runs: Run) -> list[Training]:
    """Return these runs as if publish.py had trained them by the recipe."""
    trainings = []
    for run in runs:
        training = Training(recipe, run.metrics["seed"], run.folder.parent)
        training.folder, training.status = run.folder, 0
        (run.folder / ".hydra/overrides.yaml").write_text(f"- recipe={recipe}\n- run_dir=x\n")
        trainings.append(training)
    return trainings


@pytest.mark.slow
def test_card_holds_the_metrics_of_the_stored_weights(run_train: RunTrain, publish_folder: Path) -> None:
    runs = [run_train("model=lenet", "optimizer.lr=0.01", f"seed={seed}", folder=str(seed)) for seed in (1, 2)]
    message = publishing.publish(as_trained("lenet-mnist", *runs), "cpu")
    card, network = models.card("lenet-mnist"), models.load("lenet-mnist")
    assert card["storage"] == "float16"
    splits = data.load("mnist", train_size=600, val_size=400)
    for name, split in (("val", splits.val), ("test", splits.test)):
        assert split is not None
        assert card["metrics"][name] == compute_metrics(
            predict_logits(network, split, preprocess_of(card)), split.labels
        )
        assert card["metrics"][name]["loss"] != runs[0].metrics[name]["loss"]  # measured in 32 bits
        assert card["metrics"][name]["accuracy"] == pytest.approx(runs[0].metrics[name]["accuracy"], abs=1e-3)
    assert card["metrics"]["quick"]["images"] == 500
    assert f"{card['metrics']['test']['accuracy']:.4f}" in message
    test = [accuracy_in_16_bits(models.load(run.folder), splits.test, card) for run in runs]
    assert card["accuracy_over_seeds"]["seeds"] == [1, 2]
    assert card["accuracy_over_seeds"]["test"]["mean"] == pytest.approx(sum(test) / 2)
    assert card["accuracy_over_seeds"]["test"]["sd"] == pytest.approx(abs(test[0] - test[1]) / 2**0.5)
    assert (card["parameters"], card["multiply_adds"]) == (44_426, 281_640)
    assert card["command"] == "uv run train.py recipe=lenet-mnist seed=1"
    stored, original = network.state_dict(), models.load(runs[0].folder).state_dict()
    assert all(torch.allclose(stored[key], original[key], rtol=1e-3, atol=1e-7) for key in original)
    beside = json.loads((publish_folder / "lenet-mnist.json").read_text())
    assert beside["file"]["size"] == (publish_folder / "lenet-mnist.safetensors").stat().st_size < 2 * 44_426 * 1.2


def accuracy_in_16_bits(network: torch.nn.Module, images: Images, card: dict) -> float:
    for weight in network.parameters():
        if weight.dim() > 1:
            weight.data = weight.data.half().float()
    return compute_metrics(predict_logits(network, images, preprocess_of(card)), images.labels)["accuracy"]


@pytest.mark.slow
def test_better_weights_are_kept(run_train: RunTrain, publish_folder: Path) -> None:
    def train(folder: str, *settings: str) -> list[Training]:
        run = run_train("model=softmax_regression", "epochs=1", *settings, folder=folder)
        return as_trained("softmax_regression-mnist", run)

    worse, better = train("worse", "optimizer.lr=1e-5"), train("better")
    publishing.publish(worse, "cpu")
    first = (publish_folder / "softmax_regression-mnist.safetensors").read_bytes()
    publishing.publish(better, "cpu")
    second = (publish_folder / "softmax_regression-mnist.safetensors").read_bytes()
    assert first != second
    assert "are better on validation, and are kept" in publishing.publish(worse, "cpu")
    assert (publish_folder / "softmax_regression-mnist.safetensors").read_bytes() == second
    unvalidated = train("unvalidated", "data.val_size=0")
    with pytest.raises(WeightsError, match="weights without validation cannot be compared"):
        publishing.publish(unvalidated, "cpu")
    card = publish_folder / "softmax_regression-mnist.json"
    for damage in (card.unlink, lambda: card.write_text("{"), lambda: card.write_text(card.read_text() + "x")):
        damage()
        assert publish.is_missing("softmax_regression-mnist")
        assert "are kept" in publishing.publish(worse, "cpu")  # by the card in the file
        assert not publish.is_missing("softmax_regression-mnist")
        assert (publish_folder / "softmax_regression-mnist.safetensors").read_bytes() == second
    (publish_folder / "softmax_regression-mnist.safetensors").write_bytes(second[:-1])
    assert publish.is_missing("softmax_regression-mnist")
    publishing.publish(worse, "cpu")  # damaged ones are replaced
    assert not publish.is_missing("softmax_regression-mnist")


@pytest.mark.slow
def test_large_networks_are_stored_in_8_bits(
    run_train: RunTrain, publish_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "MAX_FLOAT16_FILE", 100_000)
    mlp = as_trained("mlp-mnist", run_train("model=mlp", "epochs=1"))
    publishing.publish(mlp, "cpu")
    assert models.card("mlp-mnist")["storage"] == "int8"
    assert (publish_folder / "mlp-mnist.safetensors").stat().st_size < 1.1 * 203_530
    monkeypatch.setattr(publishing, "MAX_FILE", 100_000)
    with pytest.raises(WeightsError, match="at most 100000 may be published"):
        publishing.publish(mlp, "cpu")
    monkeypatch.undo()


@pytest.mark.slow
def test_missing_recipes_are_trained_resumed_and_published(
    publish_folder: Path, run_train: RunTrain, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Start train.py once per seed, resume begun runs, and publish nothing if a run fails."""
    name, calls, statuses = "softmax_regression-mnist", [], {}
    short = ("epochs=1", "data.train_size=600", "data.val_size=400", "trainer=cpu")

    def train(wanted: list[Training], jobs: int) -> Iterator[Training]:
        assert jobs == 3
        for training in wanted:
            calls.append(training.command()[2:])
            training.status = statuses.get(training.seed, 0)
            if training.status == 143:
                raise errors.Interrupted("stopped by SIGTERM", 143)
            if training.status:
                training.errors = "a warning\nrefzoo: the loss is nan.\n"
            elif not training.is_begun:
                folder = training.folder
                run_train(f"recipe={name}", *short, f"seed={training.seed}", f"run_dir={folder}")
                (folder / ".hydra/overrides.yaml").write_text(f"- recipe={name}\n- run_dir=x\n")
            yield training

    monkeypatch.setattr(trainings, "train", train)
    for module in (targets, results_table):
        monkeypatch.setattr(module, "TARGETS", {"softmax_regression": {"mnist": (10.0, 20.0)}})
    monkeypatch.setattr(publish, "recipes", lambda: ["fast-mnist", name])  # the first has no targets

    def publish_missing() -> int:
        monkeypatch.setattr("sys.argv", ["publish", "--missing", "--seeds", "1,2", "--jobs", "3"])
        return flags.status_of(publish.main)

    statuses[2] = 1
    assert publish_missing() == 1
    assert not cards.published()
    says = capfd.readouterr().err
    assert f"refzoo: {name} seed 2 ended with status 1: the loss is nan.\nrefzoo: not published: {name}." in says
    folder = publish_folder.parent / "runs" / name
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
    short, long = (page.read_text() for page in results_table.PAGES)
    accuracy = f"{100 * models.card(name)['metrics']['test']['accuracy']:.2f}"
    assert short.startswith(f"before\n{results_table.BEGIN}| weights |")
    assert f"| `softmax_regression` | {accuracy} | no weights yet | 7,850 |\n{results_table.END}\nafter\n" in short
    assert long.startswith(f"before\n{results_table.BEGIN}| weights |")
    assert f"| `{name}` | {accuracy} |" in long
    assert long.endswith(f"|\n{results_table.END}\nafter\n")
    assert "is below its floor" not in capfd.readouterr().out
    calls.clear()
    assert publish_missing() == 0
    assert not calls
    finished = Training(name, 1, folder.parent)
    finished.status = 0
    (folder / "seed1/.hydra/overrides.yaml").write_text(f"- recipe={name}\n- optimizer.lr=1\n")
    with pytest.raises(errors.RunFailed, match="is not a run of"):
        publishing.publish([finished], "cpu")


def test_result_below_its_floor_needs_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    name = PUBLISHED[0]
    files = {name: cards.read(name)}
    assert "below its floor" not in results_table.long_table(files)
    monkeypatch.setattr(results_table, "targets", lambda _: (99.9, 99.95))
    assert results_table.lacks_reason(files[name])
    assert results_table.long_table(files).endswith(f"|\n\n`{name}` is below its floor: no reason is recorded.\n")
    monkeypatch.setitem(targets.WHY_UNDER_THE_FLOOR, name, "it is linear")
    assert not results_table.lacks_reason(files[name])
    assert results_table.long_table(files).endswith(f"|\n\n`{name}` is below its floor: it is linear.\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name recipes, or give --missing."),
        (["--missing", "lenet-mnist"], "name recipes, or give --missing."),
        (["--seeds", "x", "lenet-mnist"], "--seeds x is not valid"),
        (["--seeds", "1,2,1", "lenet-mnist"], "--seeds 1,2,1 repeats a seed"),
        (["fast-mnist"], "fast-mnist has no floor and goal."),
        (["lenet-mnits"], "there is no recipe 'lenet-mnits', did you mean 'lenet-mnist'?"),
    ],
)
def test_wrong_commands_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    monkeypatch.setattr("sys.argv", ["publish", *words])
    assert flags.status_of(publish.main) == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_published_weights_match_their_cards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measure the first 500 test images; `evaluate.py --weights all` measures all of them."""
    monkeypatch.setattr("sys.argv", ["evaluate.py", "--weights", "all", "--quick", "--json", "-"])
    assert flags.status_of(evaluate.main) == 0
    results = json.loads(capsys.readouterr().out)
    assert [result["weights"] for result in results] == PUBLISHED
    assert all(result["as_recorded"] for result in results)


@pytest.mark.parametrize("name", PUBLISHED)
def test_card_is_complete(name: str) -> None:
    file = cards.read(name)
    card, size = file.card, len(file.content)
    assert card["name"] == name
    assert name in publish.recipes()
    assert size <= publishing.MAX_FILE
    assert size <= publishing.MAX_FLOAT16_FILE or card["storage"] == "int8"
    assert card["metrics"]["test"]["images"] == 10_000
    wanted = ["hardware", "train_seconds", "multiply_adds", "licence", "seed", "command", "versions"]
    assert all(card[key] for key in wanted)
    variant, _, trained_on = name.partition("-")
    assert card["data"] == trained_on
    assert card["network"] == variant.partition("_relu")[0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipe_header_matches_the_card(name: str) -> None:
    text, card = (publish.RECIPES / f"{name}.yaml").read_text(), models.card(name)
    recipe, metrics, over = " ".join(text.replace("\n#", "").split()), card["metrics"], card["accuracy_over_seeds"]
    assert f"test accuracy {100 * metrics['test']['accuracy']:.2f} %" in recipe
    assert f"validation {100 * metrics['val']['accuracy']:.2f} %" in recipe
    if len(over["seeds"]) > 1:
        spread = f"{100 * over['test']['mean']:.2f} ± {100 * over['test']['sd']:.2f}"
        assert f"(seed {card['seed']}; {spread} over seeds {', '.join(map(str, over['seeds']))})" in recipe


def test_results_tables_match_the_cards() -> None:
    files = results_table.read_published()
    assert files.keys() == set(PUBLISHED)  # all of them have targets
    assert not any(map(results_table.lacks_reason, files.values()))
    for page, make_table in results_table.PAGES.items():
        assert results_table.replace_table(page, make_table(files)) == page.read_text(encoding="utf-8")


def test_every_network_has_targets() -> None:
    assert set(models.names()) <= targets.TARGETS.keys()


def test_all_published_files_fit_the_repository() -> None:
    sizes = [(cards.PUBLISHED / f"{name}.safetensors").stat().st_size for name in PUBLISHED]
    assert sum(sizes) <= publishing.MAX_ALL_FILES


def test_results_tables_need_no_torch() -> None:
    code = "import sys, publish, reports.results_table; sys.exit(bool({'torch', 'matplotlib'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text in ("", results_table.BEGIN, results_table.END, results_table.END + results_table.BEGIN):
        page.write_text(text)
        with pytest.raises(errors.SettingsError, match="lacks the marks"):
            results_table.replace_table(page, "")


def test_git_does_not_ignore_published_weights() -> None:
    names = [f"weights/{name}.safetensors" for name in PUBLISHED]
    command = ["git", "check-ignore", "--no-index", *names, "runs/x"]
    ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ignored.stdout == "runs/x\n"
