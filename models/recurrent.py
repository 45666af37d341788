"""What the recurrent networks share: an image read row by row, from top to bottom, and how their weights begin.

Sources: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", chapters 9 and 10; two directions: Schuster & Paliwal,
"Bidirectional Recurrent Neural Networks", IEEE Transactions on Signal Processing, 1997; dropout between the layers
alone, never from one time step to the next: Zaremba, Sutskever & Vinyals, "Recurrent Neural Network Regularization",
2014; orthogonal recurrent weights: Saxe, McClelland & Ganguli, "Exact solutions to the nonlinear dynamics of learning
in deep linear neural networks", ICLR 2014.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .arguments import check_counts, check_dropout
from .image_size import check_image_size, check_images
from .initialization import initialize


class RowByRow(nn.Module):
    """A recurrent layer over the rows of an image, pooled over time, and a linear output.

    `layer` is called as `torch.nn.GRU` is and returns a pair that begins with its states
    (28 time steps, N, directions * hidden_size). `pool` says what of them feeds the output: `last`, the state of the
    top layer when it has read every row (each direction's own: the backward one ends at the first row), or `mean`,
    the mean over time.
    """

    def __init__(
        self,
        layer: Callable[..., nn.Module],
        image_size: int,
        in_channels: int,
        num_classes: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        dropout: float,
        pool: str,
        init: str,
    ) -> None:
        super().__init__()
        network = type(self).__name__
        check_image_size(network, image_size)
        check_counts(network, hidden_size=hidden_size, num_layers=num_layers)
        check_dropout(network, dropout)
        if dropout and num_layers == 1:
            raise ValueError(
                f"{network}: dropout acts between the layers and needs num_layers of at least 2, "
                f"got dropout={dropout} and num_layers=1"
            )
        if pool not in ("last", "mean"):
            raise ValueError(f"{network}: pool must be one of last, mean, got {pool!r}")
        if init not in ("torch", "orthogonal"):
            raise ValueError(f"{network}: init must be one of torch, orthogonal, got {init!r}")
        self.image_size, self.in_channels = image_size, in_channels
        self.bidirectional, self.pool = bidirectional, pool

        self.recurrent = layer(
            in_channels * image_size, hidden_size, num_layers, dropout=dropout, bidirectional=bidirectional
        )
        self.output = nn.Linear((1 + bidirectional) * hidden_size, num_classes)
        if init == "orthogonal":
            initialize_orthogonal(self.recurrent, hidden_size)
            initialize(self.output, "linear")

    def forward(self, images: Tensor) -> Tensor:
        check_images(type(self).__name__, images, self.in_channels, self.image_size)
        rows = images.permute(2, 0, 1, 3).flatten(2)  # (28 time steps, N, in_channels * 28)
        states, _ = self.recurrent(rows)
        return self.output(self.pooled(states))

    def pooled(self, states: Tensor) -> Tensor:
        if self.pool == "mean":
            return states.mean(0)
        if not self.bidirectional:
            return states[-1]
        forward, backward = states.chunk(2, dim=-1)
        return torch.cat((forward[-1], backward[0]), dim=-1)


def initialize_orthogonal(recurrent: nn.Module, hidden_size: int) -> None:
    """Each gate's recurrent weights orthogonal, its input weights Xavier uniform; biases zero."""
    for name, parameter in recurrent.named_parameters():
        for gate in parameter.detach().split(hidden_size):
            if "weight_hh" in name:
                nn.init.orthogonal_(gate)
            elif "weight_ih" in name:
                nn.init.xavier_uniform_(gate)
            else:
                nn.init.zeros_(gate)
