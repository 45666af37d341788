"""Compare the gradient formulas of a deep-learning course with autograd, in float64.

Sources: Nielsen, "Neural Networks and Deep Learning", chapter 2 (the four equations of back-propagation); Zhang,
Lipton, Li & Smola, "Dive into Deep Learning", chapters 3 to 9; Ioffe & Szegedy, "Batch Normalization", ICML 2015,
section 3.
"""

# %%
from start import read_flags

options = read_flags(__doc__)

# %%
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor

DRAWS = {"quick": 2, "default": 10, "full": 100}[options.size]  # random inputs for each formula
generator = torch.Generator().manual_seed(1)


def normal(*shape: int) -> Tensor:
    """Draw standard normal numbers in float64."""
    return torch.randn(shape, dtype=torch.float64, generator=generator)


# %% [markdown]
# ## How a formula is compared
# A layer computes $y$ from its inputs, later layers compute the loss $L$ from $y$. Back-propagation hands the layer
# $dy$, short for $\partial L / \partial y$, and the layer returns the gradient of $L$ for each of its inputs. Here
# $L = \sum dy \odot y$ with a random $dy$. Two answers are compared with autograd's: the formula, and central
# differences, $(L(x + h) - L(x - h)) / 2h$ for one number $x$ at a time, whose error is $O(h^2)$ plus rounding,
# $O(10^{-16} / h)$.


# %%
def autograd(loss: Callable[..., Tensor], inputs: list[Tensor]) -> Sequence[Tensor]:
    """Return the gradients of the number `loss(*inputs)`, one for each input."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    return torch.autograd.grad(loss(*inputs), inputs)


def central_differences(loss: Callable[..., Tensor], inputs: list[Tensor], h: float = 1e-5) -> Sequence[Tensor]:
    """Return the same gradients from two evaluations of `loss` for each number in `inputs`."""
    gradients = [torch.empty_like(x) for x in inputs]
    for x, gradient in zip(inputs, gradients, strict=True):
        for i, old in enumerate(x.view(-1).tolist()):
            x.view(-1)[i] = old + h
            above = loss(*inputs)
            x.view(-1)[i] = old - h
            gradient.view(-1)[i] = (above - loss(*inputs)) / (2 * h)
            x.view(-1)[i] = old
    return gradients


def largest_difference(gradients: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(gradients, expected, strict=True))


rows: list[tuple[str, str, float, float]] = []  # formula, shapes, largest differences of formula, central differences


def compare(name: str, formula: Callable, layer: Callable, *shapes: tuple[int, ...], **settings: Any) -> None:
    """Print the largest differences from autograd over DRAWS random inputs of these shapes, and add them to `rows`.

    `formula(*inputs, dy, **settings)` returns the gradients of `layer(*inputs, **settings)`. The formula of a loss,
    whose value is one number, takes no `dy`.
    """
    by_formula = by_differences = 0.0
    for _ in range(DRAWS):
        inputs = [normal(*shape) for shape in shapes]
        y = layer(*inputs, **settings)
        dy = [normal(*y.shape)] if y.dim() else []

        def loss(*inputs: Tensor, dy: list[Tensor] = dy) -> Tensor:
            y = layer(*inputs, **settings)
            return (dy[0] * y).sum() if dy else y

        expected = autograd(loss, inputs)
        by_formula = max(by_formula, largest_difference(formula(*inputs, *dy, **settings), expected))
        by_differences = max(by_differences, largest_difference(central_differences(loss, inputs), expected))
    rows.append((name, ", ".join("x".join(map(str, shape)) for shape in shapes), by_formula, by_differences))
    print("{:28} {:42} {:8.1e} {:12.1e}".format(*rows[-1]))


print(f"Largest absolute difference from autograd, float64, {DRAWS} random inputs for each formula\n")
print(f"{'':28} {'shapes of the inputs':42} {'formula':>8} {'differences':>12}")

# %% [markdown]
# ## Softmax and cross entropy
# The Jacobian of $p_i = e^{z_i} / \sum_j e^{z_j}$ is $\partial p_i / \partial z_j = p_i (1[i = j] - p_j)$, that is
# $\mathrm{diag}(p) - p p^T$. The cross entropy $L = -\frac{1}{N} \sum_n \sum_k y_{nk} \log p_{nk}$, where each $y_n$
# sums to 1, has the gradient $\partial L / \partial z = (p - y) / N$.


# %%
def softmax(z: Tensor) -> Tensor:
    """Map logits (N, K) to probabilities (N, K)."""
    powers = (z - z.amax(dim=1, keepdim=True)).exp()  # the largest power is 1: no overflow
    return powers / powers.sum(dim=1, keepdim=True)


def softmax_jacobian(z: Tensor) -> Tensor:
    """Map logits (N, K) to Jacobians (N, K, K), whose entry i, j is dp_i / dz_j."""
    p = softmax(z)
    return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


def softmax_gradient(z: Tensor, dp: Tensor) -> tuple[Tensor]:
    """Return dz (N, K): dz_j = sum_i dp_i J_ij."""
    return (torch.einsum("ni,nij->nj", dp, softmax_jacobian(z)),)


def cross_entropy_gradient(z: Tensor, target: Tensor) -> tuple[Tensor]:
    """Return dz (N, K). A row of `target` (N, K) is one-hot, or any distribution over the classes."""
    return ((softmax(z) - target) / len(z),)


one_hot = F.one_hot(torch.tensor([2, 0, 4, 2]), 5).double()
compare("softmax", softmax_gradient, lambda z: F.softmax(z, dim=1), (4, 5))
compare("cross entropy", cross_entropy_gradient, F.cross_entropy, (4, 5), target=one_hot)

# %% [markdown]
# ## Linear layer
# $Y = X W^T + b$, with an example in each row of $X$: $dX = dY\, W$, $dW = dY^T X$, and $db$ is the sum of the rows
# of $dY$.


# %%
def linear_gradients(x: Tensor, w: Tensor, b: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx (N, in), dw (out, in), db (out)."""
    return dy @ w, dy.T @ x, dy.sum(dim=0)


