"""Test the language model: its text, windows, networks, truncated gradients, perplexities, and resuming."""

import math
import sys
from collections import Counter
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from conftest import ROOT, run_example
from torch import Tensor, nn

from data import DataError

NETWORKS = ["RNN", "GRU, reset before", "GRU, reset after", "LSTM"]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Run the example, and return what it, characters.py and character_network.py have defined."""
    defined = run_example("language_model", tmp_path_factory.mktemp("language_model"), "--quick")
    return SimpleNamespace(**vars(sys.modules["characters"]) | vars(sys.modules["character_network"]) | defined)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


def create(example: SimpleNamespace, network: str = "RNN", **settings: Any) -> Any:
    """Return a small model with random weights, large enough for states to matter, in float64."""
    settings = {"hidden_size": 6, "carry": True, "optimizer": "sgd", "lr": 0.5} | settings
    model = example.LanguageModel(network, **settings).double()
    for parameter in model.recurrent.parameters():
        nn.init.normal_(parameter, std=0.7)
    model.log = lambda *_, **__: None  # there is no trainer
    return model


def random_tokens(*shape: int) -> Tensor:
    return torch.randint(28, shape)


def parts(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def test_text_is_the_bundled_one_and_another_is_refused(example: SimpleNamespace, tmp_path: Path) -> None:
    bundled = ROOT / "examples" / "time_machine.txt"
    assert len(example.read_novel()) == 179_693
    changed = tmp_path / "time_machine.txt"
    changed.write_bytes(bundled.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"SHA-256 \w+, expected 1240845\w+\. Restore it with git\.$") as refused:
        example.read_novel(changed)
    assert "\n" not in str(refused.value)


def test_alphabet_is_that_of_the_course(example: SimpleNamespace) -> None:
    assert len(example.ALPHABET) == len(set(example.ALPHABET)) == 28
    assert example.decode(example.encode("The Traveller\u2019s 4th,\n\n—Zoölogy!")) == "the traveller s th zo logy "
    assert example.encode(" abz").tolist() == [1, 2, 3, 27]
    assert sorted(set(example.novel.tolist())) == list(range(1, 28))  # all but <unk>


def test_tenths_are_the_novel_in_its_order(example: SimpleNamespace) -> None:
    assert torch.equal(torch.cat((example.train, example.validation, example.test)), example.novel)
    assert len(example.test) == pytest.approx(len(example.novel) / 10, abs=1)
    assert len(example.validation) == pytest.approx(len(example.novel) / 10, abs=1)


def test_protocols_are_those_of_the_page(example: SimpleNamespace) -> None:
    course, held_out = example.PROTOCOLS["course"], example.PROTOCOLS["held-out"]
    assert torch.equal(torch.cat((course.train, course.validation)), example.novel[:11_000])
    assert (len(course.train), course.epochs, course.seeds, course.chosen) == (10_000, 500, (1,), "last")
    assert torch.equal(held_out.train, example.train)
    assert torch.equal(held_out.validation, example.validation)
    assert (held_out.epochs, held_out.seeds, held_out.chosen) == (10, (1, 2, 3), "best")


def random_sizes() -> tuple[int, int, int]:
    """Return the length of a text, batch size and steps of windows."""
    batch_size, num_steps = (int(torch.randint(1, 8, ())) for _ in range(2))
    return int(torch.randint((batch_size + 1) * num_steps, 400, ())), batch_size, num_steps


@pytest.mark.parametrize("sampling", ["sequential", "random"])
def test_windows_tile_the_text_and_come_once(example: SimpleNamespace, sampling: str) -> None:
    for seed in range(100):
        length, batch_size, num_steps = random_sizes()
        starts = example.window_starts(length, batch_size, num_steps, sampling, torch.Generator().manual_seed(seed))
        assert starts.shape[1] == batch_size
        places = sorted(starts.flatten().tolist())
        offset = places[0]
        assert 0 <= offset < num_steps
        assert places == list(range(offset, offset + num_steps * len(places), num_steps))  # each one once, no gap
        end = offset + num_steps * len(places)  # the position of the last target
        assert length - 1 - (batch_size + 1) * num_steps < end <= length - 1


def test_both_samplings_have_the_same_windows(example: SimpleNamespace) -> None:
    for seed in range(20):
        sizes = random_sizes()
        random, sequential = (
            example.window_starts(*sizes, sampling, torch.Generator().manual_seed(seed)).flatten()
            for sampling in ("random", "sequential")
        )
        assert torch.equal(random.sort().values, sequential.sort().values)


def test_sequential_windows_continue_those_of_the_batch_before(example: SimpleNamespace) -> None:
    for seed in range(50):
        length, batch_size, num_steps = random_sizes()
        starts = example.window_starts(length, batch_size, num_steps, "sequential", torch.Generator().manual_seed(seed))
        assert (starts.diff(dim=0) == num_steps).all()
        assert (starts[0].diff() == len(starts) * num_steps).all()  # a row begins where the one before it ends


def test_random_windows_are_in_every_order(example: SimpleNamespace) -> None:
    orders = Counter(
        tuple(example.window_starts(9, 1, 2, "random", torch.Generator().manual_seed(seed)).flatten().tolist())
        for seed in range(2000)
    )
    assert len(orders) == 2 * math.factorial(3)  # two offsets, three windows
    assert all(abs(count - 2000 / 12) < 60 for count in orders.values())  # five standard deviations


@pytest.mark.parametrize("sampling", ["sequential", "random"])
def test_batches_are_the_text_and_its_next_characters(example: SimpleNamespace, sampling: str) -> None:
    text = random_tokens(500)
    windows = example.Windows(text, text[:50], sampling, seed=3, batch_size=4, num_steps=7)
    epochs = []
    for epoch in (0, 1, 0):
        windows.trainer = SimpleNamespace(current_epoch=epoch)
        batches = list(windows.train_dataloader())
        starts = example.window_starts(500, 4, 7, sampling, torch.Generator().manual_seed(3000 + epoch))
        assert len(batches) == len(starts)
        for (inputs, targets), batch in zip(batches, starts.tolist(), strict=True):
            for row, start in enumerate(batch):
                assert inputs[:, row].tolist() == text[start : start + 7].tolist()
                assert targets[:, row].tolist() == text[start + 1 : start + 8].tolist()
        epochs.append(torch.stack([inputs for inputs, _ in batches]))
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])
    ((inputs, targets),) = windows.val_dataloader()
    assert inputs[:, 0].tolist() == text[:49].tolist()
    assert targets[:, 0].tolist() == text[1:50].tolist()


def test_each_epoch_trains_on_its_own_windows(example: SimpleNamespace, tmp_path: Path) -> None:
    text, seen = random_tokens(300), []

    class Observed(example.LanguageModel):
        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            seen.append(batch[0])
            return super().training_step(batch)

    model = Observed("RNN", hidden_size=8, carry=True, optimizer="sgd", lr=0.1)
    example.fit(model, example.Windows(text, text[:50], "random", 3, 4, 5), 3, tmp_path)
    generators = [torch.Generator().manual_seed(3000 + epoch) for epoch in range(3)]
    starts = torch.cat([example.window_starts(300, 4, 5, "random", generator) for generator in generators])
    assert torch.equal(torch.stack(seen), text[starts.unsqueeze(1) + torch.arange(5).unsqueeze(1)])


def test_reset_before_gru_computes_its_equations_from_any_state(example: SimpleNamespace) -> None:
    layer = example.ResetBeforeGRU(5, 4).double()
    inputs, first = torch.randn(6, 3, 5).double(), torch.rand(1, 3, 4).double() * 2 - 1
    first[0, 0, 0] = 1.0  # saturated
    (xr, xz, xc), (hr, hz, hc), (br, bz, bc) = (
        parameter.chunk(3) for parameter in (layer.weight_ih, layer.weight_hh, layer.bias)
    )
    for given in (first, None):
        state = torch.zeros(3, 4).double() if given is None else given[0]
        expected = []
        for x in inputs:
            reset = torch.sigmoid(x @ xr.t() + state @ hr.t() + br)
            update = torch.sigmoid(x @ xz.t() + state @ hz.t() + bz)
            candidate = torch.tanh(x @ xc.t() + (reset * state) @ hc.t() + bc)
            state = update * state + (1 - update) * candidate
            expected.append(state)
        states, last = layer(inputs, given)
        torch.testing.assert_close(states, torch.stack(expected))
        torch.testing.assert_close(last, states[-1:])
        weight = torch.randn_like(states)
        parameters = list(layer.parameters())
        torch.testing.assert_close(
            torch.autograd.grad((states * weight).sum(), parameters),
            torch.autograd.grad((torch.stack(expected) * weight).sum(), parameters),
        )


def test_reset_before_gru_sends_no_gradient_into_a_given_state(example: SimpleNamespace) -> None:
    layer, state = example.ResetBeforeGRU(5, 4), torch.ones(1, 3, 4, requires_grad=True)  # atanh(1) is infinite
    layer(torch.randn(6, 3, 5), state)[0].sum().backward()
    assert state.grad is None
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@pytest.mark.parametrize("network", NETWORKS)
def test_carried_state_is_one_long_pass(example: SimpleNamespace, network: str) -> None:
    model = create(example, network, embedding_size=3)
    tokens = random_tokens(30, 4)
    whole, last = model(tokens)
    state, pieces = None, []
    for piece in tokens.split([1, 12, 5, 12]):
        logits, state = model(piece, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces), whole)
    torch.testing.assert_close(parts(state), parts(last))
    alone, _ = model(tokens[1:])
    assert not torch.allclose(alone, whole[1:])  # the state matters


@pytest.mark.parametrize("network", NETWORKS)
def test_gradient_stops_between_batches_but_the_state_does_not(example: SimpleNamespace, network: str) -> None:
    model = create(example, network)
    batches = [(random_tokens(5, 3), random_tokens(5, 3)) for _ in range(2)]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.on_train_epoch_start()
    first = model.training_step(batches[0])
    loss = model.training_step(batches[1])
    found = torch.autograd.grad(loss, parameters)

    _, state = model(batches[0][0])
    constant = [part.detach().clone() for part in parts(state)]
    logits, _ = model(batches[1][0], tuple(constant) if len(constant) > 1 else constant[0])
    expected = -logits.log_softmax(-1).gather(-1, batches[1][1].unsqueeze(-1)).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found, torch.autograd.grad(expected, parameters))

    model.on_train_epoch_start()  # the next epoch begins without a state
    torch.testing.assert_close(model.training_step(batches[0]), first)


@pytest.mark.parametrize("network", NETWORKS)
def test_random_sampling_carries_no_state(example: SimpleNamespace, network: str) -> None:
    model = create(example, network, carry=False)
    batches = [(random_tokens(5, 3), random_tokens(5, 3)) for _ in range(2)]
    model.on_train_epoch_start()
    losses = [model.training_step(batch) for batch in (*batches, batches[0])]
    torch.testing.assert_close(losses[0], losses[2])


def test_one_hot_vectors_are_not_trained_and_embeddings_are(example: SimpleNamespace) -> None:
    one_hot, embedded = create(example), create(example, embedding_size=3)
    tokens = random_tokens(4, 2)
    assert torch.equal(one_hot.embedding(tokens), nn.functional.one_hot(tokens, 28).double())
    assert embedded.embedding(tokens).shape == (4, 2, 3)
    assert not one_hot.embedding.weight.requires_grad
    assert embedded.embedding.weight.requires_grad


def test_gradients_are_clipped_to_the_norm_1(example: SimpleNamespace, tmp_path: Path) -> None:
    before, after = [], []

    def norm(model: nn.Module) -> float:
        squares = [(p.grad**2).sum().item() for p in model.parameters() if p.grad is not None]
        return math.sqrt(sum(squares))

    class Observed(example.LanguageModel):
        def on_before_optimizer_step(self, *_: Any) -> None:
            before.append(norm(self))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            optimizer = super().configure_optimizers()
            optimizer.register_step_post_hook(lambda *_: after.append(norm(self)))
            return optimizer

    for scale in (1e-3, 30):
        model = Observed("RNN", hidden_size=8, carry=True, optimizer="sgd", lr=0.1)
        with torch.no_grad():
            model.output.weight *= scale
        example.fit(model, example.Windows(random_tokens(300), random_tokens(20), "random", 1, 4, 5), 1, tmp_path)
    assert min(before) < 0.9
    assert max(before) > 2
    assert after == pytest.approx([min(1, value) for value in before], rel=1e-4)


def test_initial_weights_have_the_standard_deviation_that_is_asked(example: SimpleNamespace) -> None:
    model = example.LanguageModel("LSTM", 40, carry=True, optimizer="sgd", lr=1.0, initial_std=0.01)
    for name, parameter in [*model.recurrent.named_parameters(), *model.output.named_parameters()]:
        assert parameter.std().item() == pytest.approx(0.01 if "weight" in name else 0, rel=0.1)


def test_uniform_model_has_the_perplexity_of_the_size_of_the_alphabet(example: SimpleNamespace, tmp_path: Path) -> None:
    model = example.LanguageModel("LSTM", hidden_size=8, carry=True, optimizer="sgd", lr=0.0)
    nn.init.zeros_(model.output.weight)
    nn.init.zeros_(model.output.bias)
    example.fit(model, example.Windows(random_tokens(300), random_tokens(20), "sequential", 1, 4, 5), 1, tmp_path)
    (epoch,) = model.history
    assert (epoch["training"], epoch["validation"]) == pytest.approx((28, 28), rel=1e-5)


def test_ngram_model_counts(example: SimpleNamespace) -> None:
    train, held_out = torch.randint(2, 6, (200,)), torch.randint(2, 7, (50,))
    for order in (1, 2, 3):
        grams = [
            [tuple(text[i : i + order]) for i in range(len(text) - order + 1)]
            for text in map(Tensor.tolist, (train, held_out))
        ]
        counts, contexts = Counter(grams[0]), Counter(gram[:-1] for gram in grams[0])
        logs = [math.log((counts[gram] + 1) / (contexts[gram[:-1]] + 28)) for gram in grams[1]]
        expected = math.exp(-sum(logs) / len(logs))
        assert example.ngram_perplexity(train, held_out, order) == pytest.approx(expected, rel=1e-5)


def test_trained_model_beats_the_bigram_model_on_held_out_text(example: SimpleNamespace) -> None:
    state, losses = None, []
    with torch.no_grad():
        for token, target in zip(example.test[:1500], example.test[1:1501], strict=True):  # one character at a time
            logits, state = example.writer(token.view(1, 1), state)
            losses.append(-logits[0, 0].log_softmax(0)[target].item())
    perplexity = math.exp(sum(losses) / len(losses))
    assert perplexity < 0.9 * example.ngram_perplexity(example.train, example.test[:1501], 2)


def test_validation_perplexity_is_that_of_the_validation_text(example: SimpleNamespace) -> None:
    with torch.no_grad():
        logits, _ = example.writer(example.validation[:-1, None])
    loss = -logits[:, 0].log_softmax(-1).gather(1, example.validation[1:, None]).mean()
    assert example.rows[0].history[-1]["validation"] == pytest.approx(loss.exp().item(), rel=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_cold_text_is_the_most_probable_one(example: SimpleNamespace, network: str) -> None:
    model = create(example, network)
    tokens = example.encode("time t")
    for _ in range(12):
        logits, _ = model(tokens.unsqueeze(1))
        tokens = torch.cat((tokens, logits[-1, 0].argmax().view(1)))
    assert example.generate(model, "Time T", 12, temperature=1e-6) == example.decode(tokens)


def test_temperature_divides_the_logits(example: SimpleNamespace) -> None:
    model = create(example)
    nn.init.zeros_(model.output.weight)
    nn.init.normal_(model.output.bias)
    for temperature in (0.5, 2.0):
        text = example.generate(model, "a", 1000, temperature).replace("<unk>", "?")[1:]
        counts = Counter(text)
        shares = torch.tensor([counts[token if token != "<unk>" else "?"] / 1000 for token in example.ALPHABET])
        weights = (model.output.bias.detach() / temperature).exp()
        assert (shares - weights / weights.sum()).abs().max() < 0.07  # four standard deviations of a share of one half
    texts = [example.generate(model, "a", 30, 1.0, seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("sampling", ["sequential", "random"])
def test_stopped_run_continues_to_the_same_parameters(example: SimpleNamespace, tmp_path: Path, sampling: str) -> None:
    text, other = random_tokens(400), random_tokens(100)

    def fit(epochs: int, folder: Path, seed: int, ckpt_path: Path | None = None) -> Any:
        torch.manual_seed(seed)
        model = example.LanguageModel("GRU, reset before", 8, sampling == "sequential", "adam", lr=0.1)
        example.fit(model, example.Windows(text, other, sampling, 1, 4, 5), epochs, folder, ckpt_path)
        return model

    whole = fit(3, tmp_path / "whole", seed=1)
    fit(1, tmp_path / "stopped", seed=1)
    resumed = fit(3, tmp_path / "stopped", seed=2, ckpt_path=tmp_path / "stopped" / "last.ckpt")
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name
    curves = [
        [epoch[name] for epoch in model.history] for model in (whole, resumed) for name in ("training", "validation")
    ]
    assert curves[:2] == curves[2:]
    assert len(curves[0]) == 3
    best = [torch.load(tmp_path / folder / "best.ckpt")["epoch"] for folder in ("whole", "stopped")]
    assert best == [curves[1].index(min(curves[1]))] * 2 == [0, 0]  # of random text, memorising only makes it worse


def test_row_is_trained_once_and_measured_at_the_chosen_epoch(
    example: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = example.train_row.__globals__
    settings = {"hidden_size": 16, "optimizer": "sgd", "lr": 30.0}  # too large: the best epoch is not the last
    for chosen in ("best", "last"):
        protocol = example.Protocol(example.train[:3000], example.validation[:200], 4, (1,), chosen, settings, "")
        monkeypatch.setitem(names, "PROTOCOLS", {"held-out": protocol})
        row = example.train_row("held-out", "RNN", "random", 1, tmp_path / chosen)
        curve = [epoch["validation"] for epoch in row.history]
        assert len(curve) == 4
        assert row.epoch == (4 if chosen == "last" else 1 + curve.index(min(curve)))
        model = example.LanguageModel.load_from_checkpoint(tmp_path / chosen / f"{chosen}.ckpt")
        with torch.no_grad():
            logits, _ = model(example.test[:-1, None])
        loss = -logits[:, 0].log_softmax(-1).gather(1, example.test[1:, None]).mean()
        assert row.test == pytest.approx(loss.exp().item(), rel=1e-4)
        assert row.text == example.generate(model, "the time traveller ", 100, 0.5)
        with monkeypatch.context() as patch:
            patch.setitem(names, "fit", None)
            assert example.train_row("held-out", "RNN", "random", 1, tmp_path / chosen) == row
        monkeypatch.setitem(names, "PROTOCOLS", {"held-out": protocol._replace(epochs=1)})  # another training
        assert len(example.train_row("held-out", "RNN", "random", 1, tmp_path / chosen).history) == 1


@pytest.fixture
def rows(example: SimpleNamespace) -> list[Any]:
    """Return rows of both protocols, of seeds whose perplexities differ by 10."""
    made: list[Any] = []
    for name, seeds in (("course", (1,)), ("held-out", (1, 2, 3))):
        for network, sampling, seed in product(NETWORKS, ("sequential", "random"), seeds):
            history = [{"training": 10.0 * seed + (k + 1) % 4, "validation": 2.0, "seconds": 1.5} for k in range(4)]
            made.append(example.Row(name, network, sampling, history, seed, float(seed), "text"))
    return made


def test_table_gives_means_over_the_seeds_at_the_chosen_epochs(example: SimpleNamespace, rows: list[Any]) -> None:
    held_out, course = example.table("held-out", rows).splitlines(), example.table("course", rows).splitlines()
    assert len(held_out) == len(course) == 2 + 3 + 8
    assert held_out[-1] == "| LSTM | random | 22.00 (20.00) | 2.00 ± 1.00 | 1, 2, 3 | 6 |"  # of 11, 22, 33
    assert course[-1] == "| LSTM | random | 11.00 (10.00) | 1.00 | 1 | 6 |"
    bigram = [example.ngram_perplexity(example.train, text, 2) for text in (example.train, example.test)]
    assert held_out[3] == f"| bigram | - | {bigram[0]:.2f} | {bigram[1]:.2f} | - | - |"


def test_curves_are_means_over_the_seeds_and_one_epoch_is_seen(example: SimpleNamespace, rows: list[Any]) -> None:
    course, held_out = example.draw(rows).axes
    assert len(course.lines) == len(held_out.lines) == 2 * len(NETWORKS)
    assert course.lines[0].get_ydata().tolist() == [11, 12, 13, 10]
    assert held_out.lines[0].get_ydata().tolist() == [21, 22, 23, 20]
    assert held_out.lines[1].get_ydata().tolist() == [2, 2, 2, 2]
    (one,) = example.draw(example.rows).axes
    assert [line.get_xdata().tolist() for line in one.lines] == [[1], [1]]
    assert all(line.get_marker() == "^" for line in one.lines)
    plt.close("all")


def test_page_says_how_the_row_was_trained(example: SimpleNamespace) -> None:
    for text in (
        "139,374 characters, epochs: 1, seeds: 1",
        "hidden_size 64",
        "at temperature 0.5",
        example.rows[0].text,
    ):
        assert text in example.page
