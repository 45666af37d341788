"""LSTM: long short-term memory, a cell with an input, a forget and an output gate.

    I_t = sigma(X_t W_xi + H_{t-1} W_hi + b_i)       input gate
    F_t = sigma(X_t W_xf + H_{t-1} W_hf + b_f)       forget gate
    O_t = sigma(X_t W_xo + H_{t-1} W_ho + b_o)       output gate
    G_t = tanh(X_t W_xc + H_{t-1} W_hc + b_c)        candidate
    C_t = F_t * C_{t-1} + I_t * G_t                  cell, C_0 = 0
    H_t = O_t * tanh(C_t)                            state, H_0 = 0

Sources: Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation, 1997, section 4; the forget gate is
Gers, Schmidhuber & Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation, 2000, section 3;
in the form of "Dive into Deep Learning", section 10.1. `init="orthogonal"` gives the forget gate a bias of 1:
Jozefowicz, Zaremba & Sutskever, "An Empirical Exploration of Recurrent Network Architectures", ICML 2015.

Departures: every cell has gates of its own (no blocks of cells that share them); tanh in place of the scaled logistic
functions g and h; the gradient goes back through every time step, where the papers cut it at the gates' inputs.
`torch.nn.LSTM` holds each b as a sum of two vectors.
"""

from torch import nn

from .recurrent import RowByRow


class LSTM(RowByRow):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    Arguments: see `RowByRow`.
    """

    layer = nn.LSTM

    def initialize_recurrent(self, hidden_size: int) -> None:
        super().initialize_recurrent(hidden_size)
        for name, parameter in self.recurrent.named_parameters():
            if "bias_ih" in name:  # bias_hh stays zero: the two add up to 1
                nn.init.ones_(parameter.detach().chunk(4)[1])  # torch orders the gates I, F, G, O
