"""ResNet-18: residual blocks, each adding to what it was given.

Source: He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 3 and the 18-layer
column of table 1.

Departures: the shortcuts that change the shape are projections (the paper's option B; its table 2 measures 18 layers
with option A, zero padding). `variant="paper"` has no other. `variant="d2l"`, the default, is that of "Dive into Deep
Learning", section 8.6: convolutions keep their biases, and the projections have no batch norm. The native geometry
begins with a 3 x 3 convolution of stride 1 and has no pooling (as the paper's networks for CIFAR-10, section 4.2).
"""

from typing import Literal

from torch import Tensor, nn

from .image_size import check_images, is_native
from .initialization import initialize

VARIANTS = ("d2l", "paper")
STAGES = {"conv2_x": (64, 1), "conv3_x": (128, 2), "conv4_x": (256, 2), "conv5_x": (512, 2)}  # (channels, stride)


class ResidualBlock(nn.Module):
    """(N, in_channels, H, W) -> (N, channels, H / stride, W / stride): figure 2, y = F(x) + x."""

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
    """(N, in_channels, image_size, image_size), standardised -> (N, num_classes) logits.

    Raises ValueError for another size.
    """

    def __init__(
        self,
        image_size: int = 224,
        in_channels: int = 1,
        num_classes: int = 10,
        variant: Literal["d2l", "paper"] = "d2l",
    ) -> None:
        super().__init__()
        native = is_native("ResNet18", image_size)
        if variant not in VARIANTS:
            raise ValueError(f"ResNet18: variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        paper = variant == "paper"
        self.image_size, self.in_channels = image_size, in_channels
        kernel_size, stride, padding = (3, 1, 1) if native else (7, 2, 3)

        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, 64, kernel_size, stride, padding, bias=not paper), nn.BatchNorm2d(64), nn.ReLU()
        )
        if not native:
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

    def forward(self, images: Tensor) -> Tensor:
        check_images("ResNet18", images, self.in_channels, self.image_size)
        return super().forward(images)
