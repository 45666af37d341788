"""RNN: the simple recurrent network, whose state is fed back to itself.

    H_t = tanh(X_t W_xh + H_{t-1} W_hh + b_h)        X_t: row t of the image, H_0 = 0

Source: Elman, "Finding Structure in Time", Cognitive Science, 1990, figure 2; in the form of "Dive into Deep Learning",
section 9.4.

Departures: tanh units, not logistic ones; the gradient goes back through every time step, where Elman stopped it at
the copied state. `torch.nn.RNN` holds b_h as a sum of two vectors.
"""

from torch import nn

from .recurrent import RowByRow


class RNN(RowByRow):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    Arguments: see `RowByRow`.
    """

    layer = nn.RNN
