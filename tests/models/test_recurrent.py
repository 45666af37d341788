"""Test the recurrent networks against their equations, written here gate by gate and step by step."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

import models
from models.gru import GRUDirection
from models.recurrent import RowByRow


def rnn(row, state, cell, w, u, b_w, b_u):
    return torch.tanh(row @ w.T + state @ u.T + b_w + b_u), cell


def lstm(row, state, cell, w, u, b_w, b_u):
    w_i, w_f, w_c, w_o = w.chunk(4)
    u_i, u_f, u_c, u_o = u.chunk(4)
    b_i, b_f, b_c, b_o = (b_w + b_u).chunk(4)
    input_gate = torch.sigmoid(row @ w_i.T + state @ u_i.T + b_i)
    forget_gate = torch.sigmoid(row @ w_f.T + state @ u_f.T + b_f)
    output_gate = torch.sigmoid(row @ w_o.T + state @ u_o.T + b_o)
    candidate = torch.tanh(row @ w_c.T + state @ u_c.T + b_c)
    cell = forget_gate * cell + input_gate * candidate
    return output_gate * torch.tanh(cell), cell


def gru_gates(row, state, w, u, b):
    w_r, w_z, _ = w.chunk(3)
    u_r, u_z, _ = u.chunk(3)
    b_r, b_z, _ = b.chunk(3)
    return torch.sigmoid(row @ w_r.T + state @ u_r.T + b_r), torch.sigmoid(row @ w_z.T + state @ u_z.T + b_z)


def gru_reset_before(row, state, cell, w, u, b):
    reset_gate, update_gate = gru_gates(row, state, w, u, b)
    w_c, u_c, b_c = (part.chunk(3)[2] for part in (w, u, b))
    candidate = torch.tanh(row @ w_c.T + (reset_gate * state) @ u_c.T + b_c)
    return update_gate * state + (1 - update_gate) * candidate, cell


def gru_reset_after(row, state, cell, w, u, b_w, b_u):
    reset_gate, update_gate = gru_gates(row, state, w, u, b_w + b_u)
    w_c, u_c, b_wc, b_uc = (part.chunk(3)[2] for part in (w, u, b_w, b_u))
    candidate = torch.tanh(row @ w_c.T + b_wc + reset_gate * (state @ u_c.T + b_uc))
    return update_gate * state + (1 - update_gate) * candidate, cell


EQUATIONS = {"rnn": rnn, "lstm": lstm, "gru": gru_reset_before, "gru, reset after": gru_reset_after}
GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru, reset after": 3}  # the candidate is counted as one
every_network = pytest.mark.parametrize("network", EQUATIONS)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Use one thread: on a busy machine, thousands of small products otherwise wait for threads, 50 s in place of 6."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(network: str, **arguments) -> RowByRow:
    torch.manual_seed(0)
    built = models.create(network.split(",")[0], **arguments | ({"reset_after": True} if "after" in network else {}))
    assert isinstance(built, RowByRow)
    return built


def logits_by_equation(
    network: str,
    parameters: list[Tensor],
    images: Tensor,
    *,
    num_layers: int,
    bidirectional: bool,
    dropout: float,
    pool: str,
) -> Tensor:
    *recurrent, output_weight, output_bias = parameters
    size = 3 if network == "gru" else 4  # weights and biases of one layer in one direction
    weights = zip(*[iter(recurrent)] * size, strict=True)
    height = images.shape[2]
    rows = [torch.cat([image[:, t] for image in images.unbind(1)], dim=1) for t in range(height)]
    final_states = []
    for layer in range(num_layers):
        if layer:
            rows = list(torch.dropout(torch.stack(rows), dropout, train=True))
        final_states, states_of_directions = [], []
        for times in [range(height), range(height - 1, -1, -1)][: 1 + bidirectional]:
            w, *others = next(weights)
            state = cell = images.new_zeros(len(images), len(w) // GATES[network])
            states = {}
            for t in times:
                state, cell = EQUATIONS[network](rows[t], state, cell, w, *others)
                states[t] = state
            final_states.append(state)
            states_of_directions.append(states)
        rows = [torch.cat([states[t] for states in states_of_directions], dim=1) for t in range(height)]
    features = torch.cat(final_states, dim=1) if pool == "last" else torch.stack(rows).mean(0)
    return features @ output_weight.T + output_bias


@every_network
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("pool", ["last", "mean"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("num_layers", "dropout"), [(1, 0.0), (2, 0.5)])
def test_outputs_and_gradients_equal_the_equations(network, num_layers, dropout, bidirectional, pool, batch):
    arguments = {"num_layers": num_layers, "dropout": dropout, "bidirectional": bidirectional, "pool": pool}
    built = build(network, in_channels=2, hidden_size=5, **arguments).double()
    images = torch.randn(batch, 2, 28, 28, dtype=torch.float64, requires_grad=True)
    parameters: list[Tensor] = list(built.parameters())
    torch.manual_seed(1)
    logits = built(images)
    torch.manual_seed(1)  # the same units are dropped
    expected = logits_by_equation(network, parameters, images, **arguments)
    assert_close(logits, expected)
    weighting = torch.randn_like(logits)
    gradients, expected_gradients = (
        torch.autograd.grad(value, [images, *parameters], weighting) for value in (logits, expected)
    )
    assert_close(gradients, expected_gradients)


@every_network
@pytest.mark.parametrize("size", [(6, 9), (9, 6), (1, 1)])
def test_time_steps_and_features_follow_height_and_width(network, size):
    arguments = {"num_layers": 2, "dropout": 0.0, "bidirectional": True, "pool": "last"}
    built = build(network, image_size=size, in_channels=2, hidden_size=5, **arguments).double()
    images = torch.randn(3, 2, *size, dtype=torch.float64)
    assert_close(built(images), logits_by_equation(network, list(built.parameters()), images, **arguments))


@every_network
def test_evaluation_applies_no_dropout(network):
    images = torch.randn(3, 1, 28, 28)
    built = build(network, hidden_size=5, num_layers=2, dropout=0.5).eval()
    assert torch.equal(built(images), built(images))
    assert_close(built(images), build(network, hidden_size=5, num_layers=2)(images))


@pytest.mark.parametrize(("network", "layer"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru, reset after", nn.GRU)])
def test_image_rows_are_the_time_steps(network, layer):
    built = build(network, hidden_size=5)
    library = layer(28, 5, batch_first=True)
    library.load_state_dict(built.recurrent.state_dict())
    images = torch.randn(3, 1, 28, 28)
    by_rows, by_columns = (built.output(library(pixels)[0][:, -1]) for pixels in (images.squeeze(1), images[:, 0].mT))
    assert_close(built(images), by_rows)
    assert_close(built(images.mT), by_columns)
    assert not torch.allclose(by_rows, by_columns, atol=0.01)


def reset_before() -> GRUDirection:
    torch.manual_seed(0)
    gru = GRUDirection(28, 5, backward=False).double()
    for parameter in gru.parameters():
        nn.init.normal_(parameter)
    return gru


def reset_after(gru: GRUDirection) -> nn.GRU:
    """Build the form of cuDNN with the same weights; its second bias is zero."""
    after = nn.GRU(28, 5).double()
    after.load_state_dict(
        {
            "weight_ih_l0": gru.weight_ih,
            "weight_hh_l0": gru.weight_hh,
            "bias_ih_l0": gru.bias,
            "bias_hh_l0": torch.zeros_like(gru.bias),
        }
    )
    return after


def test_two_gru_variants_differ_in_the_recurrent_term_of_the_candidate():
    before = reset_before()
    after = reset_after(before)
    second_bias = torch.randn(5, dtype=torch.float64)
    after.get_parameter("bias_hh_l0").data[10:] = second_bias
    rows = 0.1 * torch.randn(2, 3, 28, dtype=torch.float64)
    u_c = before.weight_hh[10:]

    def entering_the_second_step(states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reset gate, the state, and the term that the two add inside the candidate's tanh."""
        state, next_state = states
        reset_gate, update_gate = gru_gates(rows[1], state, *before.parameters())
        candidate = (next_state - update_gate * state) / (1 - update_gate)
        return reset_gate, state, torch.atanh(candidate) - rows[1] @ before.weight_ih[10:].T - before.bias[10:]

    reset_gate, state, term = entering_the_second_step(before(rows))
    assert_close(term, (reset_gate * state) @ u_c.T)
    reset_gate, state, term = entering_the_second_step(after(rows)[0])
    assert_close(term, reset_gate * (state @ u_c.T + second_bias))


