"""Losses to minimise: of logits (N, classes) and labels (N,), the mean over the images."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

Weight = Annotated[float, Field(ge=0)]
Smoothing = Annotated[float, Field(ge=0, lt=1)]


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross entropy of softmax; with `class_weights`, the mean is weighted by those of the labels.

    `label_smoothing` spreads a fraction of a label evenly over all classes: Szegedy et al., "Rethinking the Inception
    Architecture for Computer Vision", CVPR 2016.
    """

    def __init__(self, label_smoothing: Smoothing = 0.0, class_weights: tuple[Weight, ...] | None = None) -> None:
        super().__init__(_tensor(class_weights), label_smoothing=label_smoothing)


class Focal(nn.Module):
    """Cross entropy times (1 - p)^gamma, where p is the probability of the label: images that are easy count less.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, with softmax. `gamma=0` is cross entropy.
    """

    def __init__(self, gamma: Weight = 2.0, class_weights: tuple[Weight, ...] | None = None) -> None:
        super().__init__()
        self.gamma = gamma
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", _tensor(class_weights))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_p = logits.log_softmax(dim=1)
        rest = (1 - log_p.exp()).clamp(min=torch.finfo(log_p.dtype).tiny)  # whose root has a finite gradient
        return functional.nll_loss(rest**self.gamma * log_p, labels, self.class_weights)


def _tensor(weights: tuple[float, ...] | None) -> Tensor | None:
    return None if weights is None else torch.tensor(weights, dtype=torch.float32)
