"""Build a recurrent network that predicts the next character, train it, and let it write, for language_model.py.

Source: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", release 0.17, chapters 8 and 9.
"""

import logging
import math
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from characters import ALPHABET, Windows, cross_entropy, decode, encode
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn

from models.gru import GRUDirection, unroll

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
