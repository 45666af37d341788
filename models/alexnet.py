"""AlexNet: the deep convolutional network that won ImageNet 2012.

Source: Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012,
section 3.5 and figure 2; in the form of "Dive into Deep Learning", section 8.1.

Departures: one tower (the paper splits conv2, conv4 and conv5 over two GPUs), no local response normalisation, 54 x 54
maps behind conv1 (the paper's 55 x 55 need 227 pixels), and the initialisation. `batch_norm=True` is a further one. The
small-image stem (sides of 24 to 66 pixels) is a 3 x 3 convolution of stride 1; with it, fc6 and fc7 have 1,024
units in place of 4,096.
"""

from math import prod

from torch import nn

from .checks import check_counts, check_dropout, has_small_image_stem, height_and_width
from .layers import check_images, convolution, initialize


class AlexNet(nn.Sequential):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    `hidden_size` is the number of units of fc6 and of fc7; None means 4096, or 1024 with the small-image stem.
    `image_size` is height and width, or one number for both: both from 24 to 66, or both at least 67.
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
        self.image_size, self.in_channels = height_and_width("AlexNet", image_size), in_channels
        self.register_forward_pre_hook(check_images)
        small_image = has_small_image_stem("AlexNet", self.image_size, smallest=67)
        if hidden_size is None:
            hidden_size = 1024 if small_image else 4096
        check_counts("AlexNet", hidden_size=hidden_size)
        check_dropout("AlexNet", dropout)
        kernel_size, stride, padding = (3, 1, 1) if small_image else (11, 4, 0)
        sides = [(side + 2 * padding - kernel_size) // stride + 1 for side in self.image_size]
        for _ in range(3):
            sides = [(side - 3) // 2 + 1 for side in sides]  # 54 -> 26 -> 12 -> 5, or 28 -> 13 -> 6 -> 2

        self.conv1 = convolution(in_channels, 96, kernel_size, stride, padding, batch_norm=batch_norm)
        self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.conv2 = convolution(96, 256, kernel_size=5, padding=2, batch_norm=batch_norm)
        self.pool2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.conv3 = convolution(256, 384, kernel_size=3, padding=1, batch_norm=batch_norm)
        self.conv4 = convolution(384, 384, kernel_size=3, padding=1, batch_norm=batch_norm)
        self.conv5 = convolution(384, 256, kernel_size=3, padding=1, batch_norm=batch_norm)
        self.pool5 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.flatten = nn.Flatten()  # (N, 6400), or (N, 1024) at 28 x 28
        self.fc6 = nn.Sequential(nn.Linear(256 * prod(sides), hidden_size), nn.ReLU(), nn.Dropout(dropout))
        self.fc7 = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Dropout(dropout))
        self.fc8 = nn.Linear(hidden_size, num_classes)
        initialize(self, "relu")
