"""Make the page of a run: learning curves, classes, calibration, the most confident mistakes, the configuration."""

from typing import Any

import yaml
from markupsafe import Markup
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from data.splits import Images

from . import page

BINS = 10  # of the reliability diagram: 0 to 0.1, ..., 0.9 to 1
MAX_MISTAKES = 32


def render(
    config: dict[str, Any],
    overrides: list[str],
    metrics: dict[str, Any],
    rows: list[dict[str, Any]],
    logits: Tensor,
    test: Images,
    classes: tuple[str, ...],
) -> str:
    """Return the HTML page of a run.

    `metrics` is its metrics.json, `rows` are those of metrics.csv; `logits` (N, num_classes) are those of the tested
    network for the N images of `test`.
    """
    names = [*classes, *map(str, range(len(classes), logits.shape[1]))]
    predicted, labels = logits.argmax(dim=1), test.labels
    confidence = logits.double().softmax(dim=1).amax(dim=1)
    correct = predicted == labels
    matrix = multiclass_confusion_matrix(predicted, labels, len(names))
    bins = reliability(confidence, correct)
    with page.style():
        figures = {
            **(curves(rows, metrics["epoch"]) if len(rows) > 1 else {}),
            "reliability": reliability_diagram(bins),
        }
    return page.fill(
        "run_report.html.j2",
        metrics=metrics,
        last=rows[-1],
        command=page.command_line(overrides),
        configuration=yaml.safe_dump({k: v for k, v in config.items() if k not in page.HIDDEN_KEYS}, sort_keys=False),
        figures=figures,
        names=names,
        matrix=matrix.tolist(),
        largest_mistake=int(matrix.clone().fill_diagonal_(0).max()),
        classes=per_class(matrix),
        bins=bins,
        calibration_error=sum(each["share"] * abs(each["accuracy"] - each["confidence"]) for each in bins),
        mistakes=[
            {
                "index": index,
                "true": names[labels[index]],
                "predicted": names[predicted[index]],
                "confidence": confidence[index].item(),
                "png": page.png_address(test.images[index].permute(1, 2, 0).squeeze(2).contiguous().numpy()),
            }
            for index in most_confident_mistakes(confidence, correct)
        ],
        number_of_mistakes=int((~correct).sum()),
    )


def per_class(matrix: Tensor) -> list[dict[str, Any]]:
    """Compute precision, recall, F1 and support of each class from a confusion matrix (true, predicted).

    Precision is None for a class that was never predicted, recall for one without images, F1 for one with neither.
    """
    counts = zip(matrix.diagonal().tolist(), matrix.sum(dim=0).tolist(), matrix.sum(dim=1).tolist(), strict=True)
    return [
        {
            "precision": hits / predicted if predicted else None,
            "recall": hits / support if support else None,
            "f1": 2 * hits / (predicted + support) if predicted + support else None,
            "support": support,
        }
        for hits, predicted, support in counts
    ]


def reliability(confidence: Tensor, correct: Tensor) -> list[dict[str, Any]]:
    """Compute limits, number and share of images, mean confidence and accuracy of each bin that is not empty.

    It is ours because torchmetrics has the calibration error only, and puts a confidence that rounds to 1 into a bin of
    its own.
    """
    index = (confidence * BINS).long().clamp(max=BINS - 1)
    images = index.bincount(minlength=BINS)
    confidences, accuracies = (index.bincount(each, BINS) / images for each in (confidence, correct.double()))
    return [
        {
            "begin": i / BINS,
            "end": (i + 1) / BINS,
            "images": int(images[i]),
            "share": images[i].item() / len(correct),
            "confidence": confidences[i].item(),
            "accuracy": accuracies[i].item(),
        }
        for i in range(BINS)
        if images[i]
    ]


def most_confident_mistakes(confidence: Tensor, correct: Tensor) -> list[int]:
    """Return the indices of at most MAX_MISTAKES misclassified images, the most confident first, ties by index."""
    wrong = (~correct).nonzero().flatten()
    return wrong[confidence[wrong].argsort(descending=True, stable=True)][:MAX_MISTAKES].tolist()


def curves(rows: list[dict[str, Any]], chosen: int | None) -> dict[str, Markup]:
    """Draw the columns of metrics.csv over the epochs; `chosen` is the epoch whose network was tested."""
    splits = ("train", "val") if rows[-1]["val_loss"] is not None else ("train",)
    drawn = {
        "loss": ("Loss", [f"{split}_loss" for split in splits]),
        "accuracy": ("Accuracy", [f"{split}_accuracy" for split in splits]),
        "learning_rate": ("Learning rate", ["learning_rate"]),
        "speed": ("Training images per second", ["images_per_second"]),
    }
    return {f"{name}_curve": curve(rows, name, title, columns, chosen) for name, (title, columns) in drawn.items()}


def curve(rows: list[dict[str, Any]], name: str, title: str, columns: list[str], chosen: int | None) -> Markup:
    figure = page.new_figure(height=230)
    axes = figure.subplots()
    axes.set_title(title)
    epochs = [row["epoch"] for row in rows]
    for column in columns:
        split = column.partition("_")[0]
        colour, line = ("muted", "--") if split == "train" else ("blue", "-")
        values = [row[column] for row in rows]
        axes.plot(epochs, values, line, color=page.COLOURS[colour][0], marker="o" if len(rows) <= 20 else None)
    page.epoch_axis(axes, epochs)
    values = [row[column] for row in rows for column in columns]
    if name == "loss":
        page.use_log_axis(axes, values)
    elif name == "accuracy":
        page.use_log_axis(axes, values, limit=1)
    else:
        axes.set_ylim(bottom=0)
    if chosen not in (None, epochs[-1]):
        axes.axvline(chosen, color=page.COLOURS["vermilion"][0], linewidth=1)
    first, last = rows[0], rows[-1]
    label = "; ".join(f"{column.replace('_', ' ')} from {first[column]} to {last[column]}" for column in columns)
    return page.svg(figure, name, f"{title} over {len(rows)} epochs: {label}.")


def reliability_diagram(bins: list[dict[str, Any]]) -> Markup:
    figure = page.new_figure(height=340)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    begins, width = [each["begin"] for each in bins], 1 / BINS
    style = {"width": 0.9 * width, "align": "edge", "color": page.COLOURS["blue"][0]}
    begins = [begin + 0.05 * width for begin in begins]
    upper.plot((0, 1), (0, 1), "--", color=page.COLOURS["ink"][0], linewidth=1.2)
    upper.bar(begins, [each["accuracy"] for each in bins], **style)
    upper.set(title="Accuracy", ylim=(0, 1.02), xlim=(0, 1))
    lower.bar(begins, [each["share"] for each in bins], **style)
    lower.set(title="Share of the images", xlabel="confidence", ylim=(0, 1))
    label = "; ".join(f"{each['begin']:.1f} to {each['end']:.1f}: {each['accuracy']:.4f}" for each in bins)
    return page.svg(figure, "reliability", f"Accuracy by confidence. {label}.")
