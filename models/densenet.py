"""DenseNet: every layer reads the outputs of all layers before it in its block.

Source: Huang, Liu, van der Maaten & Weinberger, "Densely Connected Convolutional Networks", CVPR 2017, section 3 and
table 1; in the form of "Dive into Deep Learning", section 8.7.

Departures: four blocks of four layers without bottlenecks, with transitions that halve the channels: a small DenseNet-C
(the paper's ImageNet networks are DenseNet-BC of 121 layers and more). Convolutions carry biases. The small-image stem
(sides of 24 to 63 pixels) begins with a 3 x 3 convolution of stride 1 and has no first pooling. A transition drops
the last row and column of an odd size: at 28 x 28, the last transition drops the seventh.
"""

import torch
from torch import Tensor, nn

from .checks import check_counts, has_small_image_stem, height_and_width
from .layers import check_images, initialize


class DenseLayer(nn.Module):
    """Append `growth_rate` maps to the input: (N, in_channels, H, W) -> (N, in_channels + growth_rate, H, W)."""

    def __init__(self, in_channels: int, growth_rate: int) -> None:
        super().__init__()
        self.composite = nn.Sequential(
            nn.BatchNorm2d(in_channels), nn.ReLU(), nn.Conv2d(in_channels, growth_rate, kernel_size=3, padding=1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps, self.composite(maps)], dim=1)


def transition(in_channels: int) -> nn.Sequential:
    """Build the layers between two dense blocks: (N, in_channels, H, W) -> (N, in_channels // 2, H // 2, W // 2)."""
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, in_channels // 2, kernel_size=1),
        nn.AvgPool2d(kernel_size=2, stride=2),
    )


class DenseNet(nn.Sequential):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    `layers_per_block` is the number of layers of each of the four dense blocks.
    `image_size` is height and width, or one number for both: both from 24 to 63, or both at least 64.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        in_channels: int = 1,
        num_classes: int = 10,
        growth_rate: int = 32,
        layers_per_block: tuple[int, ...] = (4, 4, 4, 4),
    ) -> None:
        super().__init__()
        self.image_size, self.in_channels = height_and_width("DenseNet", image_size), in_channels
        self.register_forward_pre_hook(check_images)
        small_image = has_small_image_stem("DenseNet", self.image_size, smallest=64)
        check_counts("DenseNet", growth_rate=growth_rate)
        if len(layers_per_block) != 4 or min(layers_per_block) < 1:
            raise ValueError(
                f"DenseNet: layers_per_block must be four numbers of at least 1, got {tuple(layers_per_block)}"
            )
        kernel_size, stride, padding = (3, 1, 1) if small_image else (7, 2, 3)

        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, 64, kernel_size, stride, padding), nn.BatchNorm2d(64), nn.ReLU()
        )
        if not small_image:
            self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        channels = 64
        for number, layers in enumerate(layers_per_block, start=1):
            if number > 1:
                self.add_module(f"transition{number - 1}", transition(channels))
                channels //= 2
            widths = [channels + layer * growth_rate for layer in range(layers + 1)]
            self.add_module(f"dense_block{number}", nn.Sequential(*(DenseLayer(n, growth_rate) for n in widths[:-1])))
            channels = widths[-1]
        self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()  # (N, 248)
        self.linear = nn.Linear(channels, num_classes)
        initialize(self, "relu")