@pytest.mark.parametrize("case", ["reset gate open", "diagonal recurrent weights", "neither"])
def test_two_gru_variants_agree_where_the_reset_gate_commutes_with_the_product(case):
    before = reset_before()
    if case == "reset gate open":
        before.bias.data[:5] = 100
    if case == "diagonal recurrent weights":
        before.weight_hh.data[10:] = torch.diag(torch.randn(5))
    rows = torch.randn(28, 3, 28, dtype=torch.float64)
    difference = (before(rows) - reset_after(before)(rows)[0]).abs().max()
    assert difference > 0.1 if case == "neither" else difference < 1e-12


@every_network
def test_torch_initialisation_is_uniform(network):
    bound = 40**-0.5
    for parameter in build(network, hidden_size=40, init="torch").recurrent.parameters():
        assert parameter.abs().max() <= bound
        assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)


@every_network
def test_default_initialisation_is_orthogonal(network):
    built = build(network, hidden_size=40, num_layers=2, bidirectional=True)
    biases: dict[str, Tensor] = {}
    for name, parameter in built.named_parameters():
        gates = parameter.split(40)
        if "bias" in name:
            layer = name.replace("_ih", "").replace("_hh", "")
            biases[layer] = biases.get(layer, torch.tensor(0)) + parameter
        elif "weight_hh" in name:
            for gate in gates:
                assert_close(gate @ gate.T, torch.eye(40), atol=1e-5, rtol=0)
        else:
            for gate in gates:
                assert gate.std().item() == pytest.approx((2 / sum(gate.shape)) ** 0.5, rel=0.1)
    assert len(biases) == 2 * 2 + 1
    for name, bias in biases.items():
        expected = torch.zeros_like(bias)
        if network == "lstm" and "output" not in name:
            expected[40:80] = 1  # the forget gates
        assert torch.equal(bias, expected)


