"""AlexNet: the deep convolutional network that won ImageNet 2012.

Source: Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012,
section 3.5 and figure 2; in the form of "Dive into Deep Learning", section 8.1.

Departures: one tower (the paper splits conv2, conv4 and conv5 over two GPUs), no local response normalisation, 54 x 54
maps behind conv1 (the paper's 55 x 55 need 227 pixels), and the initialisation. `batch_norm=True` is a further one. The
small-image stem (28 x 28) is a 3 x 3 convolution of stride 1; with it, fc6 and fc7 have 1,024 units in place of 4,096.
"""

from torch import nn

from .checks import check_counts, check_dropout, has_small_image_stem
from .layers import check_images, convolution, initialize


class AlexNet(nn.Sequential):
    """Map images (N, in_channels, image_size, image_size), standardised, to logits (N, num_classes).

    `hidden_size` is the number of units of fc6 and of fc7; None means 4096, or 1024 at 28 x 28. Images are 28 x 28, or
    67 x 67 and larger.
    """

    def __init__(
        self,
        image_size: int = 224,
        in_channels: int = 1,
        num_classes: int = 10,
        hidden_size: int | None = None,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        small_image = has_small_image_stem("AlexNet", image_size, smallest=67)
        if hidden_size is None:
            hidden_size = 1024 if small_image else 4096
        check_counts("AlexNet", hidden_size=hidden_size)
        check_dropout("AlexNet", dropout)
        self.image_size, self.in_channels = image_size, in_channels
        self.register_forward_pre_hook(check_images)
        kernel_size, stride, padding = (3, 1, 1) if small_image else (11, 4, 0)
        side = (image_size + 2 * padding - kernel_size) // stride + 1
        for _ in range(3):
            side = (side - 3) // 2 + 1  # 54 -> 26 -> 12 -> 5, or 28 -> 13 -> 6 -> 2

        self.conv1 = convolution(in_channels, 96, kernel_size, stride, padding, batch_norm=batch_norm)
        self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.conv2 = convolution(96, 256, kernel_size=5, padding=2, batch_norm=batch_norm)
        self.pool2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.conv3 = convolution(256, 384, kernel_size=3, padding=1, batch_norm=batch_norm)
        self.conv4 = convolution(384, 384, kernel_size=3, padding=1, batch_norm=batch_norm)
        self.conv5 = convolution(384, 256, kernel_size=3, padding=1, batch_norm=batch_norm)
        self.pool5 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.flatten = nn.Flatten()  # (N, 6400), or (N, 1024) at 28 x 28
        self.fc6 = nn.Sequential(nn.Linear(256 * side**2, hidden_size), nn.ReLU(), nn.Dropout(dropout))
        self.fc7 = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Dropout(dropout))
        self.fc8 = nn.Linear(hidden_size, num_classes)
        initialize(self, "relu")
