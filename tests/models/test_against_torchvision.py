"""Compare outputs and gradients with those of torchvision's networks, where the networks are the same."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18, vgg11

import models


def share_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Assign the weights of `ours` to `theirs`, on the meta device: both list them in the order of the forward pass.

    Only the running statistics, which training changes, are copied.
    """
    trained = {name for name, _ in ours.named_parameters()}
    values = (value if name in trained else value.clone() for name, value in ours.state_dict().items())
    theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)), assign=True)


def assert_equal_outputs_and_gradients(ours: nn.Module, theirs: nn.Module, image_size: int) -> None:
    images = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    outputs, gradients = [], []
    for network in (ours, theirs):
        outputs.append(network(images))
        loss = F.cross_entropy(outputs[-1], torch.arange(2))
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
    assert outputs[0].std() > 0.1
    torch.testing.assert_close(*outputs)
    for our, their in zip(*gradients, strict=True):
        assert our.sub_(their).norm() <= 1e-5 * their.norm()  # in place: VGG's are large


@pytest.mark.slow
def test_vgg11_equals_torchvision() -> None:
    with torch.device("meta"):
        theirs = vgg11(weights=None)
    ours = models.create("vgg11", in_channels=3, num_classes=1000)
    share_weights(ours, theirs)
    assert_equal_outputs_and_gradients(ours.eval(), theirs.eval(), image_size=224)  # without dropout


def test_resnet18_equals_torchvision() -> None:
    with torch.device("meta"):
        theirs = resnet18(weights=None)
    ours = models.create("resnet18", image_size=64, in_channels=3, num_classes=1000, variant="paper")
    share_weights(ours, theirs)
    assert_equal_outputs_and_gradients(ours, theirs, image_size=64)
    for our, their in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(our, their)
    assert_equal_outputs_and_gradients(ours.eval(), theirs.eval(), image_size=64)
