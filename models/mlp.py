"""The multilayer perceptron: fully connected layers with ReLU between them.

Source: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", sections 5.2 and 5.6: 784 -> 256 -> 10; the ReLU is
Nair & Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", ICML 2010; dropout behind each hidden
layer is Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014.

Departures: none.
"""

from itertools import pairwise
from math import prod

from torch import Tensor, nn

from .checks import check_dropout, height_and_width
from .layers import check_images, initialize


class MLP(nn.Module):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    `image_size` is height and width, of any size, or one number for both.
    `hidden_sizes` are the numbers of units of the hidden layers, `dropout` is the probability that a unit is dropped.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 28,
        in_channels: int = 1,
        num_classes: int = 10,
        hidden_sizes: tuple[int, ...] = (256,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.image_size, self.in_channels = height_and_width("MLP", image_size), in_channels
        self.register_forward_pre_hook(check_images)
        if min(hidden_sizes, default=1) < 1:
            raise ValueError(f"MLP: every one of hidden_sizes must be at least 1, got {tuple(hidden_sizes)}")
        check_dropout("MLP", dropout)
        self.flatten = nn.Flatten()  # (N, 784)
        sizes = (in_channels * prod(self.image_size), *hidden_sizes)
        self.hidden = nn.Sequential(
            *(nn.Sequential(nn.Linear(n, m), nn.ReLU(), nn.Dropout(dropout)) for n, m in pairwise(sizes))
        )
        self.output = nn.Linear(sizes[-1], num_classes)
        initialize(self, "relu")

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.hidden(self.flatten(images)))
