"""Train recurrent networks to predict the next character of a novel, and let them write.

Source: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", chapters 9 and 10. The text beside this file,
time_machine.txt, is H. G. Wells, "The Time Machine", 1895, in the public domain.
"""

# %% [markdown]
# ## The text
# As in the course, capitals become small letters, and whatever stands between two words becomes one space. The alphabet
# has 28 tokens: the letters, the space, and `<unk>` for anything else, which then never occurs in the text.

# %%
from start import read_flags, stop

options = read_flags(__doc__)

import hashlib
import json
import logging
import math
import re
import time
import warnings
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal, NamedTuple

import lightning
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from tqdm import tqdm

from data import DataError
from models.gru import GRUDirection, unroll
from training.machine import describe_machine

ALPHABET = ["<unk>", " ", *"abcdefghijklmnopqrstuvwxyz"]
SHA256 = "124084573ad7c355a60f71ed1a9e306746f46c454bd0c448df605095454265d8"


def read_novel(file: Path) -> str:
    """Return the novel. Raises OSError or DataError unless `file` is the bundled text."""
    content = file.read_bytes()
    if (digest := hashlib.sha256(content).hexdigest()) != SHA256:
        raise DataError(f"{file} has changed: SHA-256 {digest}, expected {SHA256}. Restore it with git.")
    return content.decode()


def encode(text: str) -> Tensor:
    """Return the tokens of a text, int64 (length,): positions in ALPHABET."""
    return torch.tensor([ALPHABET.index(character) for character in re.sub("[^A-Za-z]+", " ", text).lower()])


def decode(tokens: Tensor) -> str:
    """Return the text of tokens (length,)."""
    return "".join(ALPHABET[token] for token in tokens.tolist())


try:
    novel = encode(read_novel(Path(__file__).with_name("time_machine.txt")))
except (OSError, DataError) as error:
    stop(error)
tenths = novel.tensor_split(10)
train, validation, test = torch.cat(tenths[:8]), tenths[8], tenths[9]
print(f"{len(train)} characters to train, {len(validation)} to validate, {len(test)} to test: {decode(train[:60])} ...")

# %% [markdown]
# ## Perplexity, and models that only count
# Perplexity is exp(cross entropy): the number of equally probable characters that would be as hard to predict. It is 28
# for uniform probabilities. An n-gram model counts which characters followed n - 1 others in the text for training.


# %%
def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross entropy in nats of logits (..., tokens) for targets (...)."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten())


def ngram_perplexity(train: Tensor, held_out: Tensor, order: int) -> float:
    """Return the perplexity per character of the n-gram model with n = `order`, 1 added to every count (Laplace)."""
    counts = torch.ones((len(ALPHABET),) * order)
    counts.index_put_(tuple(train.unfold(0, order, 1).t()), torch.tensor(1.0), accumulate=True)
    probabilities = counts / counts.sum(-1, keepdim=True)
    return probabilities[tuple(held_out.unfold(0, order, 1).t())].log().mean().neg().exp().item()


NGRAMS = {"unigram": 1, "bigram": 2, "trigram": 3}
for name, order in NGRAMS.items():
    print(f"{name}: perplexity {ngram_perplexity(train, validation, order):.2f} on the validation text")

# %% [markdown]
# ## Windows of the text
# Each epoch cuts the text, from a new offset on, into windows of `num_steps` characters. Random sampling shuffles them.
# Sequential sampling gives each row of a batch its own part of the text, and every window continues the one before it.


# %%
Sampling = Literal["random", "sequential"]


def window_starts(
    length: int, batch_size: int, num_steps: int, sampling: Sampling, generator: torch.Generator
) -> Tensor:
    """Return the first positions (batches, batch_size) of the windows of one epoch.

    Both samplings give the same windows, each one once, from an offset in 0 ... num_steps - 1. They fill whole batches:
    the rest of the text, which is shorter than a batch and one window, is left out.
    """
    batches = (length - num_steps) // (batch_size * num_steps)
    offset = torch.randint(num_steps, (), generator=generator)
    starts = offset + num_steps * torch.arange(batches * batch_size)
    if sampling == "random":
        starts = starts[torch.randperm(len(starts), generator=generator)]
    return starts.view(batch_size, batches).t()


