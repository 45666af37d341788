"""Publish the network that a recipe has trained, in weights/."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import data
from launch import atomic, errors, resume
from launch.trainings import Training
from models import WeightsError, cards
from models.description import describe
from models.weights import load_network, restore, serialize, store

from .evaluation import QUICK, compute_metrics, data_of, measure, preprocess_of

MAX_FILE, MAX_FLOAT16_FILE, MAX_ALL_FILES = 16 << 20, 6 << 20, 90 << 20  # bytes
OTHER_OVERRIDES = ("recipe", "seed", "run_dir", "resume", "trainer", "logger", "checkpoint", "report")


def publish(trainings: list[Training], device: str) -> str:
    """Publish the network of the first of these runs, measured as it is stored; return a line that says what was done.

    Raises RunFailed where a run did not end or is not one of its recipe, WeightsError for a file that is too large, and
    where it cannot be compared with the published one.
    """
    for training in trainings:
        require_finished(training)
    name, folders = trainings[0].name, [training.folder for training in trainings]
    runs = [cards.read(folder) for folder in folders]
    records = [json.loads((folder / "metrics.json").read_bytes()) for folder in folders]
    card = runs[0].card
    storage = "float16" if 2 * records[0]["parameters"] <= MAX_FLOAT16_FILE else "int8"
    measured = [measure_as_stored(run, storage, device) for run in runs]
    fields = {key: value for key, value in card.items() if key not in ("network", "arguments", "storage")}
    fields |= {"name": name, "metrics": measured[0], **provenance(trainings[0].recipe, card, records[0])}
    fields["accuracy_over_seeds"] = {
        "seeds": [record["seed"] for record in records],
        **{
            split: mean_and_sd([each[split]["accuracy"] for each in measured if each[split]])
            for split in ("val", "test")
        },
    }
    content = serialize(load_network(runs[0]), card["network"], card["arguments"], fields, storage)
    file = cards.parse(cards.PUBLISHED / f"{name}.safetensors", content)
    check_size(file)
    before = read_previous(file.path)
    if before and is_worse(file.card["metrics"]["val"], before.card["metrics"]["val"]):
        write_card(before)  # the card may be what was missing
        return f"{name}: the published weights are better on validation, and are kept"
    cards.PUBLISHED.mkdir(exist_ok=True)
    atomic.write(file.path, content)
    write_card(file)
    trained, stored = (each["test"]["accuracy"] for each in (records[0], measured[0]))
    return f"{name}: test accuracy {stored:.4f} as stored ({trained:.4f} as trained), {len(content) / 1e3:.0f} kB"


def require_finished(training: Training) -> None:
    """Raise RunFailed where a training did not end, or was not one by the recipe as it is now."""
    if training.status:
        why = "".join(training.errors.splitlines()[-1:]).removeprefix("refzoo: ")
        hint = f" If the recipe has changed since, remove {errors.shown(training.folder)}." if training.is_begun else ""
        raise errors.RunFailed(f"{training} ended with status {training.status}: {why}{hint}")
    recorded = resume.read_yaml(training.folder / ".hydra" / "overrides.yaml", list)
    changed = [each for each in recorded if resume.key_of(each).split(".")[0] not in OTHER_OVERRIDES]
    if changed or f"recipe={training.recipe}" not in recorded:
        raise errors.RunFailed(f"{training.folder} is not a run of {training.recipe}: its overrides are {recorded}.")


def measure_as_stored(run: cards.WeightsFile, storage: str, device: str) -> dict[str, Any]:
    """Return the metrics of a network whose weights are rounded by `storage`; `quick`: of the first test images."""
    network, card = load_network(run), run.card
    network.load_state_dict(restore(store(network, storage)))
    splits = data.load(**data_of(card))
    metrics, logits = measure(network, splits, preprocess_of(card), device)
    return metrics | {"quick": compute_metrics(logits[:QUICK], splits.test.labels[:QUICK])}


def provenance(recipe: str, card: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a card on the training, by the run's metrics.json, and on the size."""
    stages = describe(card["network"], **card["arguments"])
    return {
        "command": f"uv run train.py recipe={recipe} seed={record['seed']}",
        "seed": record["seed"],
        "hardware": record.get("machine", record["device"]),
        "train_seconds": record["train_seconds"],
        "parameters": record["parameters"],
        "multiply_adds": sum(stage.multiply_adds for stage in stages),
        "licence": f"MIT; trained on {card['data']} ({data.DATASETS[card['data']].licence})",
    }


def mean_and_sd(accuracies: list[float]) -> dict[str, float | None] | None:
    """Return the mean and the standard deviation of the sample (None for one value); None without values."""
    if not accuracies:
        return None
    return {"mean": mean(accuracies), "sd": stdev(accuracies) if len(accuracies) > 1 else None}


def check_size(file: cards.WeightsFile) -> None:
    """Raise WeightsError if the file, or all published files together, would exceed the limits of the repository."""
    name, size = file.path.stem, len(file.content)
    if size > MAX_FILE:
        raise WeightsError(f"{name} would be {size} bytes, at most {MAX_FILE} may be published.")
    others = sum(path.stat().st_size for path in cards.PUBLISHED.glob("*.safetensors") if path != file.path)
    if others + size > MAX_ALL_FILES:
        raise WeightsError(f"with {name} all published weights would exceed {MAX_ALL_FILES} bytes.")


def read_previous(path: Path) -> cards.WeightsFile | None:
    """Read the weights to be replaced, without the card beside them; None if they are missing, damaged or misnamed."""
    try:
        file = cards.parse(path, path.read_bytes())
    except (OSError, WeightsError):
        return None
    return file if file.card.get("name") == path.stem else None


def is_worse(new: dict[str, Any] | None, old: dict[str, Any] | None) -> bool:
    """Compare validation metrics. Raises WeightsError if one of them is missing."""
    if not new or not old:
        raise WeightsError("weights without validation cannot be compared. Remove the published ones first.")
    return new["accuracy"] < old["accuracy"]


def write_card(file: cards.WeightsFile) -> None:
    card = json.dumps(cards.beside_file(file), indent=2, sort_keys=True) + "\n"
    atomic.write(file.path.with_suffix(".json"), card.encode())