compare("linear layer", linear_gradients, F.linear, (4, 3), (5, 3), (5,))

# %% [markdown]
# ## Back-propagation through a multilayer perceptron
# $z^l = W^l a^{l-1} + b^l$ and $a^l = \sigma(z^l)$ for $l = 1 \dots L$, with the logistic function, whose derivative is
# $\sigma' = \sigma (1 - \sigma)$. One example costs $C = \frac{1}{2} |a^L - y|^2$. With
# $\delta^l = \partial C / \partial z^l$:
#
# - BP1: $\delta^L = (a^L - y) \odot \sigma'(z^L)$
# - BP2: $\delta^l = ((W^{l+1})^T \delta^{l+1}) \odot \sigma'(z^l)$
# - BP3: $\partial C / \partial b^l = \delta^l$
# - BP4: $\partial C / \partial W^l = \delta^l (a^{l-1})^T$
#
# In the code, each row of `delta` belongs to one example, and the cost is the mean over the examples.


# %%
def mlp(x: Tensor, *parameters: Tensor) -> list[Tensor]:
    """Return the activations a^0 = x (N, in) to a^L (N, out); `parameters` are W^1, b^1, .. W^L, b^L."""
    activations = [x]
    for w, b in zip(parameters[::2], parameters[1::2], strict=True):
        activations.append(torch.sigmoid(activations[-1] @ w.T + b))
    return activations