class Windows(lightning.LightningDataModule):
    """Give batches of inputs and targets, int64 (num_steps, batch_size); validate on one long window.

    The windows of an epoch are a function of (seed, epoch): a run that was stopped continues as if it had not been.
    """

    def __init__(
        self,
        train: Tensor,
        validation: Tensor,
        sampling: Sampling,
        seed: int,
        batch_size: int = 32,
        num_steps: int = 35,
    ) -> None:
        super().__init__()
        self.train, self.validation, self.seed = train, validation, seed
        self.starts = partial(window_starts, len(train), batch_size, num_steps, sampling)
        self.steps = torch.arange(num_steps).unsqueeze(1)

    def train_dataloader(self) -> TensorDataset:
        assert self.trainer
        generator = torch.Generator().manual_seed(1000 * self.seed + self.trainer.current_epoch)
        windows = self.starts(generator).unsqueeze(1) + self.steps  # (batches, num_steps, batch_size)
        return TensorDataset(self.train[windows], self.train[windows + 1])

    def val_dataloader(self) -> TensorDataset:
        return TensorDataset(self.validation[None, :-1, None], self.validation[None, 1:, None])


# %% [markdown]
# ## A GRU whose state can be given
# The zoo's GRU applies the reset gate before the product with W_hh, `torch.nn.GRU` after it. The zoo's starts at the
# state 0; one more step in front, with update gate 0 and the candidate H_0, makes it start at H_0.


# %%
class ResetBeforeGRU(GRUDirection):
    """Compute the zoo's GRU layer as `torch.nn.GRU` is called: (T, N, input_size), (1, N, hidden_size) or no state.

    No gradient flows back into the state that was given.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, backward=False)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        products = F.linear(inputs, self.weight_ih, self.bias)
        if state is None:
            state = products.new_zeros(1, inputs.shape[1], self.weight_hh.shape[1])
        closed = torch.full_like(state, -math.inf)  # sigmoid(-inf) = 0: both gates
        first = torch.cat((closed, closed, state.detach().atanh()), dim=-1)
        states = unroll(torch.cat((first, products)), self.weight_hh, self.backward)[1:]
        return states, states[-1:]


LAYERS = {"RNN": nn.RNN, "GRU, reset before": ResetBeforeGRU, "GRU, reset after": nn.GRU, "LSTM": nn.LSTM}
State = Tensor | tuple[Tensor, Tensor] | None  # an LSTM has two: H and C

# %% [markdown]
# ## The language model
# Characters are one-hot vectors or embeddings; the logits are O_t = H_t W + b. With `carry`, a batch begins
# with the last state of the one before, detached: gradients stop there (truncated backpropagation through time).


# %%
class LanguageModel(lightning.LightningModule):
    """Map tokens (T, N) and a state to logits (T, N, 28) and the next state.

    `embedding_size=0` chooses one-hot vectors. Initial weights have the normal distribution with `initial_std`, biases
    are 0; `initial_std=0` leaves torch's own.
    """

    def __init__(
        self,
        network: str,
        hidden_size: int,
        carry: bool,
        optimizer: str,
        lr: float,
        initial_std: float = 0.0,
        embedding_size: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        tokens = len(ALPHABET)
        self.carry, self.optimizer, self.lr = carry, optimizer, lr
        if embedding_size:
            self.embedding = nn.Embedding(tokens, embedding_size)
        else:
            self.embedding = nn.Embedding.from_pretrained(torch.eye(tokens))  # not trained
        self.recurrent = LAYERS[network](self.embedding.embedding_dim, hidden_size)
        self.output = nn.Linear(hidden_size, tokens)
        if initial_std:
            for parameter in (*self.recurrent.parameters(), *self.output.parameters()):
                nn.init.normal_(parameter, std=initial_std if parameter.ndim > 1 else 0.0)
        self.history: list[dict[str, float]] = []  # of each epoch: two perplexities, seconds of processor time

    def forward(self, tokens: Tensor, state: State = None) -> tuple[Tensor, State]:
        states, state = self.recurrent(self.embedding(tokens), state)
        return self.output(states), state

    def on_train_epoch_start(self) -> None:
        self.state: State = None
        self.start = time.process_time()

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        logits, state = self(inputs, self.state)
        if self.carry:
            self.state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
        loss = cross_entropy(logits, targets)
        self.log("training", loss, on_step=False, on_epoch=True, batch_size=1)  # batches have one size
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        inputs, targets = batch
        self.log("validation", cross_entropy(self(inputs)[0], targets), batch_size=1)

    def on_train_epoch_end(self) -> None:
        perplexities = {name: loss.exp().item() for name, loss in self.trainer.callback_metrics.items()}
        self.history.append(perplexities | {"seconds": time.process_time() - self.start})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[self.optimizer](self.parameters(), self.lr)


# %% [markdown]
# ## Training
# Lightning clips the gradient to the norm 1: g <- g min(1, 1 / ||g||). After each epoch it writes `last.ckpt`, with
# which `ckpt_path` continues a run that was stopped, and `best.ckpt`, the epoch with the best validation perplexity.


# %%
def fit(model: LanguageModel, text: Windows, epochs: int, folder: Path, ckpt_path: Path | None = None) -> None:
    """Train until `epochs` epochs are done, with those of the checkpoint; write checkpoints to `folder`."""
    checkpoints: list[Callback] = [
        ModelCheckpoint(folder, "best", "validation", enable_version_counter=False, save_on_train_epoch_end=True),
        # After the best one, so that the last one knows its perplexity:
        ModelCheckpoint(folder, "last", enable_version_counter=False, save_on_train_epoch_end=True),
    ]
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer = lightning.Trainer(
            max_epochs=epochs,
            gradient_clip_val=1.0,
            accelerator="cpu",
            callbacks=checkpoints,
            reload_dataloaders_every_n_epochs=1,  # new windows
            num_sanity_val_steps=0,
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=options.size == "default",
        )
        trainer.fit(model, text, ckpt_path=ckpt_path)


@torch.no_grad()
def generate(model: LanguageModel, prefix: str, length: int, temperature: float, seed: int = 0) -> str:
    """Return the prefix, of at least one letter, and `length` characters sampled from softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(seed)
    tokens = inputs = encode(prefix)
    state = None
    for _ in range(length):
        logits, state = model(inputs.unsqueeze(1), state)
        inputs = (logits[-1, 0] / temperature).softmax(0).multinomial(1, generator=generator)
        tokens = torch.cat((tokens, inputs))
    return decode(tokens)


