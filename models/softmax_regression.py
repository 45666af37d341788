"""Softmax regression: one linear layer, trained with cross entropy. The baseline for every other network.

Source: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", section 4.4; in statistics, multinomial logistic
regression.

Departures: none.
"""

from math import prod

from torch import Tensor, nn

from .checks import height_and_width
from .layers import check_images, initialize


class SoftmaxRegression(nn.Module):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    `image_size` is height and width, of any size, or one number for both.
    """

    def __init__(self, image_size: int | tuple[int, int] = 28, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.image_size, self.in_channels = height_and_width("SoftmaxRegression", image_size), in_channels
        self.register_forward_pre_hook(check_images)
        self.flatten = nn.Flatten()  # (N, 784)
        self.output = nn.Linear(in_channels * prod(self.image_size), num_classes)
        initialize(self, "linear")

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.flatten(images))
