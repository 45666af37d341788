"""Find the test images that a network gets wrong."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from data.splits import Images, Splits
from models import cards
from training.evaluation import read_training_data

from .networks import Trained

LONGEST = 200  # ms of a batch: what the page asks of the same network waits for it


class Mistake(NamedTuple):
    index: int  # in the test set
    label: int
    answer: int
    probability: float  # of the answer


def read_test_images(trained: Trained, read_splits: Callable[..., Splits]) -> Images:
    """Return the test images of a network's training data. Raises DataError where they are not available."""
    return read_training_data(cards.read(trained.source), read_splits).test


def find_mistakes(trained: Trained, test: Images) -> Iterator[tuple[int, list[Mistake]]]:
    """Yield, again and again, how many images were looked at, and the mistakes in them, the most confident first."""
    found: list[Mistake] = []
    size = min(128, max(1, int(LONGEST / max(trained.milliseconds, 1))))
    for begin in range(0, len(test.labels), size):
        images, labels = test.part(begin, begin + size)
        probabilities, answers = trained.probabilities(images).max(dim=1)
        for index in torch.nonzero(answers != labels).flatten().tolist():
            found.append(Mistake(begin + index, int(labels[index]), int(answers[index]), float(probabilities[index])))
        found.sort(key=lambda mistake: -mistake.probability)
        yield begin + len(labels), found
