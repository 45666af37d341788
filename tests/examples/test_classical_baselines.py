"""Test the written-out algorithms against scikit-learn, scipy, brute force and theory, and the choice of settings."""

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
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Perceptron, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

import data

SEEDS = range(8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classical_baselines")


@pytest.fixture(scope="module")
def example(folder: Path) -> dict[str, Any]:
    (folder / "rows_quick.jsonl").write_text('{"method": "ridge", "data": "fashion_mnist", "val": 2}\n')  # an old run
    return run_example("classical_baselines", folder, "--quick")


def separable(seed: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return features (N, D), signs, and margin and bias of a unit vector that separates them."""
    random = np.random.default_rng(seed)
    count, width = random.integers(20, 60), random.integers(2, 8)
    unit = random.normal(size=width)
    unit /= np.linalg.norm(unit)
    features = random.normal(size=(count, width)) + random.normal(size=width)
    bias = -np.mean(features @ unit)
    signs = np.where(features @ unit + bias > 0, 1.0, -1.0)
    features += np.outer(signs * random.uniform(0.2, 1), unit)
    return features, signs, (signs * (features @ unit + bias)).min(), bias


@pytest.mark.parametrize("seed", SEEDS)
def test_perceptron_separates_and_its_mistakes_never_exceed_the_bounds(example: dict[str, Any], seed: int) -> None:
    features, signs, margin, bias = separable(seed)
    radius = np.linalg.norm(features, axis=1).max()
    weights, mistakes = example["perceptron"](features, signs)
    assert (signs * (features @ weights[:-1] + radius * weights[-1]) > 0).all()
    assert abs(bias) <= radius
    novikoff, with_bias = example["mistake_bounds"](features, signs)
    assert 0 < mistakes <= novikoff <= with_bias
    assert with_bias <= 4 * radius**2 / margin**2 * (1 + 1e-4)  # the margin of the SVM is the largest


@pytest.mark.parametrize("seed", SEEDS)
def test_perceptron_has_the_weights_of_scikit_learns(example: dict[str, Any], seed: int) -> None:
    features, signs, *_ = separable(seed)
    extended = np.column_stack([features, np.full(len(features), np.linalg.norm(features, axis=1).max())])
    reference = Perceptron(fit_intercept=False, shuffle=False, tol=None, max_iter=10_000).fit(extended, signs)
    np.testing.assert_allclose(example["perceptron"](features, signs)[0], reference.coef_[0], rtol=1e-9, atol=1e-9)


def test_mistake_bounds_of_two_points_are_those_computed_by_hand(example: dict[str, Any]) -> None:
    # 1 and 3 on a line: R = 3, the separator x - 2 has margin 1, so 2 (9 + 4) / 1 and 4 * 9 / 1
    found = example["mistake_bounds"](np.array([[1.0], [3.0]]), np.array([-1.0, 1.0]))
    assert found == pytest.approx((26, 36), rel=1e-4)


def test_perceptron_counts_each_mistake(example: dict[str, Any]) -> None:
    features, signs, weights, mistakes = np.array([[1.0], [3.0]]), (-1, 1), np.zeros(2), 0
    while any(sign * (weights @ (x[0], 3)) <= 0 for x, sign in zip(features, signs, strict=True)):
        for x, sign in zip(features, signs, strict=True):
            if sign * (weights @ (x[0], 3)) <= 0:
                weights, mistakes = weights + sign * np.array([x[0], 3]), mistakes + 1
    assert example["perceptron"](features, np.array(signs))[1] == mistakes > 2


def test_perceptron_refuses_classes_that_are_not_separable(example: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="each of 20 passes"):
        example["perceptron"](np.array([[1.0], [1.0]]), np.array([-1.0, 1.0]), passes=20)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("penalty", [0.0, 0.3, 20.0])
def test_normal_equations_equal_scikit_learn_also_with_more_features_than_images(
    example: dict[str, Any], seed: int, penalty: float
) -> None:
    random = np.random.default_rng(seed)
    count, width, outputs = random.integers(5, 60), random.integers(2, 30), random.integers(1, 5)
    features, targets = random.normal(size=(count, width)) + 3, random.normal(size=(count, outputs)) - 2
    weights, biases = example["normal_equations"](features, targets, penalty)
    reference = (Ridge(alpha=penalty) if penalty else LinearRegression()).fit(features, targets)
    np.testing.assert_allclose(weights.T, np.reshape(reference.coef_, (outputs, width)), atol=1e-7)
    np.testing.assert_allclose(biases, reference.intercept_, atol=1e-7)


def test_one_hot_regression_predicts_the_class_of_the_largest_output(example: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    features, labels = random.normal(size=(90, 5)), random.choice([2, 5, 7], 90)
    targets = np.column_stack([labels == 2, labels == 5, labels == 7]).astype(float)
    weights, biases = example["normal_equations"](features, targets, 0.7)
    expected = np.array([2, 5, 7])[(features @ weights + biases).argmax(axis=1)]
    found = example["OneHot"](Ridge(alpha=0.7)).fit(features, labels).predict(features)
    assert found.tolist() == expected.tolist()
    assert len(set(found)) == 3


def test_lasso_path_has_the_weights_and_the_outputs_of_each_penalty(example: dict[str, Any]) -> None:
    features, signs = example["features"], example["signs"]
    for column, alpha in enumerate([0.3, 0.1, 0.03, 0.01]):
        lasso = Lasso(alpha=alpha, tol=1e-8, max_iter=100_000).fit(features, signs)
        np.testing.assert_allclose(example["path"][:, column], lasso.coef_, atol=2e-2)
        outputs = lasso.predict(example["val_features"])
        np.testing.assert_allclose(example["outputs"][:, column], outputs, atol=2e-2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("penalty", [0.0, 0.1, 5.0])
def test_irls_equals_scikit_learns_logistic_regression(example: dict[str, Any], seed: int, penalty: float) -> None:
    random = np.random.default_rng(seed)
    count, width = random.integers(150, 300), random.integers(1, 8)
    features = random.normal(size=(count, width)) + 1
    labels = random.random(count) < 1 / (1 + np.exp(-features @ random.normal(size=width) / 2 + 0.3))
    weights = example["irls"](features, labels, penalty)
    reference = LogisticRegression(C=1 / penalty if penalty else np.inf, tol=1e-12, solver="newton-cholesky")
    reference.fit(features, labels)
    np.testing.assert_allclose(weights, [*reference.coef_[0], reference.intercept_[0]], rtol=0, atol=1e-6)


def test_irls_refuses_separable_classes_without_penalty(example: dict[str, Any]) -> None:
    features = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    with pytest.raises(ValueError):  # noqa: PT011 a singular matrix or no convergence, as rounding has it
        example["irls"](features, features[:, 0] > 0)
    assert np.isfinite(example["irls"](features, features[:, 0] > 0, penalty=0.1)).all()


def overlapping(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    signs = np.where(np.arange(24) % 3 == 0, 1.0, -1.0)
    return random.normal(size=(24, 3)) + 0.8 * signs[:, None] + 0.5, signs


@pytest.mark.parametrize("seed", SEEDS)
def test_primal_and_dual_of_the_linear_svm_have_the_same_optimum(example: dict[str, Any], seed: int) -> None:
    features, signs = overlapping(seed)
    C = 0.7
    svm = SVC(kernel="linear", C=C, tol=1e-9).fit(features, signs)
    alphas = np.zeros(24)
    alphas[svm.support_] = abs(svm.dual_coef_[0])
    primal = example["primal_objective"](svm.coef_[0], svm.intercept_[0], features, signs, C)
    assert example["dual_objective"](alphas, features, signs) == pytest.approx(primal, rel=1e-6)
    # an independent solution of the primal problem, a quadratic program with one slack for each image
    found = minimize(
        lambda x: x[:3] @ x[:3] / 2 + C * x[4:].sum(),
        np.ones(28),
        jac=lambda x: np.concatenate([x[:3], [0], np.full(24, C)]),
        constraints={"type": "ineq", "fun": lambda x: signs * (features @ x[:3] + x[3]) - 1 + x[4:]},
        bounds=[(None, None)] * 4 + [(0, None)] * 24,
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found.fun == pytest.approx(primal, rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_dual_value_exceeds_a_primal_one(example: dict[str, Any], seed: int) -> None:
    features, signs = overlapping(seed)
    random = np.random.default_rng(seed)
    for _ in range(50):
        alphas = random.uniform(0, 0.7, 24)
        positive = signs > 0
        alphas[~positive] *= alphas[positive].sum() / alphas[~positive].sum()  # so that the sum of alpha y is 0
        weights, bias = random.normal(size=3), random.normal()
        primal = example["primal_objective"](weights, bias, features, signs, C=alphas.max())
        assert example["dual_objective"](alphas, features, signs) <= primal


@pytest.mark.parametrize("seed", SEEDS)
def test_eigenvalues_of_the_covariance_are_the_explained_variances_of_pca(example: dict[str, Any], seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(random.integers(20, 60), 9)) * np.arange(1, 10) + 4
    count = random.integers(1, 10)
    values, vectors = example["principal_components"](features, count)
    pca = PCA(count, svd_solver="full").fit(features)
    np.testing.assert_allclose(values, pca.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(abs(vectors @ pca.components_.T), np.eye(count), atol=1e-6)  # equal up to their signs


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


def test_pair_holds_two_classes_with_their_signs(example: dict[str, Any]) -> None:
    train = example["train"]
    features, signs = train.pair(6, 0, 25)
    chosen = [i for i, label in enumerate(train.labels) if label in (0, 6)][:25]
    assert np.array_equal(features, train.features[chosen])
    assert signs.tolist() == [1.0 if train.labels[i] == 0 else -1.0 for i in chosen]


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


def split(line: str) -> list[str]:
    return line.split("|")


@pytest.mark.slow
def test_full_form_goes_on_from_the_rows_of_a_stopped_run(example: dict[str, Any], tmp_path: Path) -> None:
    seconds = {"choice_seconds": 60.0, "train_seconds": 1.0, "test_seconds": 2.0}
    old = {"settings": {}, "val": 0.1234, "test": 0.4321, **seconds}
    rows = [
        {"method": name, "data": dataset, **old}
        for name in example["methods"]
        for dataset in ("fashion_mnist", "mnist")
    ]
    missing = next(row for row in rows if (row["method"], row["data"]) == ("linear regression", "mnist"))
    lines = [json.dumps(row) for row in rows if row is not missing]
    (tmp_path / "rows_full.jsonl").write_text("".join(f"{line}\n" for line in lines))
    found = run_example("classical_baselines", tmp_path, "--full")
    *before, last = (tmp_path / "rows_full.jsonl").read_text().splitlines()
    assert before == lines
    assert json.loads(last) == found["rows"]["linear regression", "mnist"]
    assert 0.8 < json.loads(last)["test"] < 0.9
    assert (tmp_path / "classical_baselines.md").read_text().count("12.34 | 43.21") == 27