# %% [markdown]
# ## One network on the whole novel
# After one epoch it is better than the bigram model, on text that neither was trained on. A low temperature makes the
# text that it writes cautious and repetitive, a high one varied and full of errors.

# %%
# Chosen on the ninth tenth, where the LSTM has perplexity 3.87 at its best; with one-hot vectors, it has 4.19.
HONEST: dict[str, Any] = {"hidden_size": 256, "optimizer": "adam", "lr": 0.005, "embedding_size": 32}
QUICK: dict[str, Any] = {"hidden_size": 64, "optimizer": "adam", "lr": 0.02}
settings, epochs = (QUICK, 1) if options.size == "quick" else (HONEST, 7)

torch.manual_seed(1)
model = LanguageModel("LSTM", carry=True, **settings)
fit(model, Windows(train, validation, "sequential", seed=1), epochs, options.folder / "checkpoints")

for epoch, row in enumerate(model.history, start=1):
    print(f"epoch {epoch}: perplexity {row['training']:.2f} training, {row['validation']:.2f} validation")
for temperature in (0.3, 1.0):
    print(f"temperature {temperature}: {generate(model, 'the time traveller ', 200, temperature)}")

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, marker in (("training", "o"), ("validation", "s")):
    axes.plot(range(1, epochs + 1), [row[name] for row in model.history], marker=marker, label=name)
for name, style in (("bigram", "--"), ("trigram", ":")):
    axes.axhline(ngram_perplexity(train, validation, NGRAMS[name]), color="grey", linestyle=style, label=name)
axes.set(xlabel="epochs", ylabel="perplexity per character")
axes.legend()
figure.savefig(options.folder / "perplexity.png", dpi=150)
plt.close(figure)

# %% [markdown]
# ## Two protocols
# The course's: 500 epochs on the first 10,000 characters, and the perplexity of the same text, which shows how well a
# network memorises. The honest one: the last tenth of the novel, read once, by the weights that were best on the ninth.


# %%
class Protocol(NamedTuple):
    train: Tensor
    validation: Tensor
    epochs: int
    seeds: tuple[int, ...]
    chosen: str  # the epoch whose weights read the last tenth: "last" or "best", by validation perplexity
    settings: dict[str, Any]


COURSE: dict[str, Any] = {"hidden_size": 256, "optimizer": "sgd", "lr": 1.0, "initial_std": 0.01}
PROTOCOLS = {
    "course": Protocol(novel[:10_000], novel[10_000:11_000], 500, (1,), "last", COURSE),
    "honest": Protocol(train, validation, 10, (1, 2, 3), "best", HONEST),
}
SAMPLINGS: tuple[Sampling, ...] = ("sequential", "random")


class Row(NamedTuple):
    protocol: str
    network: str
    sampling: Sampling
    history: list[dict[str, float]]
    epoch: int  # the chosen one, from 1
    test: float  # perplexity of the last tenth
    text: str


def train_row(protocol: str, network: str, sampling: Sampling, seed: int, folder: Path) -> Row:
    """Train a network, or continue from the checkpoint in `folder`, or read the row that was finished there."""
    file, last = folder / "row.json", folder / "last.ckpt"
    if file.exists():
        return Row(**json.loads(file.read_text()))
    data, validation, epochs, _, chosen, settings = PROTOCOLS[protocol]
    torch.manual_seed(seed)
    model = LanguageModel(network, carry=sampling == "sequential", **settings)
    fit(model, Windows(data, validation, sampling, seed), epochs, folder, last if last.exists() else None)
    weights = LanguageModel.load_from_checkpoint(folder / f"{chosen}.ckpt")
    with torch.no_grad():
        perplexity = cross_entropy(weights(test[:-1, None])[0], test[1:, None]).exp().item()
    text = generate(weights, "the time traveller ", 100, temperature=0.5)
    row = Row(protocol, network, sampling, model.history, len(weights.history), perplexity, text)
    file.write_text(json.dumps(row._asdict()))
    return row


