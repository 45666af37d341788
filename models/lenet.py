"""LeNet: the convolutional network that read cheques.

Source: LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings of the
IEEE, 1998, section II.B and figure 2; in the form of "Dive into Deep Learning", section 7.6.

Departures: C3 sees all maps of S2 (the paper's table I connects a part of them); pooling has no trainable gain and
bias; the output layer is linear, not radial basis functions; the activation is the plain logistic function, not a
scaled tanh. `padding=2` gives the first convolution the paper's field of view (28 padded to 32, so that 16 maps of
5 x 5 reach C5), as 32 x 32 images have without padding; 0, the course's net, leaves 16 maps of 4 x 4.
"""

from typing import Literal

from torch import Tensor, nn

from .checks import check_choice, height_and_width
from .layers import check_images, initialize

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
POOLINGS = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


class LeNet(nn.Module):
    """Map images (N, in_channels, height, width), standardised, to logits (N, num_classes).

    `image_size` is 28 or 32, the paper's own, for both height and width.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 28,
        in_channels: int = 1,
        num_classes: int = 10,
        activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid",
        pooling: Literal["average", "max"] = "average",
        padding: Literal[0, 2] = 0,
    ) -> None:
        super().__init__()
        self.image_size, self.in_channels = height_and_width("LeNet", image_size), in_channels
        self.register_forward_pre_hook(check_images)
        height, width = self.image_size
        if self.image_size not in ((28, 28), (32, 32)):
            raise ValueError(f"LeNet reads 28 x 28 or 32 x 32 images, got {height} x {width}")
        check_choice("LeNet", "activation", activation, ACTIVATIONS)
        check_choice("LeNet", "pooling", pooling, POOLINGS)
        check_choice("LeNet", "padding", padding, (0, 2))
        act, pool = ACTIVATIONS[activation], POOLINGS[pooling]
        side = ((height + 2 * padding - 4) // 2 - 4) // 2  # 4, or 5 with padding; at 32 x 32, 5 or 6

        self.c1 = nn.Sequential(nn.Conv2d(in_channels, 6, kernel_size=5, padding=padding), act())
        self.s2 = pool(kernel_size=2)  # (N, 6, 12, 12)
        self.c3 = nn.Sequential(nn.Conv2d(6, 16, kernel_size=5), act())
        self.s4 = pool(kernel_size=2)  # (N, 16, 4, 4)
        self.flatten = nn.Flatten()  # (N, 256)
        self.c5 = nn.Sequential(nn.Linear(16 * side**2, 120), act())
        self.f6 = nn.Sequential(nn.Linear(120, 84), act())
        self.output = nn.Linear(84, num_classes)
        initialize(self, activation)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.s4(self.c3(self.s2(self.c1(images))))
        return self.output(self.f6(self.c5(self.flatten(maps))))
