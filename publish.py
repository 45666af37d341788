"""Train recipes and publish their weights: weights/<recipe>.safetensors, its card, and the table in README.md.

`--missing` is for what has a floor and a goal (`TARGETS`) and no weights yet. A run that was stopped goes on, one that
has finished is used as it is, and weights are replaced only by better ones, by validation. What is published is the
network of the first seed; the others say how much a seed matters.
"""

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from launch import atomic, errors, flags, resume
from models import WeightsError, cards, did_you_mean

ROOT = Path(__file__).resolve().parent
RECIPES = ROOT / "configs" / "recipe"
README = ROOT / "README.md"
BEGIN, END = "<!-- the table of publish.py -->\n", "<!-- its end -->"
LARGEST, LARGEST_16_BIT, LARGEST_IN_ALL = 16 << 20, 6 << 20, 90 << 20  # bytes
NOT_THE_RECIPES = ("recipe", "seed", "run_dir", "resume", "trainer", "logger", "checkpoint", "report")
TARGETS = {  # test %: what a recipe should reach to be published, and what is above the best that others published
    "softmax_regression": {"mnist": (92.3, 92.7), "fashion_mnist": (84.0, 84.6)},
    "mlp": {"mnist": (98.3, 99.68), "fashion_mnist": (89.5, 91.9)},
    "lenet": {"mnist": (98.9, 99.3), "fashion_mnist": (89.5, 91.2)},
    "lenet_relu": {"mnist": (99.1, 99.5), "fashion_mnist": (91.0, 92.6)},
    "alexnet": {"mnist": (99.4, 99.7), "fashion_mnist": (93.0, 94.5)},
    "vgg11": {"mnist": (99.5, 99.77), "fashion_mnist": (93.8, 95.9)},
    "nin": {"mnist": (99.4, 99.77), "fashion_mnist": (92.5, 95.0)},
    "googlenet": {"mnist": (99.4, 99.72), "fashion_mnist": (93.3, 95.6)},
    "resnet18": {"mnist": (99.5, 99.8), "fashion_mnist": (94.0, 96.5)},
    "densenet": {"mnist": (99.5, 99.77), "fashion_mnist": (93.8, 95.8)},
    "rnn": {"mnist": (97.8, 98.9), "fashion_mnist": (87.5, 89.0)},
    "gru": {"mnist": (98.9, 99.4), "fashion_mnist": (89.8, 91.5)},
    "lstm": {"mnist": (98.9, 99.4), "fashion_mnist": (89.8, 91.5)},
}
WHY_UNDER_THE_FLOOR: dict[str, str] = {}  # recipe: the reason, which stands under the table
LICENCES = {"mnist": "CC BY-SA 3.0", "fashion_mnist": "MIT"}


def main() -> int:
    command = read_flags()
    names = [name for name in recipes() if targets(name) and is_missing(name)] if command.missing else command.recipes
    failed = []
    for name in names:
        try:
            print(publish(name, [train(name, seed) for seed in command.seeds]), flush=True)
            atomic.write(README, with_table(README.read_text(encoding="utf-8")).encode())
        except (WeightsError, errors.RunFailed) as error:  # the next recipe may do better
            failed.append(name)
            errors.report(error)
    if failed:
        raise errors.RunFailed(f"not published: {', '.join(failed)}.")
    return 0


def read_flags() -> argparse.Namespace:
    parser = flags.Flags(prog="publish.py", description=__doc__)
    add = parser.add_argument
    add("recipes", nargs="*", metavar="RECIPE", help="train this recipe and publish it")
    add("--missing", action="store_true", help="all with a floor and a goal that have no weights, or damaged ones")
    add("--seeds", default="1,2,3", metavar="S,S,...", help="default: 1,2,3")
    command = parser.parse_args()
    check_recipes(command.recipes)
    if bool(command.recipes) == command.missing:
        raise errors.SettingsError("name recipes, or say --missing.")
    command.seeds = read_seeds(command.seeds)
    cut_at_table(README.read_text(encoding="utf-8"))  # before hours of training, not behind them
    for name in command.recipes:
        if not targets(name):
            raise errors.SettingsError(f"{name} has no floor and goal. Name them in TARGETS of training/publish.py.")
    return command


def recipes() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def check_recipes(names: list[str]) -> None:
    for name in names:
        if name not in recipes():
            raise errors.SettingsError(f"there is no recipe {name!r}{did_you_mean(name, recipes())}")


def read_seeds(word: str) -> list[int]:
    if not all(seed.isdecimal() for seed in word.split(",")):
        raise errors.SettingsError(f"--seeds {word} is not valid, expected whole numbers such as 1,2,3.")
    seeds = [int(seed) for seed in word.split(",")]
    if len(set(seeds)) < len(seeds):
        raise errors.SettingsError(f"--seeds {word} names one twice: each counts once.")
    return seeds


