"""Test `initialize_from`: weights of other images and classes begin a network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CARD
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models import WeightsError, cards
from models.weights import Transfer, initialize_from, serialize

SMALL = {  # arguments that keep tests fast
    "alexnet": {"image_size": 28, "hidden_size": 16},
    "vgg11": {"image_size": 28, "hidden_size": 16},
    "nin": {"image_size": 28},
    "googlenet": {"image_size": 28},
    "resnet18": {"image_size": 28},
    "densenet": {"image_size": 28},
}
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, SMALL.get(name, {})) for name in models.names()),
    ("mlp", {"image_size": (5, 7)}),
    ("rnn", {"image_size": (5, 7), "bidirectional": True, "num_layers": 2}),
    ("gru", {"image_size": (5, 7), "bidirectional": True, "num_layers": 2}),
    ("gru", {"reset_after": True}),
    ("nin", {"image_size": 67, "batch_norm": True}),
    ("resnet18", {"image_size": (64, 70), "variant": "paper"}),
]
FIRST = {  # stage that reads the images; of the others: conv1
    "softmax_regression": "output",
    "mlp": "hidden",
    "lenet": "c1",
    "vgg11": "block1",
    "nin": "mlpconv1",
    "rnn": "recurrent",
    "gru": "recurrent",
    "lstm": "recurrent",
}
LAST = {  # of the others: output
    "alexnet": "fc8",
    "vgg11": "fc8",
    "nin": "mlpconv4",
    "googlenet": "linear",
    "resnet18": "linear",
    "densenet": "linear",
}


def make(name: str, seed: int, **arguments: Any) -> nn.Module:
    torch.manual_seed(seed)
    return models.create(name, **arguments).eval()


def stored(tmp_path: Path, network: nn.Module, name: str, **arguments: Any) -> cards.WeightsFile:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(serialize(network, name, arguments, CARD))
    return cards.read(path)


def grey_images(arguments: dict[str, Any]) -> Tensor:
    size = arguments.get("image_size", 28)
    return torch.randn(3, 1, *(size if isinstance(size, tuple) else (size, size)))


@pytest.mark.parametrize(("there", "here"), [(1, 3), (1, 2), (3, 1)])
@pytest.mark.parametrize(("name", "arguments"), CASES, ids=str)
def test_grey_images_keep_their_outputs_with_another_number_of_channels(
    tmp_path: Path, name: str, arguments: dict[str, Any], there: int, here: int
) -> None:
    trained = make(name, 0, **arguments, in_channels=there)
    network = make(name, 1, **arguments, in_channels=here)
    file = stored(tmp_path, trained, name, **arguments, in_channels=there)
    transfer = initialize_from(network, {**arguments, "in_channels": here}, file)
    images = grey_images(arguments)
    expected = trained(images.expand(-1, there, -1, -1))
    assert expected.std() > 1e-3
    torch.testing.assert_close(network(images.expand(-1, here, -1, -1)), expected, rtol=1e-4, atol=1e-5)
    assert transfer == Transfer([], [FIRST.get(name, "conv1")], (10, 10), (there, here))
    assert str(transfer) == f"adapted: {FIRST.get(name, 'conv1')} ({here} in place of {there} channels)"


@pytest.mark.parametrize("name", ["lenet", "mlp", "gru"])
def test_weights_of_one_channel_are_divided_equally_among_others(tmp_path: Path, name: str) -> None:
    """Expect the same outputs for a grey image and for one whose only channel that is not zero is three times it."""
    trained, network = make(name, 0), make(name, 1, in_channels=3)
    initialize_from(network, {"in_channels": 3}, stored(tmp_path, trained, name))
    images = grey_images({})
    for channel in range(3):
        coloured = torch.zeros(3, 3, 28, 28)
        coloured[:, channel] = 3 * images[:, 0]
        torch.testing.assert_close(network(coloured), trained(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("there", "here"), [(3, 4), (4, 3), (2, 6)])
def test_other_numbers_of_channels_are_refused(tmp_path: Path, there: int, here: int) -> None:
    network = make("lenet", 1, in_channels=here)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    file = stored(tmp_path, make("lenet", 0, in_channels=there), "lenet", in_channels=there)
    says = rf"holds a lenet for images of {there} channels, this run has {here}, to which c1.0.weight cannot"
    with pytest.raises(WeightsError, match=says):
        initialize_from(network, {"in_channels": here}, file)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=str)
def test_head_is_left_fresh_for_another_number_of_classes(tmp_path: Path, name: str, arguments: dict[str, Any]) -> None:
    """Expect all tensors of the file but those of the last stage, and those of the first one for other channels."""
    trained = make(name, 0, **arguments)
    network = make(name, 1, **arguments, num_classes=5, in_channels=2)
    fresh = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    transfer = initialize_from(
        network, {**arguments, "num_classes": 5, "in_channels": 2}, stored(tmp_path, trained, name, **arguments)
    )
    first, last = FIRST.get(name, "conv1"), LAST.get(name, "output")
    assert transfer == Transfer([last], [first] if first != last else [], (10, 5), (1, 2))
    assert str(transfer).startswith(f"left fresh: {last} (5 in place of 10 classes)")
    for key, tensor in network.state_dict().items():
        theirs = trained.state_dict()[key]
        if key.startswith(f"{last}.") and not key.endswith("num_batches_tracked"):
            assert torch.equal(tensor, fresh[key]), key
        elif tensor.shape == theirs.shape:
            assert torch.equal(tensor, theirs), key
        else:
            assert key.startswith(f"{first}."), key


@pytest.mark.parametrize(
    ("name", "there", "here"),
    [
        ("nin", {"image_size": 28}, {"image_size": (40, 66)}),
        ("resnet18", {"image_size": 64}, {"image_size": 80}),
        ("densenet", {"image_size": 28}, {"image_size": 63}),
        ("googlenet", {"image_size": 28}, {"image_size": (28, 28)}),
        ("alexnet", {"image_size": 28, "hidden_size": 8}, {"image_size": (24, 28), "hidden_size": 8}),
        ("vgg11", {"image_size": 28, "hidden_size": 8}, {"image_size": 32, "hidden_size": 8}),
        ("lstm", {"image_size": 28}, {"image_size": (40, 28)}),
    ],
)
def test_image_size_may_differ_where_no_tensor_depends_on_it(
    tmp_path: Path, name: str, there: dict[str, Any], here: dict[str, Any]
) -> None:
    trained, network = make(name, 0, **there), make(name, 1, **here)
    transfer = initialize_from(network, here, stored(tmp_path, trained, name, **there))
    assert str(transfer) == "all tensors copied"
    assert all(torch.equal(tensor, trained.state_dict()[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "there", "here", "says"),
    [
        ("lenet", 28, 32, "image_size=28, and c5.0.weight depends on it. Keep image_size=28."),
        ("mlp", (5, 7), (7, 6), r"image_size=\[5, 7\], and hidden.0.0.weight depends on it. Keep image_size=\[5, 7\]."),
        ("softmax_regression", 28, 30, "and output.weight depends on it. Keep image_size=28."),
        ("resnet18", 28, 64, "and conv1.0.weight depends on it. Keep image_size=28."),
        ("gru", 28, (28, 30), "and recurrent.layers.0.0.weight_ih depends on it. Keep image_size=28."),
        ("rnn", 28, 30, "and recurrent.weight_ih_l0 depends on it. Keep image_size=28."),
        ("vgg11", 28, 40, "and fc6.0.weight depends on it. Keep image_size=28."),
    ],
)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_image_size_on_which_a_tensor_depends_is_refused(
    tmp_path: Path, name: str, there: Any, here: Any, says: str, in_channels: int
) -> None:
    own = {"hidden_size": 8} if name == "vgg11" else {}
    arguments = {"image_size": here, "in_channels": in_channels, **own}
    network = make(name, 1, **arguments)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    file = stored(tmp_path, make(name, 0, image_size=there, **own), name, image_size=there, **own)
    with pytest.raises(WeightsError, match=says + "$"):
        initialize_from(network, arguments, file)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


class Tiny(nn.Module):
    def __init__(self, image_size: int, in_channels: int, num_classes: int, **kind: bool) -> None:
        super().__init__()
        channels, groups = (in_channels, in_channels) if kind.get("depthwise") else (4, 1)
        self.extra = 2 if kind.get("extra") else 0  # channels of zeros behind those of the image
        self.norm = nn.BatchNorm2d(in_channels) if kind.get("norm") else nn.Identity()
        self.convolution = nn.Conv2d(in_channels + self.extra, channels, kernel_size=3, groups=groups)
        self.output = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.pad(self.norm(images), (0, 0, 0, 0, 0, self.extra))
        return self.output(self.convolution(maps).mean(dim=(2, 3)))


class Other(Tiny):
    pass


def test_own_network_begins_with_its_own_weights(tmp_path: Path) -> None:
    there: dict[str, Any] = {"image_size": 9, "in_channels": 1, "num_classes": 10}
    trained = Tiny(**there).eval()
    file = stored(tmp_path, trained, "my_networks.Tiny", **there)
    same, coloured = Tiny(**there).eval(), Tiny(9, in_channels=3, num_classes=5).eval()
    images = torch.randn(2, 1, 9, 9)
    assert str(initialize_from(same, there, file)) == "all tensors copied"
    assert torch.equal(same(images), trained(images))
    here = there | {"in_channels": 3, "num_classes": 5}
    assert initialize_from(coloured, here, file) == Transfer(["output"], ["convolution"], (10, 5), (1, 3))
    maps = (network.convolution(images.expand(-1, n, -1, -1)) for network, n in ((trained, 1), (coloured, 3)))
    torch.testing.assert_close(*maps)
    for network in (Other(**there), models.create("lenet")):
        with pytest.raises(WeightsError, match=r"holds another network \(my_networks.Tiny\)"):
            initialize_from(network, there, file)
    with pytest.raises(WeightsError, match=r"holds another network \(lenet\)"):
        initialize_from(same, there, stored(tmp_path, models.create("lenet"), "lenet"))


@pytest.mark.parametrize(
    ("kind", "key"),
    [("norm", "norm.weight"), ("depthwise", "convolution.weight"), ("extra", "convolution.weight")],
)
@pytest.mark.parametrize(("there", "here"), [(1, 3), (3, 1)])
def test_own_network_with_a_first_layer_of_another_kind_is_refused(
    tmp_path: Path, there: int, here: int, kind: str, key: str
) -> None:
    arguments: dict[str, Any] = {"image_size": 9, "in_channels": there, "num_classes": 10, kind: True}
    file = stored(tmp_path, Tiny(**arguments), "my_networks.Tiny", **arguments)
    arguments["in_channels"] = here
    with pytest.raises(WeightsError, match=rf"this run has {here}, to which {key} cannot be adapted\."):
        initialize_from(Tiny(**arguments), arguments, file)
