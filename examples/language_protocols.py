"""Train four recurrent networks by two protocols: the course's, which measures memory, and one with held-out text.

Source of the first one: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", chapters 9 and 10.
"""

# %%
from start import read_flags

options = read_flags(__doc__)

import json
import shutil
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from characters import Sampling, Windows, cross_entropy, ngram_perplexity
from language_model import HONEST, LAYERS, NGRAMS, LanguageModel, fit, generate, novel, test, train, validation
from torch import Tensor
from tqdm import tqdm

from training.machine import describe_machine

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
if options.size == "default":  # fewer epochs
    PROTOCOLS["course"] = PROTOCOLS["course"]._replace(epochs=10)
    PROTOCOLS["honest"] = PROTOCOLS["honest"]._replace(epochs=1, seeds=(1,))
if options.size == "quick":  # little text and small networks, too
    for name, protocol in PROTOCOLS.items():
        settings = protocol.settings | {"hidden_size": 16}
        texts = {"train": train[:4_000], "validation": validation[:500]}
        PROTOCOLS[name] = protocol._replace(**texts, epochs=1, seeds=(1,), settings=settings)
SAMPLINGS: tuple[Sampling, ...] = ("sequential",) if options.size == "quick" else ("sequential", "random")

# %% [markdown]
# ## A row for each training
# With `--full`, a training that was stopped continues from its last checkpoint, and a finished one is not repeated.


# %%
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


keys = [(name, *key) for name in PROTOCOLS for key in product(LAYERS, SAMPLINGS, PROTOCOLS[name].seeds)]
checkpoints = options.folder / f"checkpoints_{options.size}"
if options.size != "full":
    shutil.rmtree(checkpoints, ignore_errors=True)
rows = [train_row(*key, checkpoints / "-".join(map(str, key))) for key in tqdm(keys)]

# %% [markdown]
# ## The tables


# %%
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


def describe(protocol: Protocol) -> str:
    """Return how networks were trained, in two lines."""
    settings = ", ".join(f"{key} {value}" for key, value in protocol.settings.items())
    counts = f"{len(protocol.train):,} characters, epochs: {protocol.epochs}, seeds: {len(protocol.seeds)}"
    batches = "batches of 32 windows of 35 characters, gradients clipped to the norm 1"
    return f"Training on the first {counts},\n{batches}, {settings}"


draw(rows, options.folder / "language_protocols.png")
texts = {(row.protocol, row.network): row.text for row in rows if row.sampling == "sequential"}  # of the last seed
course, honest = PROTOCOLS.values()
flag = "" if options.size == "default" else f" --{options.size}"
page = f"""# Characters of *The Time Machine*

Perplexity per character. Written by `uv run examples/language_protocols.py{flag}` on {describe_machine("cpu")}.
Seconds are of the processor, for one training.

## The course's protocol

{table("course", rows)}

{describe(course)}, one-hot vectors.
The weights are those of the last epoch; the lowest perplexity of all epochs is in brackets. The course's own figures,
for the text of training, are 1.0 for the RNN (1.5 by random sampling), 1.1 for the GRU and 1.3 for the LSTM.

## The honest protocol

{table("honest", rows)}

{describe(honest)}.
The weights are those of the epoch with the best perplexity on the ninth tenth; the last tenth was read once. Means over
the seeds, ± the standard deviation. The n-gram models count in the text of training, and add 1 to every count.

![Perplexity against epochs](language_protocols.png)

Sequential sampling, means over the seeds. Validation text: on the left the 1,000 characters after those of training, on
the right the ninth tenth.

## Texts

After "the time traveller", at temperature 0.5, by networks with sequential sampling:

{chr(10).join(f"- {protocol}, {network}: {text}" for (protocol, network), text in texts.items())}
"""
(options.folder / "language_protocols.md").write_text(page, encoding="utf-8")
print(page)
