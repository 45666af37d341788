"""Test the occlusion map against a map made pixel by pixel, and on a network whose answer depends on a known place."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from data import load
from data.batches import Preprocess
from inspection import networks
from inspection.networks import Form, Trained
from inspection.occlusion import PATCHES, occlusion_map


class Corner(nn.Module):
    """Answer 1 where the pixels (3, 20) and (4, 20) are bright, else 0."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        light = images[:, 0, 3:5, 20].sum(dim=1)
        return torch.stack((torch.zeros_like(light), light + self.bias), dim=1)


@pytest.mark.parametrize("stride", [2, 4])
def test_map_is_the_mean_fall_over_the_patches_that_cover_a_pixel(stride: int) -> None:
    trained = networks.load("softmax_regression-mnist")
    image = load("mnist", test_size=1).test.images
    label, size = 7, 28 // PATCHES
    whole = trained.probabilities(image)[0, label].item()
    falls, counts = torch.zeros(28, 28), torch.zeros(28, 28)
    for top in range(stride - size, 28, stride):
        for left in range(stride - size, 28, stride):
            covered = image.clone()
            ys, xs = slice(max(0, top), top + size), slice(max(0, left), left + size)
            covered[..., ys, xs] = 0
            falls[ys, xs] += whole - trained.probabilities(covered)[0, label].item()
            counts[ys, xs] += 1
    assert counts.min() > 0
    torch.testing.assert_close(occlusion_map(trained, image, label, stride), falls / counts, atol=1e-5, rtol=1e-4)


def test_map_is_largest_where_the_answer_comes_from() -> None:
    preprocess = Preprocess((0.0,), (0.1,), (28, 28))
    trained = Trained("corner", Corner(), {}, preprocess, Form("mnist", 1, (28, 28)))
    falls = occlusion_map(trained, torch.full((1, 1, 28, 28), 255, dtype=torch.uint8), 1, 1)
    row, column = divmod(int(falls.argmax()), 28)
    assert abs(row - 3.5) <= 1
    assert column == 20
    assert falls[20, 5] == 0


def test_map_has_the_size_of_an_image_that_is_not_square() -> None:
    trained = dataclasses.replace(
        networks.load("softmax_regression-mnist"), preprocess=Preprocess((0.1,), (0.3,), (28, 28))
    )
    assert occlusion_map(trained, torch.zeros(1, 1, 20, 30, dtype=torch.uint8), 0, 4).shape == (20, 30)
