"""Test the classifiers that the table adds to scikit-learn's, the choice of settings, and the table."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportReturnType=false
# (pyright guesses the types of scikit-learn, which states none, from default values.)

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, run_example
from PIL import Image

pytest.importorskip("sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import Perceptron, Ridge
from sklearn.neighbors import KNeighborsClassifier

import data

SEEDS = range(8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classical_baselines")


@pytest.fixture(scope="module")
def example(folder: Path) -> dict[str, Any]:
    (folder / "rows_quick.jsonl").write_text('{"method": "ridge", "data": "fashion_mnist", "val": 2}\n')  # an old run
    return run_example("classical_baselines", folder, "--quick")


def test_one_hot_regression_predicts_the_class_of_the_largest_output(example: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    features, labels = random.normal(size=(90, 5)), random.choice([2, 5, 7], 90)
    outputs = [Ridge(alpha=0.7).fit(features, labels == label).predict(features) for label in (2, 5, 7)]
    expected = np.array([2, 5, 7])[np.argmax(outputs, axis=0)]
    found = example["OneHot"](Ridge(alpha=0.7)).fit(features, labels).predict(features)
    assert found.tolist() == expected.tolist()
    assert len(set(found)) == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_cluster_is_named_by_the_majority_of_its_labels(example: dict[str, Any], seed: int) -> None:
    random = np.random.default_rng(seed)
    clusters, labels = random.integers(0, 6, 80), random.integers(0, 10, 80)
    names = example["name_clusters"](clusters, labels, 6)
    for cluster in range(6):
        votes = Counter(labels[clusters == cluster].tolist())
        assert names[cluster] == min(label for label in votes if votes[label] == max(votes.values()))


def test_image_gets_the_name_of_its_nearest_cluster(example: dict[str, Any]) -> None:
    random = np.random.default_rng(2)
    labels = np.repeat([7, 3, 7, 1], 30)
    features = random.normal(size=(120, 2)) + np.repeat([[0, 0], [40, 0], [0, 40], [40, 40]], 30, axis=0)
    labels[::10] = 3  # a minority in each cluster
    clusters = example["NamedClusters"](4).fit(features, labels)
    assert clusters.predict(np.array([[1, 1], [39, 2], [2, 39], [41, 41]])).tolist() == [7, 3, 7, 1]


class Recorder(ClassifierMixin, BaseEstimator):
    """Predict 1 where the feature is at least `threshold`, and record what it is given."""

    fitted: list[tuple[float, int]] = []  # noqa: RUF012 of all instances
    predicted: list[int] = []  # noqa: RUF012

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def fit(self, features: np.ndarray, labels: np.ndarray) -> "Recorder":
        self.fitted.append((self.threshold, len(labels)))
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        self.predicted.append(len(features))
        return (features[:, 0] >= self.threshold).astype(int)


def test_settings_are_chosen_on_validation_and_the_test_set_is_used_once(example: dict[str, Any]) -> None:
    def part(count: int, threshold: float) -> Any:
        features = np.linspace(0, 1, count)[:, None]
        return example["Part"](features, (features[:, 0] >= threshold).astype(int))

    train, val, test = part(10_500, 0.9), part(100, 0.5), part(70, 0.1)  # each would choose another value
    row = example["measure"](example["Method"](Recorder(), {"threshold": [0.1, 0.5, 0.9]}), train, val, test)
    assert row["settings"] == {"threshold": 0.5}
    assert (row["val"], row["test"]) == (1.0, ((test.features[:, 0] >= 0.5) == test.labels).mean())
    assert Recorder.fitted == [(0.1, 10_000), (0.5, 10_000), (0.9, 10_000), (0.5, 10_500)]
    assert sorted(Recorder.predicted) == [70, 100, 100, 100, 100]


def test_images_are_the_first_ones_of_the_networks_splits(example: dict[str, Any]) -> None:
    splits = data.load("fashion_mnist")
    for part, (features, labels) in zip(splits[1:], example["splits"]["fashion_mnist"], strict=True):
        assert len(labels) in (150, 250)
        np.testing.assert_allclose(features * 255, part.images[: len(labels)].reshape(-1, 784).numpy(), atol=1e-4)
        assert labels.tolist() == part.labels[: len(labels)].tolist()


def test_row_of_a_method_can_be_measured_again(example: dict[str, Any]) -> None:
    train, val, test = example["splits"]["fashion_mnist"]
    row = example["rows"]["kNN", "fashion_mnist"]
    accuracy = {k: KNeighborsClassifier(k).fit(*train).score(*val) for k in (1, 3, 5, 7)}
    assert row["val"] == accuracy[row["settings"]["n_neighbors"]] == max(accuracy.values())
    assert row["test"] == KNeighborsClassifier(**row["settings"]).fit(*train).score(*test)


def test_table_holds_each_method_and_the_figures_of_the_networks_cards(example: dict[str, Any], folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "rows_quick.jsonl").read_text().splitlines()]
    assert [row["method"] for row in rows] == list(example["methods"])  # and not the row of the old run
    lines = (folder / "classical_baselines.md").read_text().splitlines()
    table = {
        cells[1].strip(" `"): [cell.strip() for cell in cells[2:-1]] for cells in map(split, lines) if len(cells) == 13
    }
    for row in rows:
        known = example["methods"][row["method"]].known[0]
        expected = [f"{100 * row['val']:.2f}", f"{100 * row['test']:.2f}", known]
        expected += [f"{row['train_seconds']:.1f}", f"{row['test_seconds']:.1f}"]
        assert table[row["method"]] == [*expected, "-", "-", "-", "-", "-"]
    cards = [json.loads(file.read_text()) for file in (ROOT / "weights").glob("*.json")]
    assert cards
    for card in cards:
        network, first = table[card["name"].rpartition("-")[0]], 5 * (card["data"] == "mnist")
        val, test = (100 * card["metrics"][part]["accuracy"] for part in ("val", "test"))
        assert network[first : first + 5] == [f"{val:.2f}", f"{test:.2f}", "-", f"{card['train_seconds']:.1f}", "-"]
    assert len(table) == 2 + len(rows) + len({card["name"].rpartition("-")[0] for card in cards})
    with Image.open(folder / "classical_baselines.png") as picture:
        assert picture.width == pytest.approx(7 * 150, abs=2)


def test_plot_shows_the_test_errors(example: dict[str, Any]) -> None:
    fashion = example["axes"].lines[0].get_xdata()
    expected = [100 * (1 - example["rows"][name, "fashion_mnist"]["test"]) for name in example["methods"]]
    assert fashion[: len(expected)] == pytest.approx(expected)


def test_perceptron_is_that_of_scikit_learn(example: dict[str, Any]) -> None:
    train, *_ = example["splits"]["fashion_mnist"]
    perceptron: Any = clone(example["methods"]["perceptron"].estimator)
    found = perceptron.set_params(average=False, max_iter=3).fit(*train)
    expected = Perceptron(tol=None, max_iter=3, random_state=1).fit(*train)
    np.testing.assert_allclose(found.coef_, expected.coef_)


def split(line: str) -> list[str]:
    return line.split("|")


@pytest.mark.slow
def test_full_form_goes_on_from_the_rows_of_a_stopped_run(example: dict[str, Any], tmp_path: Path) -> None:
    seconds = {"choice_seconds": 60.0, "train_seconds": 1.0, "test_seconds": 2.0}
    old = {"settings": {}, "val": 0.1234, "test": 0.4321, **seconds}
    rows = [
        {"method": name, "data": dataset, "described": str(method), **old}
        for name, method in example["methods"].items()
        for dataset in ("fashion_mnist", "mnist")
    ]
    missing = next(row for row in rows if (row["method"], row["data"]) == ("linear regression", "mnist"))
    changed = next(row for row in rows if (row["method"], row["data"]) == ("linear regression", "fashion_mnist"))
    changed["described"] = "another method"
    lines = [json.dumps(row) for row in rows if row is not missing]
    (tmp_path / "rows_full.jsonl").write_text("".join(f"{line}\n" for line in lines))
    found = run_example("classical_baselines", tmp_path, "--full")
    *before, again, last = (tmp_path / "rows_full.jsonl").read_text().splitlines()
    assert before == lines
    assert json.loads(again) == found["rows"]["linear regression", "fashion_mnist"]
    assert json.loads(last) == found["rows"]["linear regression", "mnist"]
    assert 0.8 < json.loads(last)["test"] < 0.9
    assert (tmp_path / "classical_baselines.md").read_text().count("12.34 | 43.21") == 26
