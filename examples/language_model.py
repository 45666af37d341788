"""Train recurrent networks to predict the next character of a novel, and let them write.

Source: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", release 0.17, chapters 8 and 9. characters.py cuts the
novel into characters and windows, character_network.py has the network and its training.
"""

# %% [markdown]
# # A language model
# The quick and the default form train one network, an LSTM; `--full` trains four by two protocols.

# %%
from start import read_flags, stop

options = read_flags("language_model", __doc__)

import json
import shutil
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from character_network import LAYERS, LanguageModel, fit, generate
from characters import Sampling, Windows, cross_entropy, decode, encode, ngram_perplexity, read_novel
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from tqdm import tqdm

from data import DataError
from training.machine import describe_machine

# %% [markdown]
# ## The novel
# Eight tenths of it are for training, the ninth is for validation, and the last one was used for no choice. Counting
# characters, pairs and triples of them gives the perplexities that a network should beat.

# %%
try:
    novel = encode(read_novel())
except (OSError, DataError) as error:
    stop(error)
tenths = novel.tensor_split(10)
train, validation, test = torch.cat(tenths[:8]), tenths[8], tenths[9]
print(f"{len(train)} characters to train, {len(validation)} to validate, {len(test)} to test: {decode(train[:60])} ...")

NGRAMS = {"unigram": 1, "bigram": 2, "trigram": 3}
for name, order in NGRAMS.items():
    print(f"{name}: perplexity {ngram_perplexity(train, validation, order):.2f} on the validation text")

# %% [markdown]
# ## Protocols
# The course's: 500 epochs on the first 10,000 characters, and the perplexity of the same text, which shows how well a
# network memorises. The other one: the last tenth of the novel, read by the weights that were best on the ninth.


# %%
class Protocol(NamedTuple):
    train: Tensor
    validation: Tensor
    epochs: int
    seeds: tuple[int, ...]
    chosen: str  # the epoch whose weights read the last tenth: "last" or "best", by validation perplexity
    settings: dict[str, Any]  # of the network
    note: str


COURSE = Protocol(
    novel[:10_000],
    novel[10_000:11_000],
    500,
    (1,),
    "last",
    {"hidden_size": 256, "optimizer": "sgd", "lr": 1.0, "initial_std": 0.01},
    """The weights are those of the last epoch. The course's own figures, for the text of training, are 1.0 for the RNN
(1.5 by random sampling), 1.1 for the GRU and 1.3 for the LSTM. Such a figure measures memory: see the last tenth. The
curves' validation text is the 1,000 characters after those of training.""",
)
HELD_OUT = Protocol(
    train,
    validation,
    10,
    (1, 2, 3),
    "best",
    {"hidden_size": 256, "optimizer": "adam", "lr": 0.005, "embedding_size": 32},
    """The weights are those of the epoch with the best perplexity on the ninth tenth, which has also chosen the
settings.""",
)
ONE_EPOCH = HELD_OUT._replace(
    epochs=1, seeds=(1,), settings={"hidden_size": 64, "optimizer": "adam", "lr": 0.02}, note="For a first look."
)
PROTOCOLS = {"course": COURSE, "held-out": HELD_OUT, "one epoch": ONE_EPOCH}
SAMPLINGS: tuple[Sampling, ...] = ("sequential", "random")
PREFIX, TEMPERATURE = "the time traveller ", 0.5

# %% [markdown]
# ## Training
# Each training has a folder and gives a row. With `--full`, one that was stopped continues from its last checkpoint,
# and a finished one is not repeated, unless its protocol has changed.


# %%
class Row(NamedTuple):
    protocol: str
    network: str
    sampling: Sampling
    history: list[dict[str, float]]
    epoch: int  # the chosen one, from 1
    test: float  # perplexity of the last tenth
    text: str


def describe(protocol: Protocol) -> str:
    """Return how networks are trained, in two lines."""
    settings = ", ".join(f"{key} {value}" for key, value in protocol.settings.items())
    counts = f"{len(protocol.train):,} characters, epochs: {protocol.epochs}, seeds: {len(protocol.seeds)}"
    batches = "batches of 32 windows of 35 characters, gradients clipped to the norm 1"
    return f"Training on the first {counts},\n{batches}, {settings}."


