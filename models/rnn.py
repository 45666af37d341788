"""RNN: the simple recurrent network, whose state is fed back to itself.

    H_t = tanh(X_t W_xh + H_{t-1} W_hh + b_h)        X_t: row t of the image, H_0 = 0

Source: Elman, "Finding Structure in Time", Cognitive Science, 1990, figure 2; in the form of "Dive into Deep Learning",
section 9.4.

Departures: tanh units, not logistic ones; the gradient goes back through every time step, where Elman stopped it at
the copied state. `torch.nn.RNN` holds b_h as a sum of two vectors.
"""

from typing import Literal

from torch import nn

from .recurrent import RowByRow


class RNN(RowByRow):
    """(N, in_channels, 28, 28), standardised -> (N, num_classes) logits. Raises ValueError for another size.

    `dropout` is the share of states dropped between the layers; `pool` and `init`: see `recurrent`.
    """

    def __init__(
        self,
        image_size: int = 28,
        in_channels: int = 1,
        num_classes: int = 10,
        hidden_size: int = 128,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pool: Literal["last", "mean"] = "last",
        init: Literal["torch", "orthogonal"] = "torch",
    ) -> None:
        super().__init__(
            nn.RNN, image_size, in_channels, num_classes, hidden_size, num_layers, bidirectional, dropout, pool, init
        )
