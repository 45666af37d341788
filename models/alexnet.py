"""AlexNet: the deep convolutional network that won ImageNet 2012.

Source: Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012,
section 3.5 and figure 2; in the form of "Dive into Deep Learning", section 8.1.

Departures: one tower (the paper splits conv2, conv4 and conv5 over two GPUs), no local response normalisation, 54 x 54
maps behind conv1 (the paper's 55 x 55 need 227 pixels), and the initialisation. `batch_norm=True` is a further one. The
native geometry begins with a 3 x 3 convolution of stride 1 and has 1,024 units in the place of 4,096.
"""

from torch import Tensor, nn

from .arguments import check_counts, check_dropout
from .convolution import convolution
from .image_size import check_images, is_native
from .initialization import initialize


class AlexNet(nn.Sequential):
    """(N, in_channels, image_size, image_size), standardised -> (N, num_classes) logits.

    `hidden_size` is the width of fc6 and fc7: by default 4096, native 1024. Raises ValueError for another size.
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
        native = is_native("AlexNet", image_size)
        if hidden_size is None:
            hidden_size = 1024 if native else 4096
        check_counts("AlexNet", hidden_size=hidden_size)
        check_dropout("AlexNet", dropout)
        self.image_size, self.in_channels = image_size, in_channels
        kernel_size, stride, padding = (3, 1, 1) if native else (11, 4, 0)
        side = (image_size + 2 * padding - kernel_size) // stride + 1
        for _ in range(3):
            side = (side - 3) // 2 + 1  # behind each pooling: 54 -> 26 -> 12 -> 5, native 28 -> 13 -> 6 -> 2

        self.conv1 = convolution(in_channels, 96, kernel_size, stride, padding, batch_norm=batch_norm)
        self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.conv2 = convolution(96, 256, kernel_size=5, padding=2, batch_norm=batch_norm)
        self.pool2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.conv3 = convolution(256, 384, kernel_size=3, padding=1, batch_norm=batch_norm)
        self.conv4 = convolution(384, 384, kernel_size=3, padding=1, batch_norm=batch_norm)
        self.conv5 = convolution(384, 256, kernel_size=3, padding=1, batch_norm=batch_norm)
        self.pool5 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.flatten = nn.Flatten()  # (N, 6400), native (N, 1024)
        self.fc6 = nn.Sequential(nn.Linear(256 * side**2, hidden_size), nn.ReLU(), nn.Dropout(dropout))
        self.fc7 = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Dropout(dropout))
        self.fc8 = nn.Linear(hidden_size, num_classes)
        initialize(self, "relu")

    def forward(self, images: Tensor) -> Tensor:
        check_images("AlexNet", images, self.in_channels, self.image_size)
        return super().forward(images)
