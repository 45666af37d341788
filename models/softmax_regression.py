"""Softmax regression: one linear layer, trained with cross entropy. The baseline for every other network.

Source: Zhang, Lipton, Li & Smola, "Dive into Deep Learning", section 4.4; in statistics, multinomial logistic
regression.

Departures: none.
"""

from torch import Tensor, nn

from .checks import check_image_size
from .layers import check_images, initialize


class SoftmaxRegression(nn.Module):
    """Map images (N, in_channels, 28, 28), standardised, to logits (N, num_classes)."""

    def __init__(self, image_size: int = 28, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        check_image_size("SoftmaxRegression", image_size)
        self.image_size, self.in_channels = image_size, in_channels
        self.register_forward_pre_hook(check_images)
        self.flatten = nn.Flatten()  # (N, 784)
        self.output = nn.Linear(in_channels * image_size**2, num_classes)
        initialize(self, "linear")

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.flatten(images))
