"""Compare fourteen classical methods of scikit-learn with the networks, on both data sets.

The methods are those of Hastie, Tibshirani & Friedman, "The Elements of Statistical Learning", 2nd edition, 2009. Each
one gets the images that the networks get, and its few settings are chosen on the validation images.
"""

# %% [markdown]
# # Classical baselines
# An accuracy says little alone: a network is worth its cost where it is better than methods that are older and cheaper.
# The mathematics of the methods is worked out in `classical_methods.py`.

# %%
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# (pyright guesses the types of scikit-learn, which states none, from default values.)
from start import read_flags

options = read_flags("classical_baselines", __doc__, "sklearn")

import json
import time
from importlib.metadata import version
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge, SGDClassifier
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
COUNTS = {"quick": (250, 150, 150), "default": (3_000, 1_000, 1_000), "full": (55_000, 5_000, 10_000)}


class Part(NamedTuple):
    features: np.ndarray  # float32 (N, 784), in [0, 1]
    labels: np.ndarray  # int64 (N,), 0 to 9


def load(name: str) -> list[Part]:
    """Return training, validation and test images of a data set."""
    parts = zip(data.load(name)[1:], COUNTS[options.size], strict=True)
    return [Part(p.images[:n].flatten(1).numpy().astype(np.float32) / 255, p.labels[:n].numpy()) for p, n in parts]


splits = {name: load(name) for name in ("fashion_mnist", "mnist")[: 1 if options.size == "quick" else 2]}

# %% [markdown]
# ## A regression and clusters that classify
# A regression fits one-hot labels, and predicts the class of its largest output. k-means sees no labels: each of its
# clusters is named by the class of most of its training images.


# %%
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


# %% [markdown]
# ## The methods
# AdaBoost raises the weights of images that the trees before were wrong about. A forest averages trees of random
# samples and pixels. Gradient boosting adds trees that follow the gradient of the cross-entropy. The RBF SVM compares
# an image with thousands of support vectors; Nystroem's method approximates its kernel by products of fewer features.


# %%
class Method(NamedTuple):
    estimator: Any  # of scikit-learn
    grid: dict[str, list[Any]]  # the values that are compared on the validation images
    known: tuple[str, str] = ("-", "-")  # test accuracies in % that others report, for Fashion-MNIST and for MNIST
    effort: dict[str, tuple[int, int, int]] = {}  # noqa: RUF012 a setting: its values in the quick, default, full form