def train_row(name: str, network: str, sampling: Sampling, seed: int, folder: Path) -> Row:
    """Train a network, or continue from the checkpoint in `folder`, or read the row that was finished there."""
    protocol = PROTOCOLS[name]
    trained_by, row_file, last = (folder / name for name in ("protocol.txt", "row.json", "last.ckpt"))
    if trained_by.exists() and trained_by.read_text() != describe(protocol):
        shutil.rmtree(folder)
    if row_file.exists():
        return Row(**json.loads(row_file.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    trained_by.write_text(describe(protocol))
    torch.manual_seed(seed)
    model = LanguageModel(network, carry=sampling == "sequential", **protocol.settings)
    text = Windows(protocol.train, protocol.validation, sampling, seed)
    ckpt_path = last if last.exists() else None
    fit(model, text, protocol.epochs, folder, ckpt_path, progress=options.size == "default")
    weights = LanguageModel.load_from_checkpoint(folder / f"{protocol.chosen}.ckpt")
    with torch.no_grad():
        perplexity = cross_entropy(weights(test[:-1, None])[0], test[1:, None]).exp().item()
    written = generate(weights, PREFIX, 100, TEMPERATURE)
    row = Row(name, network, sampling, model.history, len(weights.history), perplexity, written)
    row_file.write_text(json.dumps(row._asdict()))
    return row


checkpoints = options.folder / f"checkpoints_{options.size}"
keys: list[tuple[str, str, Sampling, int]]
if options.size == "full":
    keys = [
        (name, *key) for name in ("course", "held-out") for key in product(LAYERS, SAMPLINGS, PROTOCOLS[name].seeds)
    ]
else:
    keys = [("one epoch" if options.size == "quick" else "held-out", "LSTM", SAMPLINGS[0], 1)]
    shutil.rmtree(checkpoints, ignore_errors=True)
folders = [checkpoints / "-".join(map(str, key)) for key in keys]
rows = [train_row(*key, folder) for key, folder in tqdm(list(zip(keys, folders, strict=True)), disable=len(keys) == 1)]

# %% [markdown]
# ## Text
# A low temperature makes the text that a network writes cautious and repetitive, a high one varied and full of errors.

# %%
writer = LanguageModel.load_from_checkpoint(folders[-1] / f"{PROTOCOLS[keys[-1][0]].chosen}.ckpt")
for temperature in (0.3, 1.0):
    print(f"temperature {temperature}: {generate(writer, PREFIX, 200, temperature)}")

# %% [markdown]
# ## Perplexities
# Those of the training text are means over an epoch, while the weights change, of windows that begin without a state if
# sampling is random. The last tenth is read in one pass, by one network. So the first may be the higher one.


# %%
def table(name: str, rows: list[Row]) -> str:
    """Return the rows of a protocol as a Markdown table of means, the last tenth with its standard deviation."""
    lines = ["| model | sampling | training text (lowest) | last tenth | epochs | seconds |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    for model, order in NGRAMS.items():
        texts = (PROTOCOLS[name].train, test)
        on_training, on_test = (ngram_perplexity(PROTOCOLS[name].train, text, order) for text in texts)
        lines.append(f"| {model} | - | {on_training:.2f} | {on_test:.2f} | - | - |")
    for network, sampling in product(LAYERS, SAMPLINGS):
        if not (group := [row for row in rows if row[:3] == (name, network, sampling)]):
            continue
        on_training = mean(row.history[row.epoch - 1]["training"] for row in group)
        lowest = mean(min(epoch["training"] for epoch in row.history) for row in group)
        on_test = f"{mean(row.test for row in group):.2f}"
        if len(group) > 1:
            on_test += f" ± {stdev(row.test for row in group):.2f}"
        epochs = ", ".join(str(row.epoch) for row in group)
        seconds = mean(sum(epoch["seconds"] for epoch in row.history) for row in group)
        lines.append(
            f"| {network} | {sampling} | {on_training:.2f} ({lowest:.2f}) | {on_test} | {epochs} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def draw(rows: list[Row]) -> Figure:
    """Draw perplexity against epochs with sequential sampling, means over the seeds, a panel for each protocol."""
    names = list(dict.fromkeys(row.protocol for row in rows))
    figure, panels = plt.subplots(1, len(names), figsize=(1 + 4 * len(names), 4), layout="constrained", squeeze=False)
    styles = list(zip(LAYERS, "osD^", ("-", "--", "-.", ":"), strict=True))
    for panel, name in zip(panels[0], names, strict=True):
        for number, (network, marker, style) in enumerate(styles):
            histories = [row.history for row in rows if row[:3] == (name, network, "sequential")]
            for text, width, label in (("training", 0.8, None), ("validation", 2, network)) if histories else ():
                curve = torch.tensor([[epoch[text] for epoch in history] for history in histories]).mean(0)
                drawn = panel.plot(range(1, len(curve) + 1), curve, f"C{number}", ls=style, lw=width, label=label)
                drawn[0].set(marker=marker, markevery=max(1, len(curve) // 8), markersize=3 * width)
        panel.set(xlabel="epochs", yscale="log", title=f"protocol: {name}")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        limits = panel.get_ylim()
        panel.set_yticks(ticks := (1, 2, 3, 4, 5, 7, 10, 20, 50, 100), [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.set_ylim(limits)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("perplexity per character")
    panels[0][-1].legend(title="thick: validation text,\nthin: training text")
    return figure


page = f"""# Characters of *The Time Machine*

Perplexity per character. Written by `examples/language_model.py` ({options.size} form) on {describe_machine("cpu")}.
Seconds are of the processor, for one training; ± is the standard deviation over the seeds. N-gram models count in the
text of training, and add 1 to every count. "Training text" is a mean over the epoch, while the weights change; the
lowest one of all epochs is in brackets.
"""
for name in dict.fromkeys(row.protocol for row in rows):
    page += f"\n## Protocol: {name}\n\n{table(name, rows)}\n\n{describe(PROTOCOLS[name])}\n{PROTOCOLS[name].note}\n"
page += "\n![Perplexity against epochs](language_model.png)\n\n## Texts\n\n"
page += f'After "{PREFIX}", at temperature {TEMPERATURE}, with sequential sampling:\n\n'
texts = {(row.protocol, row.network): row.text for row in rows if row.sampling == "sequential"}  # of the last seed
page += "".join(f"- {protocol}, {network}: {text}\n" for (protocol, network), text in texts.items())
(options.folder / "language_model.md").write_text(page, encoding="utf-8")
options.save(draw(rows), "language_model")
print(page)