def targets(name: str) -> tuple[float, float] | None:
    """Floor and goal of a recipe; None for one that is there for its speed, and not published."""
    variant, _, data = name.partition("-")
    return TARGETS.get(variant, {}).get(data)


def is_missing(name: str) -> bool:
    try:
        cards.read(name)
    except WeightsError:
        return True
    return False


def train(name: str, seed: int) -> Path:
    """The folder of the recipe's run with this seed, which is finished, and of the recipe as it is now."""
    folder = ROOT / "runs" / name / f"seed{seed}"
    begin = [f"recipe={name}", f"seed={seed}", f"run_dir={folder}"]
    words = [f"resume={folder}"] if resume.is_run(folder) else begin
    if run_to_its_end([sys.executable, str(ROOT / "train.py"), *words]):
        changed = f" If the recipe has changed since, take {errors.shown(folder)} away." if len(words) == 1 else ""
        raise errors.RunFailed(f"{name} was not trained with seed {seed}.{changed}")
    recorded = resume.read_yaml(folder / ".hydra" / "overrides.yaml", list)
    changed = [each for each in recorded if resume.key_of(each).split(".")[0] not in NOT_THE_RECIPES]
    if changed or f"recipe={name}" not in recorded:
        raise errors.RunFailed(f"{folder} is not a run of {name}: its overrides are {recorded}.")
    return folder


def run_to_its_end(command: list[str]) -> int:
    """The exit status. A signal to stop is passed on and its end waited for, as a training saves its work first.

    Raises Interrupted then.
    """
    process: subprocess.Popen[bytes] | None = None
    asked: list[int] = []

    def pass_on(number: int, _: object) -> None:
        asked.append(number)
        if process:
            process.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process = subprocess.Popen(command, cwd=ROOT, process_group=0)  # or Ctrl-C would reach it twice
        if asked:  # before there was a process
            process.send_signal(asked[0])
        status = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if asked:
        raise errors.Interrupted(f"stopped by {signal.Signals(asked[0]).name}", 128 + asked[0])
    return status


def publish(name: str, folders: list[Path]) -> str:
    """Store the network of the first run, measured as it is loaded again. Returns what to say of it."""
    from models.weights import load_network, restore, serialize, store

    def as_stored(run: cards.WeightsFile) -> Any:
        network = load_network(run)
        network.load_state_dict(restore(store(network, storage)))
        return network

    runs = [cards.read(folder) for folder in folders]
    records = [json.loads((folder / "metrics.json").read_bytes()) for folder in folders]
    network, card = load_network(runs[0]), runs[0].card
    storage = "float16" if 2 * sum(p.numel() for p in network.parameters()) <= LARGEST_16_BIT else "int8"
    measured = [measure(as_stored(run), card) for run in runs]
    facts = {key: value for key, value in card.items() if key not in ("network", "arguments", "storage")}
    facts |= {"name": name, "metrics": measured[0], **provenance(name, card, records[0])}
    facts["accuracy_over_seeds"] = {
        "seeds": [record["seed"] for record in records],
        **{split: over_seeds([figures[split] for figures in measured]) for split in ("val", "test")},
    }
    content = serialize(network, card["network"], card["arguments"], facts, storage)
    file = cards.parse(cards.PUBLISHED / f"{name}.safetensors", content)
    check_size(file)
    before = published_before(file.path, name)
    if before and is_worse(file.card["metrics"]["val"], before.card["metrics"]["val"]):
        write_beside(before)  # its card may be what was missing
        return f"{name}: what is published is better on validation, and stays"
    cards.PUBLISHED.mkdir(exist_ok=True)
    atomic.write(file.path, content)
    write_beside(file)
    accuracy = file.card["metrics"]["test"]["accuracy"]
    under = ", under its floor: say why in WHY_UNDER_THE_FLOOR" if is_under_the_floor(file) else ""
    return f"{name}: test accuracy {accuracy:.4f}{under}, {len(content) / 1e3:.0f} kB, published"


def check_size(file: cards.WeightsFile) -> None:
    """Raises WeightsError if the file, or all files with it, would be larger than may be published."""
    name, size = file.path.stem, len(file.content)
    if size > LARGEST:
        raise WeightsError(f"{name} would be {size} bytes, at most {LARGEST} may be published.")
    others = sum(path.stat().st_size for path in cards.PUBLISHED.glob("*.safetensors") if path != file.path)
    if others + size > LARGEST_IN_ALL:
        raise WeightsError(f"with {name} all weights would be over {LARGEST_IN_ALL} bytes.")


