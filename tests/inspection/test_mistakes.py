"""Test the list of a network's mistakes on its test images."""

import dataclasses
from pathlib import Path

import pytest
import torch

from data import DataError, load
from data.splits import Images
from inspection import networks
from inspection.mistakes import find_mistakes, read_test_images


def test_mistakes_are_all_that_the_card_counts_most_confident_first() -> None:
    trained = networks.load("mlp-mnist")
    test = read_test_images(trained, load)
    *_, (looked_at, found) = find_mistakes(trained, test)
    assert looked_at == 10_000
    assert abs(len(found) - round((1 - trained.accuracy) * 10_000)) <= 2
    confident = [mistake.probability for mistake in found]
    assert confident == sorted(confident, reverse=True)
    for mistake in found[:5]:
        probabilities = trained.probabilities(test.images[mistake.index][None])[0]
        assert int(probabilities.argmax()) == mistake.answer != mistake.label == int(test.labels[mistake.index])
        assert float(probabilities.max()) == pytest.approx(mistake.probability, rel=1e-4)


def test_search_reports_as_it_goes_and_ends_with_an_incomplete_batch() -> None:
    trained = dataclasses.replace(networks.load("softmax_regression-mnist"), milliseconds=1.0)
    images = torch.zeros(300, 1, 28, 28, dtype=torch.uint8)
    answer = int(trained.probabilities(images[:1]).argmax())
    labels = torch.full((300,), answer)
    labels[[5, 290]] = (answer + 1) % 10
    progress = [(looked_at, len(found)) for looked_at, found in find_mistakes(trained, Images(images, labels))]
    assert progress == [(128, 1), (256, 1), (300, 2)]
    slow = dataclasses.replace(trained, milliseconds=50.0)
    assert next(find_mistakes(slow, Images(images, labels)))[0] == 4  # whoever draws does not wait for a large batch


def test_own_data_that_are_gone_are_reported(own_run: Path) -> None:
    trained = networks.load(str(own_run))
    assert len(read_test_images(trained, load).labels) > 0
    Path(trained.card["training"]["root"]).rename(own_run / "moved")
    with pytest.raises(DataError, match="colours"):
        read_test_images(trained, load)
