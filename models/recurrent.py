"""The part that RNN, GRU and LSTM share: the image as a sequence of rows, the arguments, the initial weights.

Sources: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", chapters 9 and 10; two directions: Schuster & Paliwal,
"Bidirectional Recurrent Neural Networks", IEEE Transactions on Signal Processing, 1997; dropout between the layers
alone, never from one time step to the next: Zaremba, Sutskever & Vinyals, "Recurrent Neural Network Regularization",
2014; orthogonal recurrent weights: Saxe, McClelland & Ganguli, "Exact solutions to the nonlinear dynamics of learning
in deep linear neural networks", ICLR 2014.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from .checks import check_choice, check_counts, check_dropout, height_and_width
from .layers import check_images, initialize


class RowByRow(nn.Module):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes), one row a time step.

    A subclass sets `layer`, which is called as `torch.nn.GRU` is and returns a tuple that begins with the states
    (time steps, N, directions * hidden_size).

    `image_size` is height and width, of any size, or one number for both. `dropout` is the probability that a state
    between two layers is dropped. `pool` chooses what the linear output reads: `last`, the state of the top layer after
    the last row (of the backward direction: after the first row), or `mean`, the mean over time. `init` chooses the
    initial weights: `orthogonal`, or `torch`, its own uniform ones.
    """

    layer: Callable[..., nn.Module]

    def __init__(
        self,
        image_size: int | tuple[int, int] = 28,
        in_channels: int = 1,
        num_classes: int = 10,
        hidden_size: int = 128,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pool: Literal["last", "mean"] = "last",
        init: Literal["torch", "orthogonal"] = "orthogonal",
    ) -> None:
        super().__init__()
        network = type(self).__name__
        self.image_size, self.in_channels = height_and_width(network, image_size), in_channels
        self.register_forward_pre_hook(check_images)
        check_counts(network, hidden_size=hidden_size, num_layers=num_layers)
        check_dropout(network, dropout)
        if dropout and num_layers == 1:
            raise ValueError(
                f"{network}: dropout acts between the layers and needs num_layers of at least 2, "
                f"got dropout={dropout} and num_layers=1"
            )
        check_choice(network, "pool", pool, ("last", "mean"))
        check_choice(network, "init", init, ("torch", "orthogonal"))
        self.bidirectional, self.pool = bidirectional, pool

        self.recurrent = self.layer(
            in_channels * self.image_size[1], hidden_size, num_layers, dropout=dropout, bidirectional=bidirectional
        )
        self.output = nn.Linear((1 + bidirectional) * hidden_size, num_classes)
        if init == "orthogonal":
            self.initialize_recurrent(hidden_size)
            initialize(self.output, "linear")

    def initialize_recurrent(self, hidden_size: int) -> None:
        """Make the recurrent weights of each gate orthogonal, its input weights Xavier uniform, and biases zero."""
        for name, parameter in self.recurrent.named_parameters():
            for gate in parameter.detach().split(hidden_size):
                if "weight_hh" in name:
                    nn.init.orthogonal_(gate)
                elif "weight_ih" in name:
                    nn.init.xavier_uniform_(gate)
                else:
                    nn.init.zeros_(gate)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.permute(2, 0, 1, 3).flatten(2)  # (height, N, in_channels * width)
        states, _ = self.recurrent(rows)
        return self.output(self.pooled(states))

    def pooled(self, states: Tensor) -> Tensor:
        """Reduce (height, N, directions * hidden_size) to (N, directions * hidden_size)."""
        if self.pool == "mean":
            return states.mean(0)
        if not self.bidirectional:
            return states[-1]
        forward, backward = states.chunk(2, dim=-1)
        return torch.cat((forward[-1], backward[0]), dim=-1)
