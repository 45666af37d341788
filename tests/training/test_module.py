"""Test the Lightning module: its loss, its metrics, and which parameters decay."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from training.losses import CrossEntropy
from training.module import ClassificationModule, LossAndAccuracy, parameter_groups
from training.schedules import constant


def test_loss_and_accuracy_equal_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    sums, loss, accuracy = LossAndAccuracy(), MeanMetric(), MulticlassAccuracy(10, average="micro")
    for epoch in range(2):  # the second shows that the sums are reset
        loss.reset()
        accuracy.reset()
        for images in (7, 64, 64, 3):
            logits = torch.randn(images, 10, generator=generator) + epoch
            labels = torch.randint(0, 10, (images,), generator=generator)
            mean = nn.functional.cross_entropy(logits, labels)
            sums.update(logits, labels, mean)
            loss.update(mean, weight=images)
            accuracy.update(logits, labels)
        values = sums.compute_and_reset()
        torch.testing.assert_close(values["loss"].float(), loss.compute())
        torch.testing.assert_close(values["accuracy"], accuracy.compute())


def test_metric_sums_are_part_of_the_state_dict() -> None:
    sums, resumed = LossAndAccuracy(), LossAndAccuracy()
    logits, labels = torch.eye(10), torch.arange(10).roll(3)
    sums.update(logits, labels, torch.tensor(1.5))
    resumed.load_state_dict(sums.state_dict())
    for each in (sums, resumed):
        each.update(logits, torch.arange(10), torch.tensor(0.5))
    assert (
        resumed.compute_and_reset()
        == sums.compute_and_reset()
        == {"loss": torch.tensor(1.0), "accuracy": torch.tensor(0.5)}
    )


def test_weight_decay_excludes_biases_and_norms() -> None:
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


def test_training_loss_is_that_of_the_configuration_plus_l1() -> None:
    linear = nn.Linear(4, 3)
    network = nn.Sequential(nn.Flatten(), linear, nn.BatchNorm1d(3)).double()
    optimizer, scheduler = partial(torch.optim.SGD, lr=0.1), constant
    task = ClassificationModule(network, CrossEntropy(label_smoothing=0.2), optimizer, scheduler, l1=0.01)
    images, labels = torch.randn(6, 1, 2, 2).double(), torch.tensor([0, 2, 1, 1, 0, 2])
    loss = task.training_step((images, labels), 0)

    logits = network(images).detach().numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = 0.8 * np.eye(3)[labels.numpy()] + 0.2 / 3
    expected = -(targets * log_probabilities).sum(axis=1).mean() + 0.01 * linear.weight.abs().sum().item()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert task.train_metrics.compute_and_reset()["loss"].item() == pytest.approx(expected, rel=1e-6)

    task.validation_step((images, labels), 0)
    plain = -log_probabilities[range(6), labels].mean()
    assert task.val_metrics.compute_and_reset()["loss"].item() == pytest.approx(plain, rel=1e-12)
