"""How good a network is on a split: the figures that are published."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional


@torch.inference_mode()
def evaluate(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float | int]:
    """Mean cross entropy, share of right answers and number of images. `network` is left in evaluation mode."""
    network.eval()
    loss, right, images = 0.0, 0, 0
    for inputs, labels in batches:
        logits = network(inputs).float()
        loss += functional.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(dim=1) == labels).sum())
        images += len(labels)
    return {"loss": loss / images, "accuracy": right / images, "images": images}
