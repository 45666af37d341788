"""Cut a novel into characters and into windows, and predict characters by counting, for language_model.py.

Source: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", release 0.17, chapter 8. The text beside this file,
time_machine.txt, is H. G. Wells, "The Time Machine", 1895, in the public domain.
"""

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import Literal

import lightning
import torch
import torch.nn.functional as F
from start import ROOT
from torch import Tensor
from torch.utils.data import TensorDataset

from data import DataError

# %% [markdown]
# ## The text
# As in the course, capitals become small letters, and whatever stands between two words becomes one space. The alphabet
# has 28 tokens: the letters, the space, and `<unk>` for anything else, which then never occurs in the text.

# %%
ALPHABET = ["<unk>", " ", *"abcdefghijklmnopqrstuvwxyz"]
SHA256 = "124084573ad7c355a60f71ed1a9e306746f46c454bd0c448df605095454265d8"


def read_novel(file: Path = ROOT / "examples" / "time_machine.txt") -> str:
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

    The items of its data sets are whole batches.

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