tree = DecisionTreeClassifier(max_features="sqrt")
brute = KNeighborsClassifier(algorithm="brute")
nystroem = Nystroem(random_state=1)
methods = {
    "perceptron": Method(  # the mean of all weights: Freund & Schapire, "Large Margin Classification", 1999
        SGDClassifier(loss="perceptron", penalty=None, learning_rate="constant", eta0=1, tol=None, random_state=1),
        {"average": [False, True]},
        ("78.2", "88.7"),
        effort={"max_iter": (5, 20, 20)},
    ),
    "linear regression": Method(OneHot(LinearRegression()), {}),
    "ridge": Method(OneHot(Ridge()), {"regression__alpha": [10.0, 100.0, 1_000.0, 10_000.0]}),
    "lasso": Method(
        OneHot(Lasso(precompute=True, tol=1e-3, max_iter=10_000)), {"regression__alpha": [1e-4, 3e-4, 1e-3]}
    ),
    "logistic regression": Method(LogisticRegression(max_iter=2_000), {"C": [0.01, 0.1, 1.0]}, ("84.2", "91.7")),
    "linear SVM": Method(LinearSVC(dual=False), {"C": [0.001, 0.01, 0.1]}),  # the square of the hinge loss
    "kNN": Method(brute, {"n_neighbors": [1, 3, 5, 7]}, ("85.4", "97.1")),
    "PCA + kNN": Method(
        make_pipeline(PCA(random_state=1), brute),
        {"pca__n_components": [30, 60], "kneighborsclassifier__n_neighbors": [3, 5, 7]},
    ),
    "k-means": Method(NamedClusters(), {"n_clusters": [10, 50, 250]}),
    "AdaBoost": Method(
        AdaBoostClassifier(tree, random_state=1),
        {"estimator__max_depth": [8, 16]},
        effort={"n_estimators": (5, 50, 100)},
    ),
    "random forest": Method(
        RandomForestClassifier(random_state=1),
        {"max_features": ["sqrt", 0.08]},
        ("87.3 to 87.9", "97.1"),
        effort={"n_estimators": (10, 50, 100)},
    ),
    "gradient boosting": Method(
        HistGradientBoostingClassifier(
            max_bins=63, max_features=0.2, l2_regularization=1.0, early_stopping=False, random_state=1
        ),
        {"learning_rate": [0.1, 0.2]},
        ("88.0 to 91.1", "96.9 to 98"),
        effort={"max_iter": (1, 10, 100)},
    ),
    "Nystroem + linear SVM": Method(
        make_pipeline(nystroem, LinearSVC(dual=False)),
        {"nystroem__gamma": [0.01, 0.02, 0.03]},
        effort={"nystroem__n_components": (50, 300, 1_000)},
    ),
    "RBF SVM": Method(SVC(C=10.0, cache_size=2_000), {"gamma": [0.01, 0.02, 0.03]}, ("89.7", "98.6")),  # cache: MB
}

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

    effort = {name: values[list(COUNTS).index(options.size)] for name, values in method.effort.items()}
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
    described = {"method": name, "data": dataset, "described": str(methods[name])}
    if not described.items() <= rows.get((name, dataset), {}).items():  # not measured, or another method since
        rows[name, dataset] = described | measure(methods[name], *splits[dataset])
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
sizes = "{:,} training, {:,} validation and {:,} test images".format(*COUNTS[options.size])
flag = "" if options.size == "default" else f" --{options.size}"
page = f"""# Classical baselines and networks

Written by `uv run --extra examples examples/classical_baselines.py{flag}`,
with {sizes} of {" and of ".join(splits)}.
Machine: {describe_machine("cpu")}, scikit-learn {version("scikit-learn")}, numpy {version("numpy")}.

| method | Fashion-MNIST: val % | test % | known % | train s | predict s | MNIST: val % | test % | known % | train s | predict s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{table}
- **known**: test accuracies that others report, with their own settings; most after training on all 60,000 images, and
  most by Xiao, Rasul & Vollgraf, "Fashion-MNIST", 2017, table 3. They were not measured here.
- **train s, predict s**: CPU seconds, summed over threads, of training with the chosen settings and of predicting the
  test images. With the comparison of the settings, all methods took {seconds / 60:.0f} CPU minutes.
- Networks: the published weights, trained on 55,000 images and tested on 10,000. Figures and elapsed (not CPU) seconds
  are those of their cards, which name the hardware.

Settings, chosen on the validation images after training on at most 10,000 images:

| method | data | settings |
| --- | --- | --- |
{settings}
![Test errors of all methods and networks](classical_baselines.png)
"""  # noqa: E501
(options.folder / "classical_baselines.md").write_text(page, encoding="utf-8")
print(page)

# %%
figure, axes = plt.subplots(figsize=(7, 0.22 * len(results) + 1), layout="constrained")
for dataset, marker, fill, label in (("fashion_mnist", "o", "full", "Fashion-MNIST"), ("mnist", "s", "none", "MNIST")):
    errors = [100 * (1 - row[dataset]["test"]) if dataset in row else np.nan for row in results.values()]
    axes.plot(errors, range(len(results)), marker, fillstyle=fill, label=label)
axes.axhline(len(methods) - 0.5, color="black", linewidth=0.8)
axes.text(0.33, len(methods), "networks, trained on 55,000 images", va="center", fontsize="small")
axes.set(xlabel="test error, %", xscale="log", yticks=range(len(results)))
axes.set_yticklabels([name.strip("`") for name in results])
axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
axes.minorticks_off()
axes.invert_yaxis()
axes.grid(alpha=0.4)
figure.legend(loc="outside upper right", ncols=2)
options.save(figure, "classical_baselines")
