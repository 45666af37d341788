"""GoogLeNet: inception blocks, four paths side by side.

Source: Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke & Rabinovich, "Going Deeper with Convolutions",
CVPR 2015, figure 2b and table 1; in the form of "Dive into Deep Learning", section 8.4.

Departures: no auxiliary classifiers, no local response normalisation, no dropout in front of the linear layer; the
poolings pad by one pixel; the initialisation. The third path really is 5 x 5. `batch_norm=True` is a further departure.
The small-image stem (sides of 24 to 63 pixels) begins with a 3 x 3 convolution of stride 1 and has no first pooling.
"""

import torch
from torch import Tensor, nn

from .checks import has_small_image_stem, height_and_width
from .layers import check_images, convolution, initialize

INCEPTIONS = {  # table 1: #1x1, (#3x3 reduce, #3x3), (#5x5 reduce, #5x5), pool proj
    "inception3a": (64, (96, 128), (16, 32), 32),
    "inception3b": (128, (128, 192), (32, 96), 64),
    "pool3": None,
    "inception4a": (192, (96, 208), (16, 48), 64),
    "inception4b": (160, (112, 224), (24, 64), 64),
    "inception4c": (128, (128, 256), (24, 64), 64),
    "inception4d": (112, (144, 288), (32, 64), 64),
    "inception4e": (256, (160, 320), (32, 128), 128),
    "pool4": None,
    "inception5a": (256, (160, 320), (32, 128), 128),
    "inception5b": (384, (192, 384), (48, 128), 128),
}


class Inception(nn.Module):
    """Concatenate the outputs of four paths: (N, in_channels, H, W) -> (N, out_channels, H, W)."""

    def __init__(
        self,
        in_channels: int,
        conv1x1: int,
        conv3x3: tuple[int, int],
        conv5x5: tuple[int, int],
        pool_proj: int,
        *,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        self.out_channels = conv1x1 + conv3x3[1] + conv5x5[1] + pool_proj
        self.conv1x1 = convolution(in_channels, conv1x1, kernel_size=1, batch_norm=batch_norm)
        self.conv3x3 = nn.Sequential(
            convolution(in_channels, conv3x3[0], kernel_size=1, batch_norm=batch_norm),
            convolution(*conv3x3, kernel_size=3, padding=1, batch_norm=batch_norm),
        )
        self.conv5x5 = nn.Sequential(
            convolution(in_channels, conv5x5[0], kernel_size=1, batch_norm=batch_norm),
            convolution(*conv5x5, kernel_size=5, padding=2, batch_norm=batch_norm),
        )
        self.pool_proj = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
            convolution(in_channels, pool_proj, kernel_size=1, batch_norm=batch_norm),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([path(maps) for path in self.children()], dim=1)


class GoogLeNet(nn.Sequential):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    `image_size` is height and width, or one number for both: both from 24 to 63, or both at least 64.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        in_channels: int = 1,
        num_classes: int = 10,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.image_size, self.in_channels = height_and_width("GoogLeNet", image_size), in_channels
        self.register_forward_pre_hook(check_images)
        small_image = has_small_image_stem("GoogLeNet", self.image_size, smallest=64)

        if small_image:
            self.conv1 = convolution(in_channels, 64, kernel_size=3, padding=1, batch_norm=batch_norm)
        else:
            self.conv1 = convolution(in_channels, 64, kernel_size=7, stride=2, padding=3, batch_norm=batch_norm)
            self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.conv2 = nn.Sequential(
            convolution(64, 64, kernel_size=1, batch_norm=batch_norm),
            convolution(64, 192, kernel_size=3, padding=1, batch_norm=batch_norm),
        )
        self.pool2 = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        channels = 192
        for name, widths in INCEPTIONS.items():
            if widths is None:
                self.add_module(name, nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
            else:
                inception = Inception(channels, *widths, batch_norm=batch_norm)
                self.add_module(name, inception)
                channels = inception.out_channels
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()  # (N, 1024)
        self.linear = nn.Linear(channels, num_classes)
        initialize(self, "relu")
