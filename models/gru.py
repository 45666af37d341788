"""GRU: the gated recurrent unit, in both of its forms.

    R_t = sigma(X_t W_xr + H_{t-1} W_hr + b_r)            reset gate
    Z_t = sigma(X_t W_xz + H_{t-1} W_hz + b_z)            update gate
    C_t = tanh(X_t W_xh + (R_t * H_{t-1}) W_hh + b_h)     candidate
    H_t = Z_t * H_{t-1} + (1 - Z_t) * C_t                 state, H_0 = 0

Source: Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk & Bengio, "Learning Phrase Representations using
RNN Encoder-Decoder for Statistical Machine Translation", EMNLP 2014, equations 5 to 8; in the form of "Dive into Deep
Learning", section 10.2.

Departures: the gates have biases, as in the course. `reset_after=True` is cuDNN's form and `torch.nn.GRU`: the reset
gate acts after the product, C_t = tanh(X_t W_xh + b_h + R_t * (H_{t-1} W_hh + b_hh)), which is another function and has
one more bias.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .recurrent import RowByRow


class ResetBeforeGRU(nn.Module):
    """Compute the equations above: (T, N, input_size) -> (T, N, directions * hidden_size), None.

    It is called as `torch.nn.GRU` is, but returns None in place of the final states.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, *, dropout: float, bidirectional: bool
    ) -> None:
        super().__init__()
        directions = (False, True) if bidirectional else (False,)
        widths = [input_size] + [len(directions) * hidden_size] * (num_layers - 1)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.ModuleList(GRUDirection(width, hidden_size, backward) for backward in directions) for width in widths
        )

    def forward(self, rows: Tensor) -> tuple[Tensor, None]:
        states = rows
        for depth, layer in enumerate(self.layers):
            if depth:
                states = self.dropout(states)
            states = torch.cat([direction(states) for direction in layer.children()], dim=-1)
        return states, None


class GRUDirection(nn.Module):
    """Compute one layer in one direction: (T, N, input_size) -> (T, N, hidden_size). Weights are ordered R, Z, C."""

    def __init__(self, input_size: int, hidden_size: int, backward: bool) -> None:
        super().__init__()
        self.backward = backward
        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))
        for parameter in self.parameters():  # as in torch.nn.GRU
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)

    def forward(self, rows: Tensor) -> Tensor:
        inputs = F.linear(rows, self.weight_ih, self.bias)  # all time steps in one product
        return unroll(inputs, self.weight_hh, self.backward)


@torch.fx.wrap  # one operation for torch.fx, which cannot trace a loop over the time steps of a tensor
def unroll(inputs: Tensor, weight_hh: Tensor, backward: bool) -> Tensor:
    """Compute the states (T, N, hidden_size) of one direction.

    `inputs` are X W + b of all gates (T, N, 3 * hidden_size), `weight_hh` (3 * hidden_size, hidden_size) is recurrent.
    """
    hidden_size = weight_hh.shape[1]
    sizes = (2 * hidden_size, hidden_size)  # R and Z, C
    gate_inputs, candidate_inputs = inputs.split(sizes, dim=-1)
    gate_weight, candidate_weight = weight_hh.t().split(sizes, dim=-1)
    steps = list(zip(gate_inputs.unbind(), candidate_inputs.unbind(), strict=True))
    order = -1 if backward else 1
    state = inputs.new_zeros(inputs.shape[1], hidden_size)
    states = []
    for gate_input, candidate_input in steps[::order]:
        reset_gate, update_gate = torch.addmm(gate_input, state, gate_weight).sigmoid().chunk(2, dim=-1)
        candidate = torch.addmm(candidate_input, reset_gate * state, candidate_weight).tanh()
        state = torch.lerp(candidate, state, update_gate)  # Z * H + (1 - Z) * C
        states.append(state)
    return torch.stack(states[::order])


class GRU(RowByRow):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    `reset_after` chooses `torch.nn.GRU`, which is faster, in place of the equations above. Other arguments: see
    `RowByRow`.
    """

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
        reset_after: bool = False,
    ) -> None:
        self.layer = nn.GRU if reset_after else ResetBeforeGRU
        super().__init__(
            image_size, in_channels, num_classes, hidden_size, num_layers, bidirectional, dropout, pool, init
        )
