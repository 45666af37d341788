"""Look inside a network: the output of each stage, the weights of its first layer, what it thinks after each row."""

import torch
from torch import Tensor, nn

from models.description import watch_stages
from models.recurrent import RowByRow

from .networks import Trained


@torch.inference_mode()
def stage_outputs(trained: Trained, images: Tensor) -> dict[str, Tensor]:
    """Return the output of each stage that `python -m models` lists, in order, for uint8 images (N, C, H, W)."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, _: nn.Module, output: Tensor) -> None:
        outputs[name] = output.float().cpu()

    with trained.lock, watch_stages(trained.network, keep):
        trained.probabilities(images)
    return outputs


def first_weights(trained: Trained) -> Tensor | None:
    """Return the weights of the first layer as images, (units, C, height, width): the filters of a convolution.

    A layer that reads all pixels has a weight for each of them. None for a recurrent network.
    """
    if isinstance(trained.network, RowByRow):
        return None
    layer = next(each for each in trained.network.modules() if isinstance(each, nn.Conv2d | nn.Linear))
    weight = layer.weight.detach().float().cpu()
    return weight if weight.dim() == 4 else weight.view(len(weight), -1, *trained.preprocess.image_size)


def probabilities_after_rows(trained: Trained, images: Tensor) -> Tensor | None:
    """Return the class probabilities (height, num_classes) of a recurrent network that has read the first rows only.

    `images` is one uint8 image (1, C, H, W). None for a network that reads the image at once.
    """
    network = trained.network
    if not isinstance(network, RowByRow):
        return None
    with torch.inference_mode():
        whole = trained.preprocess(images.to(next(network.parameters()).device))
        rows = whole.permute(2, 0, 1, 3).flatten(2)  # (height, 1, C * width), as the network reads them
        read = (network.recurrent(rows[: row + 1])[0] for row in range(len(rows)))
        return torch.cat([network.output(network.pooled(states)) for states in read]).float().softmax(dim=1).cpu()
