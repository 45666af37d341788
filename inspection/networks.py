"""Load trained networks and ask them what they see in one picture."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from data.batches import Preprocess
from data.datasets import height_and_width
from models import cards
from models.weights import load_network
from training.evaluation import preprocess_of, require_valid
from training.machine import to_channels_last

LIVE = 50  # ms; those networks answer while one draws that together take no longer


class Form(NamedTuple):
    """What a picture is made into for a network: the same for all of a bundled data set."""

    data: str  # a bundled data set; empty for own data
    channels: int
    image_size: tuple[int, int]  # height, width


@dataclass(frozen=True)
class Trained:
    """Hold a network with what it takes to ask it for an answer."""

    source: str  # a published name, a run folder, a file
    network: nn.Module
    card: dict[str, Any]
    preprocess: Preprocess
    form: Form
    milliseconds: float = 0  # for one image
    lock: threading.RLock = field(default_factory=threading.RLock)  # held while the network runs

    @property
    def name(self) -> str:
        """Return the source without the name of the data set, which stands above the table."""
        return self.source.removesuffix(f"-{self.card['data']}")

    @property
    def data(self) -> str:
        """Return what the network was trained on; own data with their first classes, as names may be equal."""
        name, classes = self.card["data"], self.classes
        return name if self.form.data else f"{name} ({', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''})"

    @property
    def classes(self) -> list[str]:
        return [str(name) for name in self.card["classes"]]

    @property
    def accuracy(self) -> float:
        return self.card["metrics"]["test"]["accuracy"]

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probability of each class (N, num_classes) for uint8 images (N, C, H, W)."""
        device = next(self.network.parameters()).device
        with self.lock:
            return self.network(self.preprocess(images.to(device))).float().softmax(dim=1).cpu()


class Answer(NamedTuple):
    label: int
    probability: float
    milliseconds: float


def load(source: str, device: str = "cpu") -> Trained:
    """Load a run folder, a weights file or published weights. Raises WeightsError, or RunFailed for outputs of NaN."""
    file = cards.read(source)
    card, preprocess = file.card, preprocess_of(file.card)
    network = to_channels_last(load_network(file).to(device)).eval()
    channels, size = card["arguments"]["in_channels"], height_and_width(card["arguments"]["image_size"])
    form = Form(card["data"], channels, (28, 28)) if cards.is_bundled(card) else Form("", channels, size)
    trained = Trained(source, network, card, preprocess, form)
    blank = np.zeros((channels, *form.image_size), np.uint8)
    require_valid(trained.probabilities(torch.from_numpy(blank)[None]), file)  # the first time takes longer
    return replace(trained, milliseconds=min(ask(trained, blank).milliseconds for _ in range(3)))


def ask(trained: Trained, pixels: np.ndarray) -> Answer:
    """Return a network's answer for uint8 pixels (C, H, W)."""
    begin = time.perf_counter()
    probabilities = trained.probabilities(torch.from_numpy(pixels)[None])[0]
    label = int(probabilities.argmax())
    return Answer(label, float(probabilities[label]), 1000 * (time.perf_counter() - begin))


def live(networks: Sequence[Trained]) -> list[Trained]:
    """Return the fastest of the networks: as many as answer within LIVE together, at least one, in their order."""
    spent, chosen = 0.0, set()
    for trained in sorted(networks, key=lambda each: each.milliseconds):
        spent += trained.milliseconds
        if chosen and spent > LIVE:
            break
        chosen.add(trained.source)
    return [trained for trained in networks if trained.source in chosen]
