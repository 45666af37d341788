"""LSTM: long short-term memory, a cell whose content gates write, keep and read.

    I_t = sigma(X_t W_xi + H_{t-1} W_hi + b_i)       input gate
    F_t = sigma(X_t W_xf + H_{t-1} W_hf + b_f)       forget gate
    O_t = sigma(X_t W_xo + H_{t-1} W_ho + b_o)       output gate
    G_t = tanh(X_t W_xc + H_{t-1} W_hc + b_c)        candidate
    C_t = F_t * C_{t-1} + I_t * G_t                  cell, C_0 = 0
    H_t = O_t * tanh(C_t)                            state, H_0 = 0

Sources: Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation, 1997, section 4; the forget gate is
Gers, Schmidhuber & Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation, 2000, section 3;
in the form of "Dive into Deep Learning", section 10.1. `init=orthogonal` opens the forget gate by a bias of 1:
Jozefowicz, Zaremba & Sutskever, "An Empirical Exploration of Recurrent Network Architectures", ICML 2015.

Departures: every cell has gates of its own (no blocks of cells that share them); tanh in place of the scaled logistic
functions g and h; the gradient goes back through every time step, where the papers cut it at the gates' inputs.
`torch.nn.LSTM` holds each b as a sum of two vectors.
"""

from typing import Literal

from torch import nn

from .recurrent import RowByRow


class LSTM(RowByRow):
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
            nn.LSTM, image_size, in_channels, num_classes, hidden_size, num_layers, bidirectional, dropout, pool, init
        )
        if init == "orthogonal":
            for name, parameter in self.recurrent.named_parameters():
                if "bias_ih" in name:  # bias_hh stays zero: the two add up to 1
                    nn.init.ones_(parameter.detach().chunk(4)[1])  # torch holds the gates as I, F, G, O