@pytest.mark.parametrize(
    ("network", "count"), [("rnn", 21_514), ("lstm", 82_186), ("gru", 61_578), ("gru, reset after", 61_962)]
)
def test_parameter_count_equals_the_one_computed_by_hand(network, count):
    assert sum(parameter.numel() for parameter in build(network).parameters()) == count


@every_network
@pytest.mark.parametrize(("num_layers", "directions"), [(1, 1), (2, 2)])
def test_multiply_add_count_equals_the_one_computed_by_hand(network, num_layers, directions):
    with torch.device("meta"):
        built = build(network, num_layers=num_layers, bidirectional=directions == 2)
        images = torch.empty(1, 1, 28, 28)
    with FlopCounterMode(display=False) as counter:
        built(images)
    gates = directions * GATES[network]
    step = gates * (28 + 128) * 128 + (num_layers - 1) * gates * (directions * 128 + 128) * 128
    assert counter.get_total_flops() == 2 * (28 * step + directions * 128 * 10)


@every_network
def test_weights_are_assigned_to_a_network_on_the_meta_device(network):
    built = build(network, hidden_size=5)
    with torch.device("meta"):
        empty = build(network, hidden_size=5)
    empty.load_state_dict(built.state_dict(), assign=True)
    images = torch.randn(3, 1, 28, 28)
    assert torch.equal(empty(images), built(images))


def test_gru_runs_in_bfloat16():
    built = build("gru")
    images = torch.randn(3, 1, 28, 28)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = built(images)
    assert logits.dtype == torch.bfloat16
    assert_close(logits.float(), built(images), atol=0.02, rtol=0)


@pytest.mark.slow
def test_gru_is_exported_for_every_batch_size():
    built = build("gru", hidden_size=5).eval()
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(built, (torch.randn(2, 1, 28, 28),), dynamic_shapes=({0: batch},)).module()
    for images in torch.randn(1, 1, 28, 28), torch.randn(7, 1, 28, 28):
        assert_close(exported(images), built(images))


@every_network
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": (28, 0)}, r"image_size must be a whole number of at least 1, or two, .*, got \(28, 0\)$"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"dropout": 1.0, "num_layers": 2}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dropout": 0.2}, "needs num_layers of at least 2, got dropout=0.2 and num_layers=1"),
        ({"pool": "max"}, "pool must be one of last, mean, got 'max'"),
        ({"init": "xavier"}, "init must be one of torch, orthogonal, got 'xavier'"),
    ],
)
def test_wrong_values_are_refused(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(network, **arguments)


@every_network
@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 1, 32, 32), "reads 28 x 28 images, got 32 x 32"), ((2, 3, 28, 28), "images of 1 channels, got 3")],
)
def test_images_of_another_shape_are_refused(network, shape, message):
    with pytest.raises(ValueError, match=message):
        build(network)(torch.zeros(shape))
