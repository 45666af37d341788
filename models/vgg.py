"""VGG-11: blocks of 3 x 3 convolutions.

Source: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, table 1,
column A.

Departures: the initialisation. `batch_norm=True` is a further one. With the small-image stem (sides of 24 to 63
pixels), the poolings round up, so that there are pixels left for all five of them, and fc6 and fc7 have 512 units in
place of 4,096.
"""

from math import prod

from torch import nn

from .checks import check_counts, check_dropout, has_small_image_stem, height_and_width
from .layers import check_images, convolution, initialize

BLOCKS = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))  # table 1, column A: (convolutions, channels)


class VGG11(nn.Sequential):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    `hidden_size` is the number of units of fc6 and of fc7; None means 4096, or 512 with the small-image stem.
    `image_size` is height and width, or one number for both: both from 24 to 63, or both at least 64.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        in_channels: int = 1,
        num_classes: int = 10,
        hidden_size: int | None = None,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.image_size, self.in_channels = height_and_width("VGG11", image_size), in_channels
        self.register_forward_pre_hook(check_images)
        small_image = has_small_image_stem("VGG11", self.image_size, smallest=64)
        if hidden_size is None:
            hidden_size = 512 if small_image else 4096
        check_counts("VGG11", hidden_size=hidden_size)
        check_dropout("VGG11", dropout)

        sides = list(self.image_size)
        for number, (convolutions, channels) in enumerate(BLOCKS, start=1):
            block = nn.Sequential()
            for _ in range(convolutions):
                block.append(convolution(in_channels, channels, kernel_size=3, padding=1, batch_norm=batch_norm))
                in_channels = channels
            block.append(nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=small_image))
            self.add_module(f"block{number}", block)
            sides = [(side + small_image) // 2 for side in sides]  # 224 -> 112 -> ... -> 7, or 28 -> 14 -> ... -> 1
        self.flatten = nn.Flatten()  # (N, 25088), or (N, 512) at 28 x 28
        self.fc6 = nn.Sequential(nn.Linear(in_channels * prod(sides), hidden_size), nn.ReLU(), nn.Dropout(dropout))
        self.fc7 = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Dropout(dropout))
        self.fc8 = nn.Linear(hidden_size, num_classes)
        initialize(self, "relu")
