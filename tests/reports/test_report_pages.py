"""Test the HTML pages of runs and sweeps: well-formed, self-contained, and equal to their metrics."""

import base64
import csv
import functools
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import RunTrain
from PIL import Image
from torchmetrics.functional.classification import multiclass_calibration_error

from data import DATASETS
from data.splits import Images
from launch.sweep import Outcome, Sweep
from reports import page, run_report, sweep_report
from reports.sweep_results import Job, summarise

VOID = {"meta", "link", "img", "br"}
OUTSIDE = re.compile(r"://|@import|<script", re.IGNORECASE)


class Page(HTMLParser):
    """Parse a page. Fail unless all tags are closed in order and the page needs no other file."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.tables: list[list[list[str]]] = []
        self.text, ids, used = "", [], []
        self.ids, self.used = ids, used
        assert html.startswith("<!DOCTYPE html>")
        self.feed(html)
        self.close()
        assert self.open == []
        assert len(ids) == len(set(ids))
        assert set(used) <= set(ids)
        assert not OUTSIDE.search(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        for name, value in attrs:
            for address in re.findall(r"url\(([^)]*)\)", value or "") + [value or ""] * (name in ("href", "src")):
                if address.startswith("#"):
                    self.used.append(address[1:])
                elif not address.startswith("data:"):
                    assert (tag, name) == ("a", "href"), address
                    assert not re.match(r"/|\w+:", address)
        assert not [name for name in values if name.startswith("on")]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "a":
            self.links.append(values["href"] or "")
        elif tag == "img":
            assert values["alt"]
            self.pictures.append(values)
        elif tag == "svg":
            assert (values["role"], bool(values["aria-label"])) == ("img", True)
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            assert "url(" not in data
            return
        self.text = f"{self.text} {data.strip()}".strip()
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data.strip()


def row(epoch: int, epochs: int, validated: bool) -> dict[str, Any]:
    left = 0.9 ** (30 * epoch / epochs)
    return {
        "epoch": epoch,
        "train_loss": round(2 * left, 6),
        "train_accuracy": round(1 - 0.9 * left, 6),
        "val_loss": round(1.9 * left, 6) if validated else None,
        "val_accuracy": round(1 - 0.8 * left, 6) if validated else None,
        "learning_rate": 0.01 * left,
        "images_per_second": 1000 + epoch,
    }


def made_up(
    logits: torch.Tensor,
    labels: torch.Tensor,
    classes: tuple[str, ...] = DATASETS["mnist"].classes,
    epochs: int = 3,
    epoch: int = 3,
    validated: bool = True,
) -> dict[str, Any]:
    """Return made-up arguments of `run_report.render`."""
    images = torch.randint(256, (len(labels), 1, 28, 28), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    metrics = {
        "model": "lenet",
        "data": "mnist",
        "seed": 3,
        "epochs": epochs,
        "image_size": 28,
        "parameters": 44_426,
        "device": "cpu",
        "precision": "32-true",
        "versions": {"python": "3.13.1", "torch": "2.14.0"},
        "train_seconds": 41.25,
        "images_per_second": 8123,
        "train": {"loss": 0.1, "accuracy": 0.97, "images": 576},
        "val": {"loss": 0.21234, "accuracy": 0.87654, "images": 5000} if validated else None,
        "test": {"loss": 0.31234, "accuracy": 0.65432, "images": len(labels)},
        "epoch": epoch,
        "weights_sha256": "0123abcd",
    }
    rows = [row(i + 1, epochs, validated) for i in range(epochs)]
    overrides = ["model.activation=relu", "optimizer.betas=[0.8, 0.9]", "run_dir=/somewhere", "epochs=3"]
    config = {"run_dir": "/somewhere", "epochs": epochs, "loss": {"l1": 0.0}}
    return {
        "config": config,
        "overrides": overrides,
        "metrics": metrics,
        "rows": rows,
        "logits": logits,
        "test": Images(images, labels),
        "classes": classes,
    }


@functools.cache
def ordinary() -> tuple[dict[str, Any], str]:
    """Return the arguments and the page of a run of 100 epochs, tested on 1,000 images, about half of them correct."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(10, (1000,), generator=generator)
    logits = 2 * torch.randn(1000, 10, generator=generator)
    logits[torch.arange(1000), labels] += 3
    arguments = made_up(logits, labels, epochs=100, epoch=60)
    return arguments, run_report.render(**arguments)


