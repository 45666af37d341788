"""Compare the gradient formulas of convolution, pooling and batch norm with autograd.

Sources: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", chapters 7 and 8; Ioffe & Szegedy, "Batch Normalization",
ICML 2015, section 3. How a formula is compared stands in gradients.py.
"""

# %% [markdown]
# # Gradients of convolution, pooling and batch norm
# Each section has a formula, the code that follows it, and its difference from autograd.

# %%
from start import read_flags

options = read_flags("convolution_gradients", __doc__)

# %%
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from comparison import Comparison
from torch import Tensor

comparison = Comparison("convolution_gradients", options)
compare = comparison.compare

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
    for u, v, dx_slice in slices(dx, dy, w.shape[2:], stride):  # a view: what is added to it is added to dx
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
# ## All formulas
# As in gradients.py, a formula differs from autograd by rounding alone.
#
# A question: which of these formulas would give a wrong answer for windows that overlap, if `+=` were `=`?

# %%
comparison.save()
