"""How good a network is on a split: the figures that are published."""

import math

import torch
from torch import nn
from torch.nn import functional

from data.batches import EVALUATION_BATCH, EvaluationBatches, Preparation
from data.splits import Images

from .errors import RunFailed


@torch.inference_mode()
def evaluate(
    network: nn.Module, split: Images, prepare: Preparation, device: torch.device | str = "cpu"
) -> dict[str, float | int]:
    """Mean cross entropy, share of right answers and number of images, each image used once.

    `network` is left on `device` in evaluation mode.
    """
    network.to(device).eval()
    loss, right, images = 0.0, 0, 0
    for inputs, labels in EvaluationBatches(split.to(device), EVALUATION_BATCH, prepare):
        logits = network(inputs).float()
        loss += functional.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(dim=1) == labels).sum())
        images += len(labels)
    if not math.isfinite(loss):
        raise RunFailed(
            f"the trained network's loss is {loss / images}. Try a smaller optimizer.lr or gradient_clip=1."
        )
    return {"loss": loss / images, "accuracy": right / images, "images": images}
