"""Train recurrent networks to predict the next character of a novel, and let them write.

Source: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", chapters 9 and 10. characters.py cuts the novel into
characters and windows, and predicts by counting.
"""

# %%
from start import read_flags, stop

options = read_flags(__doc__)

import logging
import math
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from characters import ALPHABET, Windows, cross_entropy, decode, encode, ngram_perplexity, read_novel
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn

from data import DataError
from models.gru import GRUDirection, unroll

# %% [markdown]
# ## The novel
# Eight tenths of it are for training, the ninth is for validation, and the last one is read once, at the end. Counting
# characters, pairs and triples of them gives the perplexities that a network should beat.

# %%
try:
    novel = encode(read_novel(Path(__file__).with_name("time_machine.txt")))
except (OSError, DataError) as error:
    stop(error)
tenths = novel.tensor_split(10)
train, validation, test = torch.cat(tenths[:8]), tenths[8], tenths[9]
print(f"{len(train)} characters to train, {len(validation)} to validate, {len(test)} to test: {decode(train[:60])} ...")

NGRAMS = {"unigram": 1, "bigram": 2, "trigram": 3}
for name, order in NGRAMS.items():
    print(f"{name}: perplexity {ngram_perplexity(train, validation, order):.2f} on the validation text")

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
def fit(
    model: LanguageModel,
    text: Windows,
    epochs: int,
    folder: Path,
    ckpt_path: Path | None = None,
    progress: bool = False,
) -> None:
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
            enable_progress_bar=progress,
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

if __name__ == "__main__":  # language_protocols.py trains others
    settings, epochs = (QUICK, 1) if options.size == "quick" else (HONEST, 7)
    torch.manual_seed(1)
    model = LanguageModel("LSTM", carry=True, **settings)
    text = Windows(train, validation, "sequential", seed=1)
    fit(model, text, epochs, options.folder / "checkpoints", progress=options.size != "quick")

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
    figure.savefig(options.folder / "language_model.png", dpi=150)
    plt.close(figure)
