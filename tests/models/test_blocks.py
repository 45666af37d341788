"""Test the blocks against their papers' equations, dropout in training and evaluation, and the initial weights."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models.densenet import DenseLayer
from models.googlenet import Inception
from models.resnet import ResidualBlock


def maps(channels: int, side: int = 6) -> Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))


def convolutions_and_norms(block: nn.Module) -> tuple[list[nn.Conv2d], list[nn.BatchNorm2d]]:
    """Return both kinds in the order of the forward pass, in evaluation mode, with random statistics and scales."""
    convolutions = [module for module in block.eval().modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        for values in module.state_dict().values():
            if values.is_floating_point():
                values.uniform_(0.5, 1.5)
    return convolutions, norms


def norm(x: Tensor, n: nn.BatchNorm2d) -> Tensor:
    return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias)


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (8, 2)])
def test_residual_block_computes_its_equation(channels: int, stride: int, paper: bool) -> None:
    block = ResidualBlock(4, channels, stride, paper=paper)
    convolutions, norms = convolutions_and_norms(block)
    x = maps(4)
    residual = F.relu(norm(F.conv2d(x, convolutions[0].weight, convolutions[0].bias, stride, padding=1), norms[0]))
    residual = norm(F.conv2d(residual, convolutions[1].weight, convolutions[1].bias, padding=1), norms[1])
    shortcut = x
    if stride == 2:
        shortcut = F.conv2d(x, convolutions[2].weight, convolutions[2].bias, stride)
        shortcut = norm(shortcut, norms[2]) if paper else shortcut
    torch.testing.assert_close(block(x), F.relu(residual + shortcut))


def test_residual_block_with_a_zero_residual_returns_its_shortcut() -> None:
    block = ResidualBlock(4, 4, stride=1, paper=False)
    nn.init.zeros_(block.get_parameter("residual.4.weight"))  # the last norm's scale
    assert torch.equal(block(maps(4)), maps(4).relu())


def test_dense_layer_appends_its_maps_to_its_input() -> None:
    layer = DenseLayer(6, growth_rate=3)
    (convolution,), (batch_norm,) = convolutions_and_norms(layer)
    x = maps(6)
    new = F.conv2d(F.relu(norm(x, batch_norm)), convolution.weight, convolution.bias, padding=1)
    torch.testing.assert_close(layer(x), torch.cat([x, new], dim=1))


def test_dense_block_keeps_every_layers_maps_in_order() -> None:
    block = models.create("densenet", growth_rate=5).get_submodule("dense_block1").eval()
    x = maps(64)
    outputs = block(x)
    for number, layer in enumerate(block.children()):
        x = layer(x)
        assert x.shape[1] == 64 + 5 * (number + 1)
        assert torch.equal(outputs[:, : x.shape[1]], x)


def test_inception_concatenates_four_paths_of_its_input() -> None:
    block = Inception(6, 2, (3, 4), (5, 7), 8, batch_norm=False)
    (one, three_reduce, three, five_reduce, five, proj), _ = convolutions_and_norms(block)
    x = maps(6)

    def step(x: Tensor, convolution: nn.Conv2d, padding: int = 0) -> Tensor:
        return F.relu(F.conv2d(x, convolution.weight, convolution.bias, padding=padding))

    expected = [
        step(x, one),
        step(step(x, three_reduce), three, padding=1),
        step(step(x, five_reduce), five, padding=2),
        step(F.max_pool2d(x, 3, stride=1, padding=1), proj),
    ]
    torch.testing.assert_close(block(x), torch.cat(expected, dim=1))


@pytest.mark.parametrize(("name", "places"), [("mlp", 1), ("alexnet", 2), ("vgg11", 2), ("nin", 1)])
def test_dropout_is_applied_in_training_only(name: str, places: int) -> None:
    network = models.create(name, image_size=28, dropout=0.5)
    dropped: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(
                lambda _, args, output: dropped.append(int(((output == 0) & (args[0] != 0)).sum()))
            )
    images = torch.randn(2, 1, 28, 28)
    network(images)
    assert len(dropped) == places
    assert all(count > 0 for count in dropped)
    dropped.clear()
    network.eval()(images)
    assert dropped == [0] * places


@pytest.mark.parametrize(
    "name", ["mlp", "alexnet", "vgg11", "nin", "googlenet", "resnet18", "densenet", "lenet", "softmax_regression"]
)
def test_initial_weights_have_the_distribution_of_the_activation(name: str) -> None:
    """Expect Kaiming normal for ReLU, standard deviation sqrt(2 / fan-in), and Xavier uniform, bounded, for others."""
    torch.manual_seed(0)
    network = models.create(name, image_size=28)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    if name == "nin":
        class_maps = layers.pop()
        assert class_maps.bias is not None
        assert (class_maps.bias == 1).all()
        assert class_maps.weight.std().item() == pytest.approx(0.05, rel=0.2)
    for layer in layers:
        fan_in = layer.weight[0].numel()
        fan_out = layer.weight.numel() // layer.weight.shape[1]
        assert layer.bias is not None
        assert (layer.bias == 0).all()
        if name in ("lenet", "softmax_regression"):
            bound = (6 / (fan_in + fan_out)) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
        elif layer.weight.numel() > 1000:
            deviation = (2 / fan_in) ** 0.5
            assert layer.weight.std().item() == pytest.approx(deviation, rel=0.1)
            assert layer.weight.abs().max() > 2.5 * deviation  # a uniform distribution is bounded by 1.73


def test_initial_class_maps_of_nin_are_positive() -> None:
    """A class whose map is negative everywhere would get no gradient."""
    torch.manual_seed(0)
    outputs = models.create("nin", image_size=28).eval()(torch.randn(4, 1, 28, 28))
    assert outputs.min() > 0
