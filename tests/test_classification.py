"""What the Lightning module measures and which parameters decay."""

import torch
from torch import nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from training.classification import Sums, parameter_groups


def test_sums_are_those_of_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    sums, loss, accuracy = Sums(), MeanMetric(), MulticlassAccuracy(10, average="micro")
    for epoch in range(2):  # the second shows that the first was forgotten
        loss.reset()
        accuracy.reset()
        for images in (7, 64, 64, 3):
            logits = torch.randn(images, 10, generator=generator) + epoch
            labels = torch.randint(0, 10, (images,), generator=generator)
            mean = nn.functional.cross_entropy(logits, labels)
            sums.update(logits, labels, mean)
            loss.update(mean, weight=images)
            accuracy.update(logits, labels)
        values = sums.finish()
        torch.testing.assert_close(values["loss"].float(), loss.compute())
        torch.testing.assert_close(values["accuracy"], accuracy.compute())


def test_sums_travel_in_the_state() -> None:
    sums, resumed = Sums(), Sums()
    logits, labels = torch.eye(10), torch.arange(10).roll(3)
    sums.update(logits, labels, torch.tensor(1.5))
    resumed.load_state_dict(sums.state_dict())
    for each in (sums, resumed):
        each.update(logits, torch.arange(10), torch.tensor(0.5))
    assert resumed.finish() == sums.finish() == {"loss": torch.tensor(1.0), "accuracy": torch.tensor(0.5)}


def test_weight_decay_leaves_biases_and_norms_alone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(parameter_groups(network), lr=1.0, weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        decays = name in ("0.weight", "3.weight")
        assert torch.equal(parameter, before[name] * (0.5 if decays else 1.0)), name
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(before)