def answers(arguments: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute true classes, predicted classes and confidences with numpy."""
    logits = arguments["logits"].numpy().astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return arguments["test"].labels.numpy(), logits.argmax(1), probabilities.max(1)


def test_page_shows_the_metrics() -> None:
    arguments, html = ordinary()
    text = Page(html).text
    for figure in (
        "0.6543 loss 0.3123, 1,000 images",
        "0.8765 loss 0.2123, 5,000 images",
        "100 of 576 images",
        "44,426",
    ):
        assert figure in text
    assert "the best one, 60, was tested" in text
    assert "epoch 60: its network was tested" in text
    assert "training time 41 s cpu" in text
    assert "training time 41.25 s images per second 8,123" in text
    assert "torch 2.14.0" in text
    assert "SHA-256 of the stored weights: 0123abcd" in text
    assert "uv run train.py model.activation=relu 'optimizer.betas=[0.8, 0.9]' epochs=3" in text
    assert "epochs: 100\nloss:\n  l1: 0.0" in text
    assert "somewhere" not in html
    first, last = arguments["rows"][0], arguments["rows"][-1]
    for column in ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate"):
        assert f"{column.replace('_', ' ')} from {first[column]} to {last[column]}" in html


def test_page_is_deterministic() -> None:
    arguments, html = ordinary()
    assert run_report.render(**arguments) == html
    assert len(html) < 600_000


def test_page_shows_the_confusion_matrix_and_class_metrics() -> None:
    arguments, html = ordinary()
    matrix, classes = Page(html).tables[:2]
    labels, predicted, _ = answers(arguments)
    counted = np.zeros((10, 10), int)
    np.add.at(counted, (labels, predicted), 1)
    assert matrix[0] == ["", *"0123456789"]
    assert [line[0] for line in matrix[1:]] == list("0123456789")
    assert [[int(cell or 0) for cell in line[1:]] for line in matrix[1:]] == counted.tolist()
    assert counted.sum() == 1000
    for i, (name, *figures, support) in enumerate(classes[1:]):
        precision, recall = (predicted == labels)[predicted == i].mean(), (predicted == labels)[labels == i].mean()
        expected = [precision, recall, 2 * precision * recall / (precision + recall)]
        assert (name, figures, int(support)) == (str(i), [f"{x:.4f}" for x in expected], (labels == i).sum())


def test_page_shows_the_most_confident_mistakes() -> None:
    arguments, html = ordinary()
    content = Page(html)
    labels, predicted, confidence = answers(arguments)
    wrong = np.flatnonzero(labels != predicted)
    chosen = wrong[np.argsort(-confidence[wrong])][:32]
    assert f"32 of {len(wrong)} mistakes" in content.text
    assert len(content.pictures) == 32
    for index, shown in zip(chosen, content.pictures, strict=True):
        assert shown["alt"] == f"test image {index}: {labels[index]}"
        assert f"{labels[index]} → {predicted[index]} {confidence[index]:.4f} #{index}" in content.text
        png = base64.b64decode((shown["src"] or "").removeprefix("data:image/png;base64,"), validate=True)
        pixels = np.asarray(Image.open(io.BytesIO(png)))
        np.testing.assert_array_equal(pixels, arguments["test"].images[index, 0].numpy())
    assert "image-rendering: pixelated" in html


def test_reliability_bins_hold_accuracy_confidence_and_share() -> None:
    confidence = torch.tensor([0.25, 0.55, 0.51, 0.9, 1.0, 0.95, 1.0], dtype=torch.float64)
    correct = torch.tensor([False, True, False, True, True, False, True])
    bins = run_report.reliability(confidence, correct)
    assert [(each["begin"], each["end"], each["images"]) for each in bins] == [
        (0.2, 0.3, 1),
        (0.5, 0.6, 2),
        (0.9, 1, 4),
    ]
    assert [each["accuracy"] for each in bins] == [0, 1 / 2, 3 / 4]
    assert [each["confidence"] for each in bins] == pytest.approx([0.25, 0.53, 0.9625])
    assert [each["share"] for each in bins] == pytest.approx([1 / 7, 2 / 7, 4 / 7])


def test_calibration_error_equals_torchmetrics() -> None:
    arguments, html = ordinary()
    content = Page(html)
    probabilities = arguments["logits"].softmax(1)
    expected = multiclass_calibration_error(probabilities, arguments["test"].labels, 10, n_bins=10, norm="l1").item()
    assert f"The expected calibration error, the mean distance from that line, is {expected:.4f}." in content.text
    assert expected > 0.01
    bins = content.tables[2][1:]
    assert sum(int(line[3]) for line in bins) == 1000
    assert sum(abs(float(line[1]) - float(line[2])) * float(line[4]) for line in bins) == pytest.approx(
        expected, abs=1e-3
    )


def test_page_of_a_minimal_run_is_complete() -> None:
    """Render one epoch without validation or mistakes, and class names that must be escaped."""
    labels = torch.tensor([0, 1, 1, 2, 2])
    names = ("<b>", '"&"', "$x$")
    arguments = made_up(torch.eye(12)[labels] * 99, labels, names, epochs=1, epoch=1, validated=False)
    content = Page(run_report.render(**arguments))
    matrix, classes, bins = content.tables
    assert matrix[0] == ["", *names, *map(str, range(3, 12))]
    assert classes[1:4] == [[name, "1.0000", "1.0000", "1.0000", n] for name, n in zip(names, "122", strict=True)]
    assert classes[4] == ["3", "-", "-", "-", "0"]
    assert bins[1:] == [["0.9 to 1.0", "1.0000", "1.0000", "5", "1.0000"]]
    assert "None: all 5 test images were classified correctly." in content.text
    assert "validation none" in content.text
    assert content.pictures == []
    assert "One epoch Training loss" in content.text
    assert "Learning curves need two epochs." in content.text


def test_class_metrics_are_none_without_predictions_or_images() -> None:
    first, second, third = run_report.per_class(torch.tensor([[2, 0, 1], [1, 0, 0], [0, 0, 0]]))
    assert first == {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3}
    assert second == {"precision": None, "recall": 0, "f1": 0, "support": 1}
    assert third == {"precision": 0, "recall": None, "f1": 0, "support": 0}


def test_equally_confident_mistakes_are_ordered_by_index() -> None:
    confidence = torch.tensor([0.5, 0.9, 0.5, 0.9, 0.8, 0.9])
    correct = torch.tensor([False, False, False, True, False, False])
    assert run_report.most_confident_mistakes(confidence, correct) == [1, 5, 4, 0, 2]
    assert run_report.most_confident_mistakes(confidence, torch.ones(6, dtype=torch.bool)) == []


def lines(svg: str, colour: str) -> list[np.ndarray]:
    """Return the points (x, y) of the lines and areas of this colour, with y upwards."""
    paths = re.findall(rf'<path d="([^"]*)"[^>]*style="[^"]*: var\(--{colour}\)', svg)
    points = [np.array(re.findall(r"[ML] (\S+) (\S+)", path), float) for path in paths]
    return [each * (1, -1) for each in points if len(each) > 1]


@pytest.mark.parametrize(
    ("name", "values", "scale"),
    [
        ("loss", [0.9, 0.4, 0.5, 0.3], lambda y: y),
        ("loss", [2, 0.4, 0.02, 0.03], np.log),
        ("accuracy", [0.6, 0.5, 0.7, 0.8], lambda y: y),
        ("accuracy", [0.5, 0.9, 0.99, 0.98], lambda y: -np.log(1 - y)),
        ("accuracy", [0.1, 0.9, 0.99, 1], lambda y: y),
    ],
)
def test_curve_goes_through_its_values(name: str, values: list[float], scale: Callable[[Any], Any]) -> None:
    rows = [{"epoch": i + 1, f"val_{name}": y, f"train_{name}": y / 2} for i, y in enumerate(values)]
    with page.style():
        svg = run_report.curve(rows, name, name, [f"train_{name}", f"val_{name}"], chosen=2)
    ((x, y),) = (points.T for points in lines(svg, "blue"))
    assert np.corrcoef(x, [1, 2, 3, 4])[0, 1] == pytest.approx(1)
    assert np.corrcoef(y, scale(np.array(values)))[0, 1] == pytest.approx(1)
    assert ((y > -230) & (y < 0)).all()  # inside the figure
    ((mark, _),) = (points.T for points in lines(svg, "vermilion"))
    assert mark == pytest.approx(x[1])


def test_bars_are_as_high_as_the_accuracy() -> None:
    bins = [{"begin": b, "end": b + 0.1, "accuracy": a, "share": s} for b, a, s in ((0.2, 0.5, 0.1), (0.9, 1, 0.9))]
    with page.style():
        upper, lower = np.split(np.array(lines(run_report.reliability_diagram(bins), "blue")), 2)
    for bars, heights in ((upper, [0.5, 1]), (lower, [0.1, 0.9])):
        assert np.ptp(bars[..., 1], axis=1) / np.ptp(bars[1, :, 1]) == pytest.approx(np.array(heights) / heights[1])


def test_colours_have_enough_contrast() -> None:
    """Compute the contrast of the Web Content Accessibility Guidelines 2.2, on light and dark backgrounds."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for mode in (0, 1):
        paper = luminance(page.COLOURS["paper"][mode])
        for name, least in {"ink": 7, "muted": 4.5, "blue": 4.5, **dict.fromkeys(page.SERIES[1:], 3)}.items():
            bright, dark = sorted((luminance(page.COLOURS[name][mode]), paper), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= least, (name, mode)


@pytest.mark.slow
def test_sweep_and_its_runs_write_pages(run_train: RunTrain) -> None:
    run = run_train("-m", "model=softmax_regression", "seed=1,2", "data.test_size=40", "report=true", "select=best")
    assert (run.status, run.errors) == (0, "")
    whole = Page((run.folder / "report.html").read_text())
    names = [f"softmax_regression_mnist_seed{seed}" for seed in (1, 2)]
    assert whole.links == [f"{name}/report.html" for name in names]
    table = whole.tables[1][1:]
    for name, line in zip(names, table, strict=True):
        metrics = json.loads((run.folder / name / "metrics.json").read_text())
        html = (run.folder / name / "report.html").read_text()
        test, content = metrics["test"], Page(html)
        assert f"{test['accuracy']:.4f} loss {test['loss']:.4f}, 40 images" in content.text
        assert sum(int(cell or 0) for cells in content.tables[0][1:] for cell in cells[1:]) == 40
        right = sum(int(cells[i + 1] or 0) for i, cells in enumerate(content.tables[0][1:]))
        assert right / 40 == test["accuracy"]
        assert metrics["weights_sha256"] in content.text
        assert f"seed={metrics['seed']} data.test_size=40" in content.text
        with (run.folder / name / "metrics.csv").open() as file:
            *_, last = csv.DictReader(file)
        assert f"to {last['val_accuracy']}." in html
        accuracies = [f"{100 * metrics[split]['accuracy']:.2f}" for split in ("val", "test")]
        assert line[:4] == [name, "finished", *accuracies]


def made_up_sweep(folder: Path, rates: int, validated: bool) -> tuple[Sweep, list[Job]]:
    """Write runs of two seeds per learning rate, of which the last has not finished."""
    jobs = []
    for i in range(rates):
        for seed in (1, 2):
            done = (i, seed) != (rates - 1, 2)
            job = folder / f"lenet,lr=1e-{i}#{seed}"
            job.mkdir()
            rows = [row(epoch, 3 + i + seed, validated) for epoch in range(1, 4)]
            with (job / "metrics.csv").open("w") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
            if done:
                (job / "report.html").touch()
            accuracy = {"accuracy": 0.5 + 0.01 * i + 0.002 * seed, "loss": 1.0, "images": 100}
            metrics = {
                "status": "finished" if done else "failed",
                "train_seconds": 2.0,
                "test": accuracy if done else None,
            }
            jobs.append(
                Job(job, {"optimizer.lr": f"<$1e-{i}$>"}, {**metrics, "val": accuracy if validated and done else None})
            )
    return Sweep(folder, ["optimizer.lr=1,2", "seed=1,2"], ["optimizer.lr", "seed"], resumed=False), jobs


@pytest.mark.parametrize(("rates", "validated"), [(17, True), (2, False)])
def test_sweep_page_shows_combinations_and_runs(tmp_path: Path, rates: int, validated: bool) -> None:
    sweep, jobs = made_up_sweep(tmp_path, rates, validated)
    failed = [Outcome("lenet,lr=-1", 2, "optimizer.lr=-1 is <not> valid")]
    html = sweep_report.render(sweep, summarise(jobs), jobs, failed)
    content = Page(html)
    assert html.count('role="img"') == 1 + validated
    for i in range(rates - 1):
        assert f"&lt;$1e-{i}$&gt;</text>" in html
        assert f"&lt;$1e-{i}$&gt;: {50.2 + i:.2f}, {50.4 + i:.2f}" in html
        after = [row(3, 3 + i + seed, validated=True)["val_accuracy"] for seed in (1, 2)]
        assert (f"&lt;$1e-{i}$&gt;: {np.mean(after):.4f} after 3 epochs" in html) == validated
    combinations, runs = content.tables
    assert combinations[0] == ["optimizer.lr", "runs", "validation", "test", "seconds"]
    best = rates - 1 if validated else 0
    expected = {f"<$1e-{i}$>": f"{50.3 + i:.2f} ± 0.14" for i in range(rates)}  # 0.2 / sqrt(2)
    expected[f"<$1e-{rates - 1}$>"] = f"{50.2 + rates - 1:.2f}"  # of one run
    assert {line[0]: line[3] for line in combinations[1:]} == expected
    assert combinations[1][0] == f"<$1e-{best}$>"
    assert combinations[1][1:3] == (["1 of 2", expected[f"<$1e-{best}$>"]] if validated else ["2", "-"])
    assert ("the best on validation" in content.text.partition("Combinations")[0]) == validated
    assert content.links == [f"lenet%2Clr%3D1e-{i}%23{seed}/report.html" for i in range(rates) for seed in (1, 2)][:-1]
    assert runs[-1] == [f"lenet,lr=1e-{rates - 1}#2", "failed", "-", "-", "2"]
    assert "lenet,lr=-1 optimizer.lr=-1 is <not> valid" in content.text
    assert "uv run train.py -m optimizer.lr=1,2 seed=1,2" in content.text


def test_sweep_page_shows_unfinished_runs(tmp_path: Path) -> None:
    sweep, jobs = made_up_sweep(tmp_path, 1, validated=True)
    content = Page(sweep_report.render(sweep, summarise(jobs[1:]), jobs[1:], []))
    assert content.tables[0][1:] == [["<$1e-0$>", "0 of 1", "-", "-", "-"]]


def test_failing_page_is_reported_and_the_run_finishes(run_train: RunTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise ValueError("no ink")

    monkeypatch.setattr(run_report, "render", fail)
    run = run_train("report=true", "model=softmax_regression", "epochs=1")
    assert run.status == 0
    assert "report.html was not written: no ink" in run.errors
    assert run.metrics["status"] == "finished"
    assert not (run.folder / "report.html").exists()