def table(name: str, rows: list[Row]) -> str:
    """Return the rows of a protocol as a Markdown table of means, the last tenth with its standard deviation."""
    lines = ["| model | sampling | training text (lowest) | last tenth | epochs | seconds |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    for model, order in NGRAMS.items():
        own, other = (ngram_perplexity(PROTOCOLS[name].train, text, order) for text in (PROTOCOLS[name].train, test))
        lines.append(f"| {model} | - | {own:.2f} | {other:.2f} | - | - |")
    for network, sampling in product(LAYERS, SAMPLINGS):
        group = [row for row in rows if row[:3] == (name, network, sampling)]
        own = mean(row.history[row.epoch - 1]["training"] for row in group)
        lowest = mean(min(epoch["training"] for epoch in row.history) for row in group)
        other = f"{mean(row.test for row in group):.2f}"
        if len(group) > 1:
            other += f" ± {stdev(row.test for row in group):.2f}"
        epochs = ", ".join(str(row.epoch) for row in group)
        seconds = mean(sum(epoch["seconds"] for epoch in row.history) for row in group)
        lines.append(f"| {network} | {sampling} | {own:.2f} ({lowest:.2f}) | {other} | {epochs} | {seconds:.0f} |")
    return "\n".join(lines)


def draw(rows: list[Row], file: Path) -> None:
    """Draw perplexity against epochs with sequential sampling, means over the seeds, a panel for each protocol."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    for panel, name in zip(panels, PROTOCOLS, strict=True):
        for number, (network, style) in enumerate(zip(LAYERS, ("-", "--", "-.", ":"), strict=True)):
            histories = [row.history for row in rows if row[:3] == (name, network, "sequential")]
            for text, width, label in (("training", 0.9, None), ("validation", 2, network)):
                curve = torch.tensor([[epoch[text] for epoch in history] for history in histories]).mean(0)
                panel.plot(range(1, len(curve) + 1), curve, f"C{number}", ls=style, lw=width, label=label)
        panel.set(xlabel="epochs", title=f"the {name} protocol")
    panels[0].set(yscale="log", ylabel="perplexity per character (thick: validation text)")
    panels[1].legend()
    figure.savefig(file, dpi=150)
    plt.close(figure)


if options.size == "full":
    keys = [(name, *key) for name in PROTOCOLS for key in product(LAYERS, SAMPLINGS, PROTOCOLS[name].seeds)]
    rows = [train_row(*key, options.folder / "checkpoints" / "-".join(map(str, key))) for key in tqdm(keys)]
    draw(rows, options.folder / "language_model.png")
    texts = {(row.protocol, row.network): row.text for row in rows if row.sampling == "sequential"}  # of the last seed
    course, honest = (", ".join(f"{key} {value}" for key, value in p.settings.items()) for p in PROTOCOLS.values())
    page = f"""# Characters of *The Time Machine*

Perplexity per character. Written by `examples/language_model.py --full` on {describe_machine("cpu")}. Seconds are of
the processor, for one training.

## The course's protocol

{table("course", rows)}

Training on the first 10,000 characters: {PROTOCOLS["course"].epochs} epochs, batches of 32 windows of 35 characters,
gradients clipped to the norm 1, one seed, one-hot vectors, {course}.
The weights are those of the last epoch. The course's own figures, for the text of training, are 1.0 for the RNN (1.5 by
random sampling), 1.1 for the GRU and 1.3 for the LSTM. The lowest of
all epochs is in brackets.

Such a figure measures memory: the last tenth of the novel is harder for these networks than for a model that counts
single characters.

## The honest protocol

{table("honest", rows)}

Training on the first eight tenths: {PROTOCOLS["honest"].epochs} epochs, batches and clipping as above, three seeds,
{honest}.
The weights are those of the epoch with the best perplexity on the ninth tenth; the last tenth was read once. Means over
the seeds, ± the standard deviation. The n-gram models count in the text of training, and add 1 to every count.

![Perplexity against epochs](language_model.png)

Sequential sampling, means over the seeds. Validation text: on the left the 1,000 characters after those of training, on
the right the ninth tenth.

## Texts

After "the time traveller", at temperature 0.5, by networks with sequential sampling:

{chr(10).join(f"- {protocol}, {network}: {text}" for (protocol, network), text in texts.items())}
"""
    (options.folder / "language_model.md").write_text(page, encoding="utf-8")
    print(page)
