"""ResNet-18: residual blocks, each of which adds to its input.

Source: He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 3 and the 18-layer
column of table 1.

Departures: the shortcuts that change the shape are projections (the paper's option B; its table 2 measures 18 layers
with option A, zero padding). `variant="paper"` has no other. `variant="d2l"`, the default, is that of "Dive into Deep
Learning", section 8.6: convolutions keep their biases, and the projections have no batch norm. The small-image stem
(sides of 24 to 63 pixels) is a 3 x 3 convolution of stride 1 without pooling (as in the paper's networks for
CIFAR-10, section 4.2).
"""

from typing import Literal

from torch import Tensor, nn

from .checks import check_choice, has_small_image_stem, height_and_width
from .layers import check_images, initialize

STAGES = {"conv2_x": (64, 1), "conv3_x": (128, 2), "conv4_x": (256, 2), "conv5_x": (512, 2)}  # (channels, stride)


class ResidualBlock(nn.Module):
    """Compute y = F(x) + x (figure 2): (N, in_channels, H, W) -> (N, channels, H / stride, W / stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int, *, paper: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=not paper),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=not paper),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Sequential()
        if in_channels != channels:
            self.shortcut.append(nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=not paper))
            if paper:
                self.shortcut.append(nn.BatchNorm2d(channels))
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        return self.relu(self.residual(maps) + self.shortcut(maps))


class ResNet18(nn.Sequential):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    `image_size` is height and width, or one number for both: both from 24 to 63, or both at least 64.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        in_channels: int = 1,
        num_classes: int = 10,
        variant: Literal["d2l", "paper"] = "d2l",
    ) -> None:
        super().__init__()
        self.image_size, self.in_channels = height_and_width("ResNet18", image_size), in_channels
        self.register_forward_pre_hook(check_images)
        small_image = has_small_image_stem("ResNet18", self.image_size, smallest=64)
        check_choice("ResNet18", "variant", variant, ("d2l", "paper"))
        paper = variant == "paper"
        kernel_size, stride, padding = (3, 1, 1) if small_image else (7, 2, 3)

        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, 64, kernel_size, stride, padding, bias=not paper), nn.BatchNorm2d(64), nn.ReLU()
        )
        if not small_image:
            self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        width = 64
        for name, (channels, stride) in STAGES.items():
            first = ResidualBlock(width, channels, stride, paper=paper)
            self.add_module(name, nn.Sequential(first, ResidualBlock(channels, channels, stride=1, paper=paper)))
            width = channels
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()  # (N, 512)
        self.linear = nn.Linear(width, num_classes)
        initialize(self, "relu")
