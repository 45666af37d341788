"""Losses to minimise: of logits (N, classes) and labels (N,), the mean over the images."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross entropy of softmax; with `class_weights`, the mean is weighted by those of the labels.

    `label_smoothing` spreads a fraction of a label evenly over all classes: Szegedy et al., "Rethinking the Inception
    Architecture for Computer Vision", CVPR 2016.
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: list[float] | None = None) -> None:
        super().__init__(_tensor(class_weights), label_smoothing=label_smoothing)


class Focal(nn.Module):
    """Cross entropy times (1 - p)^gamma, where p is the probability of the label: images that are easy count less.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, with softmax. `gamma=0` is cross entropy.
    """

    def __init__(self, gamma: float = 2.0, class_weights: list[float] | None = None) -> None:
        super().__init__()
        self.gamma = gamma
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", _tensor(class_weights))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_p = -functional.cross_entropy(logits, labels, reduction="none")
        rest = (1 - log_p.exp()).clamp(min=torch.finfo(log_p.dtype).tiny)  # whose root has a finite gradient
        losses = -(rest**self.gamma) * log_p
        if self.class_weights is None:
            return losses.mean()
        weights = self.class_weights[labels]
        return (weights * losses).sum() / weights.sum()


def _tensor(weights: list[float] | None) -> Tensor | None:
    return None if weights is None else torch.tensor(weights, dtype=torch.float32)