def mlp_cost(*parameters: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return ((mlp(x, *parameters)[-1] - y) ** 2).sum(dim=1).mean() / 2


def mlp_gradients(*parameters: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
    """Return dW^1 (out, in), db^1 (out), .. dW^L, db^L of the cost."""
    *hidden, output = mlp(x, *parameters)
    delta = (output - y) * output * (1 - output)  # BP1
    gradients = []
    for w, a in zip(parameters[-2::-2], reversed(hidden), strict=True):  # from the last layer to the first
        gradients += [delta.mean(dim=0), delta.T @ a / len(x)]  # BP3, BP4
        delta = (delta @ w) * a * (1 - a)  # BP2
    return gradients[::-1]


examples = {"x": normal(6, 4), "y": normal(6, 2)}
compare("MLP, BP1 to BP4, 1 layer", mlp_gradients, mlp_cost, (2, 4), (2,), **examples)
compare("MLP, BP1 to BP4, 3 layers", mlp_gradients, mlp_cost, (5, 4), (5,), (3, 5), (3,), (2, 3), (2,), **examples)

# %% [markdown]
# ## Convolution
# $y_{noij} = b_o + \sum_{cuv} w_{ocuv}\, x_{n,c,si+u,sj+v}$, where $x$ is padded with zeros and $s$ is the stride. The
# entries of $x$ that one offset $(u, v)$ of the kernel meets form a strided slice, as high and wide as $y$. So
#
# - $dw_{ocuv} = \sum_{nij} dy_{noij}\, x_{n,c,si+u,sj+v}$
# - $dx$ is a sum over the offsets: its slice at $(u, v)$ receives $\sum_o w_{ocuv}\, dy_{noij}$
# - $db_o = \sum_{nij} dy_{noij}$


# %%
def slices(x: Tensor, y: Tensor, kernel: Sequence[int], stride: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yield u, v, and the view of x with the entries si+u, sj+v, for each offset in a kernel (height, width)."""
    height, width = y.shape[2:]
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            yield u, v, x[:, :, u : u + stride * height : stride, v : v + stride * width : stride]


def pad(x: Tensor, padding: int, value: float = 0.0) -> Tensor:
    return F.pad(x, (padding, padding, padding, padding), value=value)


def crop(x: Tensor, padding: int) -> Tensor:
    """Undo `pad`."""
    return x[:, :, padding : x.shape[2] - padding, padding : x.shape[3] - padding]


def convolution_gradients(
    x: Tensor, w: Tensor, b: Tensor, dy: Tensor, stride: int = 1, padding: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx (N, in, H, W), dw (out, in, kernel height, kernel width), db (out)."""
    x = pad(x, padding)
    dx, dw = torch.zeros_like(x), torch.zeros_like(w)
    for u, v, x_slice in slices(x, dy, w.shape[2:], stride):
        dw[:, :, u, v] = torch.einsum("noij,ncij->oc", dy, x_slice)
    for u, v, dx_slice in slices(dx, dy, w.shape[2:], stride):
        dx_slice += torch.einsum("oc,noij->ncij", w[:, :, u, v], dy)
    return crop(dx, padding), dw, dy.sum(dim=(0, 2, 3))


compare("convolution", convolution_gradients, F.conv2d, (2, 3, 6, 5), (4, 3, 3, 2), (4,))
image, kernel, bias = (2, 3, 6, 5), (4, 3, 3, 3), (4,)
compare("convolution, stride, padding", convolution_gradients, F.conv2d, image, kernel, bias, stride=2, padding=1)

# %% [markdown]
# ## Pooling
# The maximum of a window hands $dy$ to its own position; of equal maxima, the first one does so, as in PyTorch. The
# mean of a window of $k \times k$ entries hands $dy / k^2$ to each of them.


# %%
def max_pooling_gradient(x: Tensor, dy: Tensor, kernel_size: int, stride: int, padding: int = 0) -> tuple[Tensor]:
    """Return dx (N, C, H, W) of the maxima of square windows."""
    x = pad(x, padding, value=-torch.inf)
    dx = torch.zeros_like(x)
    windows = torch.stack([x_slice for _, _, x_slice in slices(x, dy, (kernel_size, kernel_size), stride)])
    first = windows.argmax(dim=0)  # its number in row-major order
    for u, v, dx_slice in slices(dx, dy, (kernel_size, kernel_size), stride):
        dx_slice += dy * (first == u * kernel_size + v)
    return (crop(dx, padding),)


def average_pooling_gradient(x: Tensor, dy: Tensor, kernel_size: int, stride: int, padding: int = 0) -> tuple[Tensor]:
    """Return dx (N, C, H, W) of the means of square windows, where padding counts as zeros."""
    dx = pad(torch.zeros_like(x), padding)
    for _, _, dx_slice in slices(dx, dy, (kernel_size, kernel_size), stride):
        dx_slice += dy / kernel_size**2
    return (crop(dx, padding),)


compare("max pooling", max_pooling_gradient, F.max_pool2d, image, kernel_size=3, stride=2, padding=1)
compare("average pooling", average_pooling_gradient, F.avg_pool2d, image, kernel_size=3, stride=2, padding=1)

# %% [markdown]
# ## Batch norm, in training
# $\hat x = (x - \mu) / \sqrt{\sigma^2 + \epsilon}$ and $y = \gamma \hat x + \beta$, where $\mu$ and $\sigma^2$ are the
# mean and the variance of each channel over the batch. Both depend on every $x$, so $dx$ has three terms. With
# $d\hat x = \gamma\, dy$, and means over the batch:
#
# $dx = (d\hat x - \mathrm{mean}(d\hat x) - \hat x\, \mathrm{mean}(d\hat x \odot \hat x)) / \sqrt{\sigma^2 + \epsilon}$,
# $\quad d\gamma = \sum dy \odot \hat x$, $\quad d\beta = \sum dy$.


# %%
def batch_norm_gradients(
    x: Tensor, gamma: Tensor, beta: Tensor, dy: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dx (N, C, H, W), dgamma (C), dbeta (C)."""
    axes = (0, 2, 3)
    deviation = (x.var(dim=axes, correction=0, keepdim=True) + eps).sqrt()
    x_hat = (x - x.mean(dim=axes, keepdim=True)) / deviation
    dx_hat = gamma[:, None, None] * dy
    mean = dx_hat.mean(dim=axes, keepdim=True)
    correlation = (dx_hat * x_hat).mean(dim=axes, keepdim=True)
    return (dx_hat - mean - x_hat * correlation) / deviation, (dy * x_hat).sum(dim=axes), dy.sum(dim=axes)


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, gamma, beta, training=True)


compare("batch norm", batch_norm_gradients, batch_norm, (4, 3, 2, 2), (3,), (3,))

# %% [markdown]
# ## Penalties
# L2, also called weight decay: $\frac{\lambda}{2} \sum w^2$ has the gradient $\lambda w$. L1: $\lambda \sum |w|$ has
# $\lambda\, \mathrm{sign}(w)$, with 0 at 0.


# %%
def l2_gradient(w: Tensor, strength: float) -> tuple[Tensor]:
    return (strength * w,)


def l1_gradient(w: Tensor, strength: float) -> tuple[Tensor]:
    return (strength * w.sign(),)


compare("L2 penalty", l2_gradient, lambda w, strength: strength / 2 * (w**2).sum(), (5, 3), strength=0.1)
compare("L1 penalty", l1_gradient, lambda w, strength: strength * w.abs().sum(), (5, 3), strength=0.1)

# %% [markdown]
# ## Back-propagation through time
# $h_t = \tanh(x_t W + h_{t-1} U + b)$. With $\delta_t = dh_t \odot (1 - h_t^2)$, one step returns
# $dx_t = \delta_t W^T$, $dh_{t-1} = \delta_t U^T$, $dW = x_t^T \delta_t$, $dU = h_{t-1}^T \delta_t$, and $db$, the sum
# of the rows of $\delta_t$. Over many steps, $dh_t$ has two parts: what the loss reads of $h_t$, and what step $t + 1$
# returns. All steps share the weights, so their gradients are sums over the steps.


# %%
def step_gradients(x: Tensor, h: Tensor, w: Tensor, u: Tensor, b: Tensor, dh: Tensor) -> list[Tensor]:
    """Return the gradients of one step from state h (N, hidden): dx, dh, dw, du, db; `dh` is that of the new state."""
    delta = dh * (1 - torch.tanh(x @ w + h @ u + b) ** 2)
    return [delta @ w.T, delta @ u.T, x.T @ delta, h.T @ delta, delta.sum(dim=0)]


def rnn(xs: Tensor, h: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Tensor:
    """Map inputs (T, N, in) and the state h_0 (N, hidden) to the states h_1 .. h_T (T, N, hidden)."""
    states = [h]
    for x in xs:
        states.append(torch.tanh(x @ w + states[-1] @ u + b))
    return torch.stack(states[1:])


def rnn_gradients(xs: Tensor, h: Tensor, w: Tensor, u: Tensor, b: Tensor, dhs: Tensor) -> list[Tensor]:
    """Return dxs (T, N, in), dh_0, dw, du, db; `dhs` (T, N, hidden) is what the loss reads of h_1 .. h_T."""
    states = [h, *rnn(xs, h, w, u, b)]
    dxs, dh = torch.zeros_like(xs), torch.zeros_like(h)
    sums = [torch.zeros_like(parameter) for parameter in (w, u, b)]
    for t in reversed(range(len(xs))):
        dxs[t], dh, *gradients = step_gradients(xs[t], states[t], w, u, b, dhs[t] + dh)
        sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
    return [dxs, dh, *sums]


parameters = ((3, 5), (5, 5), (5,))
compare("RNN, one step", step_gradients, lambda x, *others: rnn(x[None], *others)[0], (4, 3), (4, 5), *parameters)
compare("RNN, six steps", rnn_gradients, rnn, (6, 4, 3), (4, 5), *parameters)

# %% [markdown]
# ## All formulas
# A correct formula differs from autograd by rounding alone. Central differences lose about half of the digits, and more
# through six steps of an RNN, whose third derivatives are large. They need two evaluations of the loss for every
# parameter: they serve to check a gradient, not to train.

# %%
table = f"Largest absolute difference from autograd, float64, {DRAWS} random inputs for each formula.\n\n"
table += "| layer or loss | shapes of the inputs | formula | central differences |\n| --- | --- | ---: | ---: |\n"
table += "".join("| {} | {} | {:.1e} | {:.1e} |\n".format(*row) for row in rows)
(options.folder / "gradients.md").write_text(table)

names, _, by_formula, by_differences = zip(*rows, strict=True)
ZERO = 1e-18  # where a logarithmic axis shows 0
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
axes.plot([max(ZERO, value) for value in by_formula], names, "o", color="black", label="formula")
axes.plot(by_differences, names, "s", color="tab:orange", markerfacecolor="white", label="central differences")
axes.axvline(torch.finfo(torch.float64).eps, color="grey", linestyle=":", label="machine epsilon")
axes.set(
    xscale="log",
    xlim=(ZERO / 3, 1e-5),
    xlabel="largest absolute difference from autograd (float64)",
)
powers = range(-16, -4, 2)
axes.set_xticks([ZERO, *(10.0**n for n in powers)], ["0", *(f"$10^{{{n}}}$" for n in powers)])
axes.invert_yaxis()  # the first formula at the top
axes.grid(axis="y", alpha=0.3)
axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=3, frameon=False)
figure.savefig(options.folder / "gradients.png", dpi=150)
print(f"\nTable and plot: {options.folder}")