def published_before(path: Path, name: str) -> cards.WeightsFile | None:
    """The file to be replaced, whatever became of the card beside it; None if it is damaged, or another's."""
    try:
        file = cards.parse(path, path.read_bytes())
    except (OSError, WeightsError):
        return None
    return file if file.card.get("name") == name else None


def write_beside(file: cards.WeightsFile) -> None:
    card = json.dumps(cards.beside_file(file), indent=2, sort_keys=True) + "\n"
    atomic.write(file.path.with_suffix(".json"), card.encode())


def measure(network: Any, card: dict[str, Any]) -> dict[str, Any]:
    """The figures of a card, each on its split as the run cut it; `quick` on the first test images."""
    from data import load
    from training.evaluation import QUICK, compute_metrics, predict_logits, preprocess_of

    sizes = {key: card["training"][key] for key in ("train_size", "val_size", "test_size")}
    splits, preprocess = load(card["data"], card["arguments"]["num_classes"], **sizes), preprocess_of(card)
    logits = predict_logits(network, splits.test, preprocess)
    return {
        "val": compute_metrics(predict_logits(network, splits.val, preprocess), splits.val.labels)
        if splits.val
        else None,
        "test": compute_metrics(logits, splits.test.labels),
        "quick": compute_metrics(logits[:QUICK], splits.test.labels[:QUICK]),
    }


def provenance(name: str, card: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Where the weights come from, by the metrics.json of their run, and what the network costs."""
    from models.description import describe

    stages = describe(card["network"], **card["arguments"])
    return {
        "command": f"uv run train.py recipe={name} seed={record['seed']}",
        "seed": record["seed"],
        "hardware": record.get("machine", record["device"]),
        "train_seconds": record["train_seconds"],
        "parameters": record["parameters"],
        "multiply_adds": sum(stage.multiply_adds for stage in stages),
        "licence": f"MIT; trained on {card['data']} ({LICENCES[card['data']]})",
    }


def over_seeds(figures: list[dict[str, Any] | None]) -> dict[str, float | None] | None:
    """How much a seed matters for the accuracy."""
    values = [each["accuracy"] for each in figures if each]
    return {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else None} if values else None


def is_under_the_floor(file: cards.WeightsFile) -> bool:
    floor, _ = targets(file.path.stem) or (0, 100)
    return 100 * file.card["metrics"]["test"]["accuracy"] < floor


def is_worse(new: dict[str, Any] | None, old: dict[str, Any] | None) -> bool:
    """Raises WeightsError where one of them was not validated."""
    if not new or not old:
        raise WeightsError("without validation nobody can say which is better. Take the old weights away first.")
    return new["accuracy"] < old["accuracy"]


def table() -> str:
    """The published weights in Markdown, from their cards alone, and why some are under their floors."""
    heads = ("weights", "test %", "over the seeds", "floor", "goal", "parameters", "kB", "training")
    lines = [heads, ("---", *["---:"] * (len(heads) - 1))]
    reasons = []
    for name in cards.published():
        try:
            file = cards.read(name)
        except WeightsError as error:  # it has no figure then
            errors.report(error)
            continue
        card = file.card
        if is_under_the_floor(file):
            reasons.append(f"`{name}` is under its floor: {WHY_UNDER_THE_FLOOR.get(name, 'nobody has said why')}.\n")
        over = card["accuracy_over_seeds"]["test"]
        variant, _, data = name.partition("-")
        seeds = len(card["accuracy_over_seeds"]["seeds"])
        lines.append(
            (
                f"`{name}`",
                f"{100 * card['metrics']['test']['accuracy']:.2f}",
                f"{100 * over['mean']:.2f} ± {100 * over['sd']:.2f} ({seeds})" if over["sd"] is not None else "one",
                *(f"{target:.2f}" for target in TARGETS[variant][data]),
                f"{card['parameters']:,}",
                f"{len(file.content) / 1e3:,.0f}",
                duration(card["train_seconds"]),
            )
        )
    return "".join([*(f"| {' | '.join(line)} |\n" for line in lines), *(f"\n{reason}" for reason in reasons)])


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def with_table(text: str) -> str:
    """The README with the table of now between its two marks."""
    before, after = cut_at_table(text)
    return before + BEGIN + table() + END + after


def cut_at_table(text: str) -> tuple[str, str]:
    if BEGIN not in text or END not in text:
        raise errors.SettingsError(f"{README} lacks the marks {BEGIN.strip()} and {END} that hold the table.")
    before, _, rest = text.partition(BEGIN)
    return before, rest.partition(END)[2]


if __name__ == "__main__":
    flags.run(main)
