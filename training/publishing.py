"""Train a recipe in processes of their own, and publish the network of its first seed in weights/."""

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import data
from launch import atomic, errors, processes, resume
from launch.run_dir import is_run
from models import WeightsError, cards
from models.description import describe
from models.weights import load_network, restore, serialize, store

from .evaluation import QUICK, compute_metrics, measure, preprocess_of

ROOT = Path(__file__).resolve().parents[1]
MAX_FILE, MAX_FLOAT16_FILE, MAX_ALL_FILES = 16 << 20, 6 << 20, 90 << 20  # bytes
OTHER_OVERRIDES = ("recipe", "seed", "run_dir", "resume", "trainer", "logger", "checkpoint", "report")


def train(recipe: str, seed: int) -> Path:
    """Train a recipe to its end, or resume it, and return the run folder. Raises RunFailed if that is not its run."""
    folder = ROOT / "runs" / recipe / f"seed{seed}"
    is_begun = is_run(folder)
    overrides = [f"resume={folder}"] if is_begun else [f"recipe={recipe}", f"seed={seed}", f"run_dir={folder}"]
    if processes.run([sys.executable, str(ROOT / "train.py"), *overrides], cwd=ROOT):
        hint = f" If the recipe has changed since, remove {errors.shown(folder)}." if is_begun else ""
        raise errors.RunFailed(f"{recipe} was not trained with seed {seed}.{hint}")
    recorded = resume.read_yaml(folder / ".hydra" / "overrides.yaml", list)
    changed = [each for each in recorded if resume.key_of(each).split(".")[0] not in OTHER_OVERRIDES]
    if changed or f"recipe={recipe}" not in recorded:
        raise errors.RunFailed(f"{folder} is not a run of {recipe}: its overrides are {recorded}.")
    return folder


def publish(name: str, folders: list[Path]) -> str:
    """Publish the network of the first of these runs, measured as it is stored; return a line that says what was done.

    Raises WeightsError for a file that is too large, and where it cannot be compared with the published one.
    """
    runs = [cards.read(folder) for folder in folders]
    records = [json.loads((folder / "metrics.json").read_bytes()) for folder in folders]
    card = runs[0].card
    storage = "float16" if 2 * records[0]["parameters"] <= MAX_FLOAT16_FILE else "int8"
    measured = [measure_as_stored(run, storage) for run in runs]
    fields = {key: value for key, value in card.items() if key not in ("network", "arguments", "storage")}
    fields |= {"name": name, "metrics": measured[0], **provenance(name, card, records[0])}
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
    accuracy = file.card["metrics"]["test"]["accuracy"]
    return f"{name}: test accuracy {accuracy:.4f}, {len(content) / 1e3:.0f} kB, published"


def measure_as_stored(run: cards.WeightsFile, storage: str) -> dict[str, Any]:
    """Return the metrics of a network whose weights are rounded by `storage`; `quick`: of the first test images."""
    network, card = load_network(run), run.card
    network.load_state_dict(restore(store(network, storage)))
    sizes = {key: card["training"][key] for key in ("train_size", "val_size", "test_size")}
    splits = data.load(card["data"], card["arguments"]["num_classes"], **sizes)
    metrics, logits = measure(network, splits, preprocess_of(card))
    return metrics | {"quick": compute_metrics(logits[:QUICK], splits.test.labels[:QUICK])}


def provenance(name: str, card: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a card on the training, by the run's metrics.json, and on the size."""
    stages = describe(card["network"], **card["arguments"])
    return {
        "command": f"uv run train.py recipe={name} seed={record['seed']}",
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
