"""Work out the mathematics of classical methods on a few images, and compare it with scikit-learn's.

The methods are those of Hastie, Tibshirani & Friedman, "The Elements of Statistical Learning", 2nd edition, 2009.
What they achieve on both data sets is measured by classical_baselines.py.
"""

# %% [markdown]
# # Classical methods
# Each section states one method, computes it in a few lines, and compares the result with scikit-learn's.

# %%
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# (pyright guesses the types of scikit-learn, which states none, from default values.)
from start import read_flags

options = read_flags("classical_methods", __doc__, "sklearn")

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.special import expit
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge, lasso_path
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC
from torch import Tensor

import data
from data.splits import Images

# %% [markdown]
# ## Data
# An image is a vector of 784 pixels from 0 to 1. Methods that separate two classes get the first 1,000 images of two.


# %%
def pixels(images: Tensor) -> np.ndarray:
    """Return images, uint8 (N, 1, 28, 28), as float64 (N, 784) in [0, 1]."""
    return images.flatten(1).numpy() / 255


def pair(split: Images, negative: int, positive: int, count: int = 1_000) -> tuple[np.ndarray, np.ndarray]:
    """Return the features (N, 784) of the first `count` images of two classes, and their signs (N,), -1.0 or 1.0."""
    chosen = torch.isin(split.labels, torch.tensor((negative, positive))).nonzero()[:count, 0]
    return pixels(split.images[chosen]), np.where(split.labels[chosen] == positive, 1.0, -1.0)


fashion, digits = data.load("fashion_mnist"), data.load("mnist")
count = {"quick": 500, "default": 1_000, "full": 5_000}[options.size]
few, labels = pixels(fashion.train.images[:count]), fashion.train.labels[:count].numpy()

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
for name, split, classes in (("Fashion-MNIST", fashion, (1, 8)), ("MNIST", digits, (0, 1))):
    novikoff, bound = mistake_bounds(*pair(split.train, *classes))
    mistakes = perceptron(*pair(split.train, *classes))[1]
    print(f"  {name}, {classes[0]} against {classes[1]}: {mistakes} <= {novikoff:,.0f} <= {bound:,.0f}")

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


targets = np.eye(10)[labels]
weights, biases = normal_equations(few, targets, penalty=10.0)
ridge = Ridge(alpha=10.0).fit(few, targets)
print(f"ridge: the normal equations differ from scikit-learn's weights by {abs(weights - ridge.coef_.T).max():.0e}")

# %% [markdown]
# ## Lasso
# With the penalty $\alpha \|w\|_1$ beside $\|y - Xw\|^2 / 2n$, most weights are exactly 0. At the minimum, the
# gradient of the squares is $-\alpha\,\mathrm{sign}(w_j)$ where $w_j \ne 0$, and at most $\alpha$ in size elsewhere.
# From large to small $\alpha$, along the path, more and more pixels enter: here, T-shirts (0) against shirts (6).


# %%
def optimality_gap(weights: np.ndarray, features: np.ndarray, targets: np.ndarray, alpha: float) -> float:
    """Return how far the gradient is from these conditions, as a share of alpha; features and targets are centred."""
    gradient = -features.T @ (targets - features @ weights) / len(targets)
    gaps = np.where(weights, abs(gradient + alpha * np.sign(weights)), np.maximum(0, abs(gradient) - alpha))
    return gaps.max() / alpha


features, signs = pair(fashion.train, 0, 6)
val_features, val_signs = pair(fashion.val, 0, 6)
centred, targets = features - features.mean(axis=0), signs - signs.mean()
alphas, path, _ = lasso_path(centred, targets, alphas=[0.3, 0.1, 0.03, 0.01, 0.003], tol=1e-8)
outputs = (val_features - features.mean(axis=0)) @ path + signs.mean()
accuracies = (np.sign(outputs) == val_signs[:, None]).mean(axis=0)
pixels_used = np.count_nonzero(path, axis=0)
print("lasso path:  alpha  pixels  validation  gap")
for alpha, weights, used, accuracy in zip(alphas, path.T, pixels_used, accuracies, strict=True):
    gap = optimality_gap(weights, centred, targets, alpha)
    print(f"{alpha:18.3f}{used:8}{100 * accuracy:10.1f} %  {gap:.0e}")

