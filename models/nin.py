"""NiN: 1 x 1 convolutions as a small network in every position, and no fully connected layer.

Source: Lin, Chen & Yan, "Network In Network", ICLR 2014, sections 3.1 (mlpconv) and 3.2 (global average pooling); in
the form of "Dive into Deep Learning", section 8.3, which takes AlexNet's window sizes.

Departures: four mlpconv layers of AlexNet's shapes (the paper's networks for small images have three), dropout in front
of the last one alone, and the initialisation, which makes every class map positive. The ReLU behind the last
1 x 1 convolution, under the pooling, is as published. `batch_norm=True` is a further departure; the convolution that
computes the class maps has none. The small-image stem (sides of 24 to 66 pixels) begins with a 5 x 5
convolution of stride 1.
"""

from torch import nn

from .checks import check_dropout, has_small_image_stem, height_and_width
from .layers import check_images, convolution, initialize, initialize_class_maps


def mlpconv(
    in_channels: int,
    channels: int,
    kernel_size: int,
    stride: int,
    padding: int,
    *,
    batch_norm: bool,
    last: bool = False,
) -> nn.Sequential:
    """Build a convolution and two 1 x 1 convolutions, each with its ReLU. The `last` one maps to classes."""
    return nn.Sequential(
        convolution(in_channels, channels, kernel_size, stride, padding, batch_norm=batch_norm),
        convolution(channels, channels, kernel_size=1, batch_norm=batch_norm),
        convolution(channels, channels, kernel_size=1, batch_norm=batch_norm and not last),
    )


class NiN(nn.Sequential):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    `image_size` is height and width, or one number for both: both from 24 to 66, or both at least 67.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        in_channels: int = 1,
        num_classes: int = 10,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.image_size, self.in_channels = height_and_width("NiN", image_size), in_channels
        self.register_forward_pre_hook(check_images)
        small_image = has_small_image_stem("NiN", self.image_size, smallest=67)
        check_dropout("NiN", dropout)
        kernel_size, stride, padding = (5, 1, 2) if small_image else (11, 4, 0)

        self.mlpconv1 = mlpconv(in_channels, 96, kernel_size, stride, padding, batch_norm=batch_norm)
        self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.mlpconv2 = mlpconv(96, 256, kernel_size=5, stride=1, padding=2, batch_norm=batch_norm)
        self.pool2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.mlpconv3 = mlpconv(256, 384, kernel_size=3, stride=1, padding=1, batch_norm=batch_norm)
        self.pool3 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.dropout = nn.Dropout(dropout)
        self.mlpconv4 = mlpconv(384, num_classes, kernel_size=3, stride=1, padding=1, batch_norm=batch_norm, last=True)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        initialize(self, "relu")
        *_, class_maps = (module for module in self.modules() if isinstance(module, nn.Conv2d))
        initialize_class_maps(class_maps)
