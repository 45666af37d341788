"""Test the written-out algorithms against scikit-learn, scipy, brute force and theory."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportReturnType=false
# (pyright guesses the types of scikit-learn, which states none, from default values.)

from typing import Any

import numpy as np
import pytest
from conftest import run_example

pytest.importorskip("sklearn")

from scipy.optimize import minimize
from sklearn.decomposition import PCA
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Perceptron, Ridge
from sklearn.svm import SVC

import data

SEEDS = range(8)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_example("classical_methods", tmp_path_factory.mktemp("classical_methods"), "--quick")


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
    novikoff, bound = example["mistake_bounds"](features, signs)
    assert 0 < mistakes <= novikoff <= bound
    assert bound <= 4 * radius**2 / margin**2 * (1 + 1e-4)  # the margin of the SVM is the largest


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


def test_lasso_path_has_the_weights_and_the_accuracies_of_each_penalty(example: dict[str, Any]) -> None:
    features, signs = example["features"], example["signs"]
    for column, alpha in enumerate([0.3, 0.1, 0.03, 0.01, 0.003]):
        lasso = Lasso(alpha=alpha, tol=1e-8, max_iter=100_000).fit(features, signs)
        np.testing.assert_allclose(example["path"][:, column], lasso.coef_, atol=1e-4)
        accuracy = (np.sign(lasso.predict(example["val_features"])) == example["val_signs"]).mean()
        assert example["accuracies"][column] == pytest.approx(accuracy, abs=0.003)


@pytest.mark.parametrize("seed", SEEDS)
def test_optimality_gap_is_0_at_the_minimum_and_nowhere_else(example: dict[str, Any], seed: int) -> None:
    random = np.random.default_rng(seed)
    features, targets = random.normal(size=(40, 12)), random.normal(size=40)
    features, targets = features - features.mean(axis=0), targets - targets.mean()
    weights = Lasso(alpha=0.1, tol=1e-12, max_iter=100_000).fit(features, targets).coef_
    assert 0 < np.count_nonzero(weights) < 12
    assert example["optimality_gap"](weights, features, targets, 0.1) < 1e-5
    for index in (weights.argmax(), (weights == 0).argmax()):
        other = weights.copy()
        other[index] += 0.05
        assert example["optimality_gap"](other, features, targets, 0.1) > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_nystroem_is_exact_with_all_points_and_its_error_that_of_the_formula(
    example: dict[str, Any], seed: int
) -> None:
    features = np.random.default_rng(seed).normal(size=(30, 4))
    assert example["nystroem_error"](features, 0.1, 30) < 1e-6
    kernel = np.exp(-0.1 * ((features[:, None] - features) ** 2).sum(axis=2))
    chosen = np.random.RandomState(1).permutation(30)[:10]
    approximated = kernel[:, chosen] @ np.linalg.pinv(kernel[np.ix_(chosen, chosen)]) @ kernel[chosen]
    expected = np.linalg.norm(approximated - kernel) / np.linalg.norm(kernel)
    assert example["nystroem_error"](features, 0.1, 10) == pytest.approx(expected, rel=1e-3)


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


def test_pair_holds_two_classes_with_their_signs(example: dict[str, Any]) -> None:
    train = data.load("fashion_mnist").train
    features, signs = example["pair"](train, 6, 0, 25)
    chosen = [i for i, label in enumerate(train.labels[:1000]) if label in (0, 6)][:25]
    np.testing.assert_allclose(features * 255, train.images[chosen].reshape(25, -1).numpy(), atol=1e-9)
    assert signs.tolist() == [1.0 if train.labels[i] == 0 else -1.0 for i in chosen]


def test_bounds_that_are_printed_hold(example: dict[str, Any]) -> None:
    assert 0 < example["mistakes"] <= example["novikoff"] <= example["bound"]