# %% [markdown]
# ## Logistic regression
# $w$ and $b$ maximise the log likelihood of $p = \sigma(w \cdot x + b)$, minus $\frac{\lambda}{2}\|w\|^2$. Newton's
# step solves $(X^T S X + \lambda I)\,d = X^T(y - p) - \lambda w$ with $S = \mathrm{diag}(p(1 - p))$: least squares with
# weights that change, iteratively reweighted (IRLS). $X$ has a column of ones, and $\lambda$ is 0 for its weight, $b$.


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

# %% [markdown]
# ## Linear support vector machine
# The primal problem minimises $\frac12\|w\|^2 + C \sum \max(0, 1 - y f(x))$; the dual one maximises $\sum \alpha -
# \frac12 \|\sum \alpha y x\|^2$ with $0 \le \alpha \le C$ and $\sum \alpha y = 0$; $f(x) = w \cdot x + b$. No dual
# value exceeds a primal one, so where both are equal, both are optimal. A small gap remains: libsvm, which scikit-learn
# uses, keeps the products of images in 32 bits.


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
dual = dual_objective(alphas, features, signs)
print(f"linear SVM: primal {primal:.6f}, dual {dual:.6f}, gap {(primal - dual) / primal:.0e} of it")

# %% [markdown]
# ## Principal components
# They are the eigenvectors of the covariance: the directions in which the images differ most. The eigenvalues are the
# variances along them.


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

# %% [markdown]
# ## Nystroem's approximation of a kernel
# $k(x, x') = \exp(-\gamma\|x - x'\|^2)$ for all pairs of N images takes $N^2$ numbers. A product of m features, from m
# random images, replaces it: $k \approx K_{nm} K_{mm}^{-1} K_{mn}$, for $N m$ numbers, and $m^3$ operations for
# $K_{mm}^{-1/2}$.


# %%
def nystroem_error(features: np.ndarray, gamma: float, count: int) -> float:
    """Return the relative error, in the Frobenius norm, of the kernel of the features (N, D) by `count` of them."""
    kernel = rbf_kernel(features, gamma=gamma)
    mapped = Nystroem(gamma=gamma, n_components=count, random_state=1).fit_transform(features)
    return float(np.linalg.norm(mapped @ mapped.T - kernel) / np.linalg.norm(kernel))


components = (25, 50, 100, 200, 400)
nystroem_errors = [nystroem_error(few, 0.02, m) for m in components]
print(f"Nystroem: features, relative error of the kernel, share of its {count**2:,} numbers")
for m, error in zip(components, nystroem_errors, strict=True):
    print(f"{m:12}{error:10.3f}{m / count:10.1%}")

# %% [markdown]
# ## Pictures
# How many pixels a lasso needs, how many components an image, and how many features a kernel.
#
# A question: the error of PCA falls fast at first. Which of the methods in classical_baselines.py gain from that?

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
left.plot(pixels_used, 100 * accuracies, "o-")
left.set(xlabel="pixels that the lasso uses", ylabel="validation accuracy, %")
middle.plot(range(1, 785), 100 * variances.cumsum() / variances.sum(), "-")
middle.set(xlabel="principal components", ylabel="share of the variance, %", xscale="log")
right.plot(components, nystroem_errors, "s-")
right.set(xlabel="features by Nystroem", ylabel="relative error of the kernel", xscale="log", ylim=(0, None))
right.set_xticks(components, [str(m) for m in components])
right.minorticks_off()
for panel in (left, middle, right):
    panel.grid(alpha=0.3)
options.save(figure, "classical_methods")
