"""Compare fourteen classical methods of scikit-learn with the networks, on both data sets.

The methods are those of Hastie, Tibshirani & Friedman, "The Elements of Statistical Learning", 2nd edition, 2009. Each
one gets the images that the networks get, and its few settings are chosen on the validation images.
"""

# %% [markdown]
# # Classical baselines
# An accuracy says little alone: a network is worth its cost where it is better than methods that are older and cheaper.
# Each section below states one method, and checks its mathematics on a few images; the last section measures all.

# %%
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# (pyright guesses the types of scikit-learn, which states none, from default values.)
from start import read_flags

options = read_flags(__doc__, "sklearn")

import json
import time
from importlib.metadata import version
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge, SGDClassifier, lasso_path
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import ParameterGrid
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from tqdm import tqdm

import data
import models
from models.cards import published
from training.machine import describe_machine

# %% [markdown]
# ## Data
# The splits are those of the networks: 55,000 training, 5,000 validation and 10,000 test images, or the first ones of
# each in the shorter forms; the quick form has Fashion-MNIST alone. An image is a vector of 784 pixels from 0 to 1.

# %%
SIZES = {"quick": (250, 150, 150), "default": (3_000, 1_000, 1_000), "full": (55_000, 5_000, 10_000)}


class Part(NamedTuple):
    features: np.ndarray  # float32 (N, 784), in [0, 1]
    labels: np.ndarray  # int64 (N,), 0 to 9

    def pair(self, negative: int, positive: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first `count` images of two classes, float64, and their signs, -1.0 or +1.0."""
        chosen = np.isin(self.labels, (negative, positive)).nonzero()[0][:count]
        return self.features[chosen].astype(float), np.where(self.labels[chosen] == positive, 1.0, -1.0)


def load(name: str) -> list[Part]:
    """Return training, validation and test images of a data set."""
    parts = zip(data.load(name)[1:], SIZES[options.size], strict=True)
    return [Part(p.images[:n].flatten(1).numpy().astype(np.float32) / 255, p.labels[:n].numpy()) for p, n in parts]


splits = {name: load(name) for name in ("fashion_mnist", "mnist")[: 1 if options.size == "quick" else 2]}
train, val, _ = splits["fashion_mnist"]


class Method(NamedTuple):
    estimator: Any  # of scikit-learn
    grid: dict[str, list[Any]]  # the values that are compared on the validation images
    known: tuple[str, str] = ("-", "-")  # test accuracies in % that others report, for Fashion-MNIST and for MNIST
    effort: dict[str, tuple[int, int, int]] = {}  # noqa: RUF012 a setting: its values in the quick, default, full form


methods: dict[str, Method] = {}

# %% [markdown]
# ## Perceptron
# For each image with $y\,(w \cdot x + b) \le 0$, add $y\,x$ to $w$ and $y R^2$ to $b$. If all $\|x\| \le R$ and some
# unit vector $u$ and $|c| \le R$ separate the classes by $y\,(u \cdot x + c) \ge \gamma$, this happens at most
# $4R^2/\gamma^2$ times.
#
# The bias is the weight of one more coordinate, $R$. Without bias Novikoff's bound is $\tilde R^2/\tilde\gamma^2$, and
# here $\tilde R^2 = 2R^2$ and $\tilde\gamma^2 = \gamma^2/(1 + c^2/R^2) \ge \gamma^2/2$. With the coordinate 1 in place
# of $R$ it is $(R^2 + 1)(1 + c^2)/\gamma^2$, which can be larger.


# %%
def perceptron(features: np.ndarray, signs: np.ndarray, passes: int = 1_000) -> tuple[np.ndarray, int]:
    """Return the weights (D + 1,) of the features (N, D) and of a last coordinate R, and the number of mistakes.

    Raises ValueError if no pass over the images is free of mistakes.
    """
    extended = np.column_stack([features, np.full(len(features), np.linalg.norm(features, axis=1).max())])
    weights, mistakes = np.zeros(extended.shape[1]), 0
    for _ in range(passes):
        before = mistakes
        for vector, sign in zip(extended, signs, strict=True):
            if sign * (weights @ vector) <= 0:
                weights += sign * vector
                mistakes += 1
        if mistakes == before:
            return weights, mistakes
    raise ValueError(f"there are mistakes in each of {passes} passes: the classes may not be separable")


def mistake_bounds(features: np.ndarray, signs: np.ndarray) -> tuple[float, float]:
    """Return Novikoff's bound with the coordinate R, and 4 R^2 / margin^2, both of the separator of largest margin."""
    svm = SVC(kernel="linear", C=1e8, tol=1e-6).fit(features, signs)
    norm, radius = np.linalg.norm(svm.coef_), np.linalg.norm(features, axis=1).max()
    margin, bias = (signs * svm.decision_function(features)).min() / norm, svm.intercept_[0] / norm
    return 2 * (radius**2 + bias**2) / margin**2, 4 * radius**2 / margin**2


print("perceptron: mistakes <= Novikoff's bound <= 4 R^2 / margin^2")
for name, classes in {"fashion_mnist": (1, 8), "mnist": (0, 1)}.items():
    if name not in splits:
        continue
    pair = splits[name][0].pair(*classes, count=1_000)
    novikoff, with_bias = mistake_bounds(*pair)
    print(f"  {name}, {classes[0]} against {classes[1]}: {perceptron(*pair)[1]} <= {novikoff:,.0f} <= {with_bias:,.0f}")

methods["perceptron"] = Method(  # the mean of all weights: Freund & Schapire, "Large Margin Classification", 1999
    SGDClassifier(loss="perceptron", penalty=None, learning_rate="constant", eta0=1, tol=None, random_state=1),
    {"average": [False, True]},
    ("78.2", "88.7"),
    effort={"max_iter": (5, 20, 20)},
)

# %% [markdown]
# ## Linear and ridge regression
# The classes become the rows of a unit matrix, and least squares finds $W = (X^T X + \lambda I)^{-1} X^T Y$ of centred
# $X$ and $Y$: the normal equations. The predicted class has the largest of ten outputs; $\lambda = 0$ is linear
# regression, which needs a pseudo-inverse because some pixels are always black.


# %%
def normal_equations(features: np.ndarray, targets: np.ndarray, penalty: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (D, K), of least norm if there are several, and the biases (K,), which are not penalised."""
    centred, mean = features - features.mean(axis=0), targets.mean(axis=0)
    gram = centred.T @ centred + penalty * np.eye(features.shape[1])
    weights = np.linalg.lstsq(gram, centred.T @ (targets - mean))[0]
    return weights, mean - features.mean(axis=0) @ weights


class OneHot(ClassifierMixin, BaseEstimator):
    """Classify by a regression on one-hot labels."""

    def __init__(self, regression: Any) -> None:
        self.regression = regression

    def fit(self, features: np.ndarray, labels: np.ndarray) -> "OneHot":
        self.classes_ = np.unique(labels)
        self.fitted_ = clone(self.regression).fit(features, labels[:, None] == self.classes_)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.classes_[self.fitted_.predict(features).argmax(axis=1)]


few, targets = train.features[:1_000].astype(float), np.eye(10)[train.labels[:1_000]]
weights, biases = normal_equations(few, targets, penalty=10.0)
ridge = Ridge(alpha=10.0).fit(few, targets)
print(f"ridge: the normal equations differ from scikit-learn's weights by {abs(weights - ridge.coef_.T).max():.0e}")

methods["linear regression"] = Method(OneHot(LinearRegression()), {})
methods["ridge"] = Method(OneHot(Ridge()), {"regression__alpha": [10.0, 100.0, 1_000.0, 10_000.0]})

# %% [markdown]
# ## Lasso
# The penalty $\alpha \|w\|_1$ sets most weights to exactly 0. From large to small $\alpha$, along the path, more and
# more pixels enter: here on T-shirts (0) against shirts (6), with the accuracy on validation images.

# %%
features, signs = train.pair(0, 6, 1_000)
val_features, val_signs = val.pair(0, 6, 1_000)
mean = features.mean(axis=0)
alphas, path, _ = lasso_path(features - mean, signs - signs.mean(), alphas=[0.3, 0.1, 0.03, 0.01])
outputs = (val_features - mean) @ path + signs.mean()
print("lasso path:  alpha  pixels  validation")
for alpha, weights, output in zip(alphas, path.T, outputs.T, strict=True):
    print(f"{alpha:18.2f}{np.count_nonzero(weights):8}{100 * (np.sign(output) == val_signs).mean():10.1f} %")

lasso = Lasso(precompute=True, tol=1e-3, max_iter=10_000)
methods["lasso"] = Method(OneHot(lasso), {"regression__alpha": [1e-4, 3e-4, 1e-3]})

# %% [markdown]
# ## Logistic regression
# $p = \sigma(w \cdot x + b)$ maximises the likelihood. Newton's step solves $(X^T S X + \lambda I)\,d = X^T(y - p) -
# \lambda w$ with $S = \mathrm{diag}(p(1 - p))$: least squares with weights that change, iteratively reweighted (IRLS).


# %%
def irls(features: np.ndarray, targets: np.ndarray, penalty: float = 0.0, steps: int = 50) -> np.ndarray:
    """Return weights and bias (D + 1,) for targets 0 or 1; half the penalty times the squared weights is added.

    Raises ValueError unless the steps converge: there is no line search, nor a solution for separable classes.
    """
    extended = np.column_stack([features, np.ones(len(features))])
    penalties = np.append(np.full(features.shape[1], penalty), 0.0)  # none for the bias
    weights = np.zeros(extended.shape[1])
    for _ in range(steps):
        p = expit(extended @ weights)
        hessian = (extended.T * (p * (1 - p))) @ extended + np.diag(penalties)
        step = np.linalg.solve(hessian, extended.T @ (targets - p) - penalties * weights)
        weights += step
        if abs(step).max() < 1e-9:
            return weights
    raise ValueError(f"no convergence in {steps} steps: add a penalty")


weights = irls(features, signs > 0, penalty=1.0)
logistic = LogisticRegression(C=1.0, tol=1e-10, solver="newton-cholesky").fit(features, signs)
print(f"logistic regression: IRLS differs from scikit-learn by {abs(weights[:-1] - logistic.coef_[0]).max():.0e}")

methods["logistic regression"] = Method(LogisticRegression(max_iter=2_000), {"C": [0.01, 0.1, 1.0]}, ("84.2", "91.7"))

# %% [markdown]
# ## Linear support vector machine
# The primal problem minimises $\frac12\|w\|^2 + C \sum \max(0, 1 - y f(x))$; the dual one maximises $\sum \alpha -
# \frac12 \|\sum \alpha y x\|^2$ with $0 \le \alpha \le C$ and $\sum \alpha y = 0$. No dual value exceeds a primal one,
# so where both are equal, both are optimal.


# %%
def primal_objective(weights: np.ndarray, bias: float, features: np.ndarray, signs: np.ndarray, C: float) -> float:
    """Return the primal objective of weights (D,) and bias, for features (N, D) and signs (N,), -1 or 1."""
    hinge = np.maximum(0, 1 - signs * (features @ weights + bias))
    return weights @ weights / 2 + C * hinge.sum()


def dual_objective(alphas: np.ndarray, features: np.ndarray, signs: np.ndarray) -> float:
    """Return the dual objective of alphas (N,)."""
    weights = (alphas * signs) @ features
    return alphas.sum() - weights @ weights / 2


svm = SVC(kernel="linear", C=0.1, tol=1e-8).fit(features, signs)
alphas = np.zeros(len(signs))
alphas[svm.support_] = abs(svm.dual_coef_[0])
primal = primal_objective(svm.coef_[0], svm.intercept_[0], features, signs, C=0.1)
print(f"linear SVM: primal {primal:.6f}, dual {dual_objective(alphas, features, signs):.6f}")

one_against_rest = LinearSVC(dual=False)  # solves the primal problem, with the square of the hinge loss
methods["linear SVM"] = Method(one_against_rest, {"C": [0.001, 0.01, 0.1]})

# %% [markdown]
# ## k nearest neighbours, and principal components
# The class of most of the k nearest training images wins. Distances between projections on the first principal
# components, eigenvectors of the covariance, are cheaper and contain less noise.


# %%
def principal_components(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues (count,) of the covariance and their unit eigenvectors (count, D)."""
    values, vectors = np.linalg.eigh(np.cov(features, rowvar=False))
    return values[::-1][:count], vectors.T[::-1][:count]


variances, _ = principal_components(few, 784)
explained = PCA(50, svd_solver="full").fit(few).explained_variance_
print(f"PCA: eigenvalues and explained variances differ by {abs(variances[:50] - explained).max():.0e}")
print("PCA: share of the variance by number of components:")
print("  " + ", ".join(f"{count}: {variances[:count].sum() / variances.sum():.1%}" for count in (2, 10, 50, 200)))

methods["kNN"] = Method(KNeighborsClassifier(algorithm="brute"), {"n_neighbors": [1, 3, 5, 7]}, ("85.4", "97.1"))
methods["PCA + kNN"] = Method(
    make_pipeline(PCA(random_state=1), KNeighborsClassifier(algorithm="brute")),
    {"pca__n_components": [30, 60], "kneighborsclassifier__n_neighbors": [3, 5, 7]},
)

# %% [markdown]
# ## k-means
# Lloyd's algorithm moves each centre to the mean of its images and each image to its nearest centre. It sees no labels;
# afterwards each cluster is named by the class of most of its training images.


# %%
def name_clusters(clusters: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the class of most images of each cluster (count,); the smaller class if two have as many."""
    votes = np.zeros((count, labels.max() + 1), int)
    np.add.at(votes, (clusters, labels), 1)
    return votes.argmax(axis=1)


class NamedClusters(ClassifierMixin, BaseEstimator):
    """Classify by the name of the nearest cluster."""

    def __init__(self, n_clusters: int = 10) -> None:
        self.n_clusters = n_clusters

    def fit(self, features: np.ndarray, labels: np.ndarray) -> "NamedClusters":
        self.kmeans_ = KMeans(self.n_clusters, random_state=1).fit(features)
        self.names_ = name_clusters(self.kmeans_.labels_, labels, self.n_clusters)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.names_[self.kmeans_.predict(features)]


methods["k-means"] = Method(NamedClusters(), {"n_clusters": [10, 50, 250]})

# %% [markdown]
# ## AdaBoost
# Each tree is trained on images whose weights grow by a factor where the trees before it were wrong. The trees vote,
# the more accurate ones with more weight.

# %%
methods["AdaBoost"] = Method(
    AdaBoostClassifier(DecisionTreeClassifier(max_features="sqrt"), random_state=1),
    {"estimator__max_depth": [8, 16]},
    effort={"n_estimators": (5, 50, 100)},
)

# %% [markdown]
# ## Random forest
# Each tree is trained on a random sample of the images, and each of its splits on a random choice of the pixels. The
# mean of trees that make different errors is better than each of them.

# %%
methods["random forest"] = Method(
    RandomForestClassifier(random_state=1),
    {"max_features": ["sqrt", 0.08]},
    ("87.3 to 87.9", "97.1"),
    effort={"n_estimators": (10, 50, 100)},
)

# %% [markdown]
# ## Gradient boosting
# Each step adds a tree per class which follows the gradient of the cross-entropy. Pixels are sorted into at most 63
# bins once, so that a split is found from a histogram.

# %%
methods["gradient boosting"] = Method(
    HistGradientBoostingClassifier(max_bins=63, max_features=0.2, early_stopping=False, random_state=1),
    {"learning_rate": [0.1, 0.2]},
    ("88.0 to 91.1", "96.9 to 98"),
    effort={"max_iter": (1, 10, 100)},
)

# %% [markdown]
# ## Support vector machine with an RBF kernel, and its Nystroem approximation
# $k(x, x') = \exp(-\gamma\|x - x'\|^2)$ compares each image with thousands of support vectors. Nystroem's method
# replaces the kernel by a product of m features, of m random training images: $k \approx K_{nm} K_{mm}^{-1} K_{mn}$.

# %%
kernel = rbf_kernel(few, gamma=0.02)
print("Nystroem: relative error of the kernel by number of components:")
for count in (50, 100, 200):
    mapped = Nystroem(gamma=0.02, n_components=count, random_state=1).fit_transform(few)
    print(f"  {count}: {np.linalg.norm(mapped @ mapped.T - kernel) / np.linalg.norm(kernel):.3f}")

methods["Nystroem + linear SVM"] = Method(
    make_pipeline(Nystroem(random_state=1), LinearSVC(dual=False)),
    {"nystroem__gamma": [0.01, 0.02, 0.03]},
    effort={"nystroem__n_components": (50, 300, 1_000)},
)
rbf_svm = SVC(C=10.0, cache_size=2_000)  # MB
methods["RBF SVM"] = Method(rbf_svm, {"gamma": [0.01, 0.02, 0.03]}, ("89.7", "98.6"))

# %% [markdown]
# ## All methods on both data sets
# The values of a method are compared on the validation images after training on at most 10,000 images; the best ones
# are trained on all, and measured once on the test images. CPU seconds are those of all threads together; other
# programs on the machine lengthen them much less than elapsed time.


# %%
def measure(method: Method, train: Part, val: Part, test: Part) -> dict[str, Any]:
    """Choose the settings and train; return settings, accuracies from 0 to 1, and CPU seconds.

    "choice_seconds" are those of comparing all settings, "train_seconds" those of the final training.
    """

    def fit(settings: dict[str, Any], features: np.ndarray, labels: np.ndarray) -> Any:
        return clone(method.estimator).set_params(**settings).fit(features, labels)

    def val_accuracy(settings: dict[str, Any]) -> float:
        return fit(settings, train.features[:10_000], train.labels[:10_000]).score(*val)

    effort = {name: values[list(SIZES).index(options.size)] for name, values in method.effort.items()}
    choices = [effort | values for values in ParameterGrid(method.grid)]
    begin = time.process_time()
    settings = max(choices, key=val_accuracy) if len(choices) > 1 else choices[0]
    chosen = time.process_time()
    fitted = fit(settings, *train)
    trained = time.process_time()
    test_accuracy = fitted.score(*test)
    tested = time.process_time()
    seconds = {"choice_seconds": chosen - begin, "train_seconds": trained - chosen, "test_seconds": tested - trained}
    return {"settings": settings, "val": fitted.score(*val), "test": test_accuracy, **seconds}


rows_file = options.folder / f"rows_{options.size}.jsonl"  # one line for each method and data set
if options.size != "full":
    rows_file.unlink(missing_ok=True)
finished = [json.loads(line) for line in rows_file.read_text().splitlines()] if rows_file.exists() else []
rows = {(row["method"], row["data"]): row for row in finished}  # a full run that was stopped goes on from here
for name, dataset in tqdm([(name, dataset) for name in methods for dataset in splits], unit="row"):
    if (name, dataset) not in rows:
        rows[name, dataset] = {"method": name, "data": dataset} | measure(methods[name], *splits[dataset])
        with rows_file.open("a") as file:
            file.write(json.dumps(rows[name, dataset]) + "\n")

# %% [markdown]
# ## The table, with the networks
# The networks' figures are those of the cards of the published weights.

# %%
results = {name: {dataset: rows[name, dataset] for dataset in splits} for name in methods}
for name in published():
    recipe, _, dataset = name.rpartition("-")
    card = models.card(name)
    accuracies = {part: card["metrics"][part]["accuracy"] for part in ("val", "test")}
    results.setdefault(f"`{recipe}`", {})[dataset] = {**accuracies, "train_seconds": card["train_seconds"]}


def cells(row: dict[str, Any] | None, known: str) -> str:
    """Format five cells of the table; `row` is None where nothing was measured."""
    if row is None:
        return "- | - | - | - | -"
    predict = f"{row['test_seconds']:.1f}" if "test_seconds" in row else "-"
    return f"{100 * row['val']:.2f} | {100 * row['test']:.2f} | {known} | {row['train_seconds']:.1f} | {predict}"


table = settings = ""
for name, row in results.items():
    known = methods[name].known if name in methods else ("-", "-")
    pair = [cells(row.get(dataset), figure) for dataset, figure in zip(("fashion_mnist", "mnist"), known, strict=True)]
    table += f"| {name} | {pair[0]} | {pair[1]} |\n"
for name, dataset in [(name, dataset) for name in methods for dataset in splits]:
    chosen = [f"{key.rpartition('__')[2]} {value}" for key, value in rows[name, dataset]["settings"].items()]
    settings += f"| {name} | {dataset} | {', '.join(chosen) or '-'} |\n"
seconds = sum(row[key] for row in rows.values() for key in ("choice_seconds", "train_seconds", "test_seconds"))
sizes = "{:,} training, {:,} validation and {:,} test images".format(*SIZES[options.size])
flag = "" if options.size == "default" else f" --{options.size}"
page = f"""# Classical baselines and networks

Written by `uv run --extra examples examples/classical_baselines.py{flag}`,
with {sizes} of {" and of ".join(splits)}.
Machine: {describe_machine("cpu")}, scikit-learn {version("scikit-learn")}, numpy {version("numpy")}.

| method | Fashion-MNIST: val % | test % | known % | train s | predict s | MNIST: val % | test % | known % | train s | predict s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{table}
- **known**: test accuracies that others report, with their own settings; most after training on all 60,000 images.
  They were collected, not measured here.
- **train s, predict s**: CPU seconds, summed over threads, of training with the chosen settings and of predicting the
  test images. With the comparison of the settings, all methods took {seconds / 60:.0f} CPU minutes.
- Networks: the published weights. Figures and elapsed (not CPU) seconds are those of their cards, which name the hardware.

Settings, chosen on the validation images after training on at most 10,000 images:

| method | data | settings |
| --- | --- | --- |
{settings}
![Test errors of all methods and networks](classical_baselines.png)
"""  # noqa: E501
(options.folder / "classical_baselines.md").write_text(page)
print(page)

# %%
figure, axes = plt.subplots(figsize=(7, 0.22 * len(results) + 1), layout="constrained")
for dataset, marker, fill, label in (("fashion_mnist", "o", "full", "Fashion-MNIST"), ("mnist", "s", "none", "MNIST")):
    errors = [100 * (1 - row[dataset]["test"]) if dataset in row else np.nan for row in results.values()]
    axes.plot(errors, range(len(results)), marker, fillstyle=fill, label=label)
axes.axhline(len(methods) - 0.5, color="black", linewidth=0.8)  # classical methods above, networks below
axes.set(xlabel="test error, %", xscale="log", yticks=range(len(results)))
axes.set_yticklabels([name.strip("`") for name in results])
axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
axes.minorticks_off()
axes.invert_yaxis()
axes.grid(alpha=0.4)
figure.legend(loc="outside upper right", ncols=2)
figure.savefig(options.folder / "classical_baselines.png", dpi=150)
