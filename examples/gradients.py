"""Compare the gradient formulas of a deep-learning course with autograd: softmax, linear layers, MLP, penalties, RNN.

Sources: Nielsen, "Neural Networks and Deep Learning", chapter 2 (the four equations of back-propagation); Zhang,
Lipton, Li & Smola, "Dive into Deep Learning", chapters 3 to 9. The formulas of convolution, pooling and batch norm are
in convolution_gradients.py.
"""

# %% [markdown]
# # Gradients worked out
# Each section has a formula, the code that follows it, and its difference from autograd.

# %%
from start import read_flags

options = read_flags("gradients", __doc__)

# %%
import torch
import torch.nn.functional as F
from comparison import Comparison, normal
from torch import Tensor

# %% [markdown]
# ## How a formula is compared
# A layer computes $y$ from its inputs, later layers compute the loss $L$ from $y$. Back-propagation hands the layer
# $dy$, short for $\partial L / \partial y$, and the layer returns the gradient of $L$ for each of its inputs. Here
# $L = \sum dy \odot y$ with a random $dy$. Two answers are compared with autograd's: the formula, and central
# differences, $(L(x + h) - L(x - h)) / 2h$ for one number $x$ at a time, whose error is $O(h^2)$ plus rounding,
# $O(10^{-16} / h)$.

# %%
comparison = Comparison("gradients", options)
compare = comparison.compare

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
        delta = (delta @ w) * a * (1 - a)  # BP2; that of the input, at last, is not used
    return gradients[::-1]


examples = {"x": normal(6, 4), "y": normal(6, 2)}
compare("MLP, BP1 to BP4, 1 layer", mlp_gradients, mlp_cost, (2, 4), (2,), **examples)
compare("MLP, BP1 to BP4, 3 layers", mlp_gradients, mlp_cost, (5, 4), (5,), (3, 5), (3,), (2, 3), (2,), **examples)

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
# A correct formula differs from autograd by rounding alone. Central differences lose at least a third of the digits,
# at the best $h$, near $10^{-5}$, and more through six steps of an RNN, whose third derivatives are large. They need
# two evaluations of the loss for every parameter: they serve to check a gradient, not to train.
#
# A question: by how many digits would one-sided differences, $(L(x + h) - L(x)) / h$, be worse, and at which $h$?

# %%
comparison.save()
