"""Compare every network with its paper: shapes, parameter counts, and the sequence of operations with their settings.

The specifications are written by hand from the papers, in their notation. `conv 11 s4 p0 96` is a convolution
of kernel 11, stride 4, padding 0 and 96 output channels.
"""

import re
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

import models
from models.description import describe


class Operations(TorchFunctionMode):
    """Record the operations of a network, whether a module runs them or a function."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.__name__ not in ("__get__", "dim"):  # these compute nothing
            self.lines.append(self.line(func.__name__, args, kwargs or {}))
        return output

    def line(self, operation: str, args: Any, kwargs: Any) -> str:
        match operation:
            case "conv2d":
                _, weight, bias, (stride, _), (padding, _), dilation, groups = args
                assert (dilation, groups) == ((1, 1), 1)
                assert weight.shape[2] == weight.shape[3]
                no_bias = "" if bias is not None else " no bias"
                return f"conv {weight.shape[2]} s{stride} p{padding} {weight.shape[0]}{no_bias}"
            case "max_pool2d":
                assert (kwargs["dilation"], kwargs["return_indices"]) == (1, False)
                ceil = " ceil" if kwargs["ceil_mode"] else ""
                return f"max {args[1]} s{kwargs['stride']} p{kwargs['padding']}{ceil}"
            case "avg_pool2d":
                _, kernel_size, stride, *padding_and_ceil_mode = args
                assert padding_and_ceil_mode[:2] == [0, False]
                return f"average {kernel_size} s{stride}"
            case "adaptive_avg_pool2d":
                assert args[1] == 1
                return "global average"
            case "linear":
                return f"linear {args[1].shape[0]}" + (" no bias" if args[2] is None else "")
            case "dropout":
                return f"dropout {kwargs['p']}"
            case "cat":
                assert kwargs == {"dim": 1}
                return f"cat {len(args[0])}"
            case "flatten":
                assert args[1] == 1
        return {"batch_norm": "norm", "__add__": "add"}.get(operation, operation)


def operations(name: str, **arguments: Any) -> list[str]:
    image_size = arguments.get("image_size", models.defaults(name)["image_size"])
    with torch.device("meta"):
        network = models.create(name, **arguments).eval()
        images = torch.empty(1, 1, image_size, image_size)
        with Operations() as recorded:
            network(images)
    return recorded.lines


def specified(*parts: str) -> list[str]:
    return [line.strip() for line in ", ".join(parts).split(",") if line.strip()]


# The specifications, operation by operation.

FULLY_CONNECTED = "relu, dropout 0.5, linear {0}, relu, dropout 0.5, linear 10"
ALEXNET = """conv 5 s1 p2 256, relu, max 3 s2 p0, conv 3 s1 p1 384, relu, conv 3 s1 p1 384, relu,
    conv 3 s1 p1 256, relu, max 3 s2 p0, flatten"""


def vgg(pooling: str) -> str:
    return f"""conv 3 s1 p1 64, relu, {pooling}, conv 3 s1 p1 128, relu, {pooling},
        conv 3 s1 p1 256, relu, conv 3 s1 p1 256, relu, {pooling},
        conv 3 s1 p1 512, relu, conv 3 s1 p1 512, relu, {pooling},
        conv 3 s1 p1 512, relu, conv 3 s1 p1 512, relu, {pooling}, flatten"""


NIN = """relu, conv 1 s1 p0 96, relu, conv 1 s1 p0 96, relu, max 3 s2 p0,
    conv 5 s1 p2 256, relu, conv 1 s1 p0 256, relu, conv 1 s1 p0 256, relu, max 3 s2 p0,
    conv 3 s1 p1 384, relu, conv 1 s1 p0 384, relu, conv 1 s1 p0 384, relu, max 3 s2 p0, dropout 0.5,
    conv 3 s1 p1 10, relu, conv 1 s1 p0 10, relu, conv 1 s1 p0 10, relu, global average, flatten"""


def inception(c1: int, c2: tuple[int, int], c3: tuple[int, int], c4: int) -> str:
    return f"""conv 1 s1 p0 {c1}, relu, conv 1 s1 p0 {c2[0]}, relu, conv 3 s1 p1 {c2[1]}, relu,
        conv 1 s1 p0 {c3[0]}, relu, conv 5 s1 p2 {c3[1]}, relu, max 3 s1 p1, conv 1 s1 p0 {c4}, relu, cat 4"""


GOOGLENET = ", ".join(
    [
        "conv 1 s1 p0 64, relu, conv 3 s1 p1 192, relu, max 3 s2 p1",
        inception(64, (96, 128), (16, 32), 32),
        inception(128, (128, 192), (32, 96), 64),
        "max 3 s2 p1",
        inception(192, (96, 208), (16, 48), 64),
        inception(160, (112, 224), (24, 64), 64),
        inception(128, (128, 256), (24, 64), 64),
        inception(112, (144, 288), (32, 64), 64),
        inception(256, (160, 320), (32, 128), 128),
        "max 3 s2 p1",
        inception(256, (160, 320), (32, 128), 128),
        inception(384, (192, 384), (48, 128), 128),
        "global average, flatten, linear 10",
    ]
)


def identity_block(channels: int, bias: str) -> str:
    return f"""conv 3 s1 p1 {channels}{bias}, norm, relu, conv 3 s1 p1 {channels}{bias}, norm, add, relu"""


def projection_block(channels: int, bias: str, norm: str) -> str:
    return f"""conv 3 s2 p1 {channels}{bias}, norm, relu, conv 3 s1 p1 {channels}{bias}, norm,
        conv 1 s2 p0 {channels}{bias}, {norm}, add, relu"""


def resnet(bias: str, norm: str) -> str:
    halving = [projection_block(c, bias, norm) + "," + identity_block(c, bias) for c in (128, 256, 512)]
    return ", ".join([identity_block(64, bias)] * 2 + halving) + ", global average, flatten, linear 10"


DENSE_BLOCK = ", ".join(["norm, relu, conv 3 s1 p1 32, cat 2"] * 4)
DENSENET = f"""{DENSE_BLOCK}, norm, relu, conv 1 s1 p0 96, average 2 s2,
    {DENSE_BLOCK}, norm, relu, conv 1 s1 p0 112, average 2 s2,
    {DENSE_BLOCK}, norm, relu, conv 1 s1 p0 120, average 2 s2,
    {DENSE_BLOCK}, norm, relu, global average, flatten, linear 10"""

LENET = """conv 5 s1 p{1} 6, {0}, {2} 2 s2, conv 5 s1 p0 16, {0}, {2} 2 s2, flatten,
    linear 120, {0}, linear 84, {0}, linear 10"""

SPECIFICATIONS = [
    ("softmax_regression", {}, specified("flatten, linear 10")),
    ("mlp", {}, specified("flatten, linear 256, relu, dropout 0.0, linear 10")),
    (
        "mlp",
        {"hidden_sizes": (30, 20), "dropout": 0.3},
        specified("flatten, linear 30, relu, dropout 0.3, linear 20, relu, dropout 0.3, linear 10"),
    ),
    ("lenet", {}, specified(LENET.format("sigmoid", 0, "average"))),
    ("lenet", {"activation": "tanh", "padding": 2}, specified(LENET.format("tanh", 2, "average"))),
    (
        "lenet",
        {"activation": "relu", "pooling": "max"},
        specified(LENET.format("relu", 0, "max").replace("2 s2", "2 s2 p0")),
    ),
    (
        "alexnet",
        {},
        specified("conv 11 s4 p0 96, relu, max 3 s2 p0", ALEXNET, "linear 4096", FULLY_CONNECTED.format(4096)),
    ),
    (
        "alexnet",
        {"image_size": 28},
        specified("conv 3 s1 p1 96, relu, max 3 s2 p0", ALEXNET, "linear 1024", FULLY_CONNECTED.format(1024)),
    ),
    ("vgg11", {}, specified(vgg("max 2 s2 p0"), "linear 4096", FULLY_CONNECTED.format(4096))),
    ("vgg11", {"image_size": 28}, specified(vgg("max 2 s2 p0 ceil"), "linear 512", FULLY_CONNECTED.format(512))),
    ("nin", {}, specified("conv 11 s4 p0 96", NIN)),
    ("nin", {"image_size": 28}, specified("conv 5 s1 p2 96", NIN)),
    ("googlenet", {}, specified("conv 7 s2 p3 64, relu, max 3 s2 p1", GOOGLENET)),
    ("googlenet", {"image_size": 28}, specified("conv 3 s1 p1 64, relu", GOOGLENET)),
    ("resnet18", {}, specified("conv 7 s2 p3 64, norm, relu, max 3 s2 p1", resnet("", ""))),
    ("resnet18", {"image_size": 28}, specified("conv 3 s1 p1 64, norm, relu", resnet("", ""))),
    (
        "resnet18",
        {"variant": "paper"},
        specified("conv 7 s2 p3 64 no bias, norm, relu, max 3 s2 p1", resnet(" no bias", "norm")),
    ),
    (
        "resnet18",
        {"variant": "paper", "image_size": 28},
        specified("conv 3 s1 p1 64 no bias, norm, relu", resnet(" no bias", "norm")),
    ),
    ("densenet", {}, specified("conv 7 s2 p3 64, norm, relu, max 3 s2 p1", DENSENET)),
    ("densenet", {"image_size": 28}, specified("conv 3 s1 p1 64, norm, relu", DENSENET)),
]


def case(name: str, arguments: dict[str, Any]) -> str:
    return "-".join([name, *(f"{key}={value}" for key, value in arguments.items())])


@pytest.mark.parametrize(
    ("name", "arguments", "specification"), SPECIFICATIONS, ids=[case(*row[:2]) for row in SPECIFICATIONS]
)
def test_operations_equal_the_specification(name: str, arguments: dict[str, Any], specification: list[str]) -> None:
    assert operations(name, **arguments) == specification


@pytest.mark.parametrize("image_size", [28, 224])
@pytest.mark.parametrize("name", ["alexnet", "vgg11", "nin", "googlenet"])
def test_batch_norm_follows_every_convolution_and_replaces_its_bias(name: str, image_size: int) -> None:
    expected = []
    for line in operations(name, image_size=image_size):
        expected += [f"{line} no bias", "norm"] if line.startswith("conv") else [line]
    if name == "nin":  # all but the one that yields the class maps: conv, norm, relu, global average, flatten
        expected[-5:-3] = ["conv 1 s1 p0 10"]
    assert operations(name, image_size=image_size, batch_norm=True) == expected


SHAPES = {  # behind each stage; channels x height x width
    ("softmax_regression", 28): "flatten 784, output 10",
    ("mlp", 28): "flatten 784, hidden 256, output 10",
    ("lenet", 28): "c1 6x24x24, s2 6x12x12, c3 16x8x8, s4 16x4x4, flatten 256, c5 120, f6 84, output 10",
    ("alexnet", 224): """conv1 96x54x54, pool1 96x26x26, conv2 256x26x26, pool2 256x12x12, conv3 384x12x12,
        conv4 384x12x12, conv5 256x12x12, pool5 256x5x5, flatten 6400, fc6 4096, fc7 4096, fc8 10""",
    ("alexnet", 28): """conv1 96x28x28, pool1 96x13x13, conv2 256x13x13, pool2 256x6x6, conv3 384x6x6,
        conv4 384x6x6, conv5 256x6x6, pool5 256x2x2, flatten 1024, fc6 1024, fc7 1024, fc8 10""",
    ("vgg11", 224): """block1 64x112x112, block2 128x56x56, block3 256x28x28, block4 512x14x14, block5 512x7x7,
        flatten 25088, fc6 4096, fc7 4096, fc8 10""",
    ("vgg11", 28): """block1 64x14x14, block2 128x7x7, block3 256x4x4, block4 512x2x2, block5 512x1x1,
        flatten 512, fc6 512, fc7 512, fc8 10""",
    ("nin", 224): """mlpconv1 96x54x54, pool1 96x26x26, mlpconv2 256x26x26, pool2 256x12x12, mlpconv3 384x12x12,
        pool3 384x5x5, dropout 384x5x5, mlpconv4 10x5x5, global_pool 10x1x1, flatten 10""",
    ("nin", 28): """mlpconv1 96x28x28, pool1 96x13x13, mlpconv2 256x13x13, pool2 256x6x6, mlpconv3 384x6x6,
        pool3 384x2x2, dropout 384x2x2, mlpconv4 10x2x2, global_pool 10x1x1, flatten 10""",
    ("googlenet", 224): """conv1 64x112x112, pool1 64x56x56, conv2 192x56x56, pool2 192x28x28,
        inception3a 256x28x28, inception3b 480x28x28, pool3 480x14x14, inception4a 512x14x14, inception4b 512x14x14,
        inception4c 512x14x14, inception4d 528x14x14, inception4e 832x14x14, pool4 832x7x7, inception5a 832x7x7,
        inception5b 1024x7x7, global_pool 1024x1x1, flatten 1024, linear 10""",
    ("googlenet", 28): """conv1 64x28x28, conv2 192x28x28, pool2 192x14x14,
        inception3a 256x14x14, inception3b 480x14x14, pool3 480x7x7, inception4a 512x7x7, inception4b 512x7x7,
        inception4c 512x7x7, inception4d 528x7x7, inception4e 832x7x7, pool4 832x4x4, inception5a 832x4x4,
        inception5b 1024x4x4, global_pool 1024x1x1, flatten 1024, linear 10""",
    ("resnet18", 224): """conv1 64x112x112, pool1 64x56x56, conv2_x 64x56x56, conv3_x 128x28x28, conv4_x 256x14x14,
        conv5_x 512x7x7, global_pool 512x1x1, flatten 512, linear 10""",
    ("resnet18", 28): """conv1 64x28x28, conv2_x 64x28x28, conv3_x 128x14x14, conv4_x 256x7x7,
        conv5_x 512x4x4, global_pool 512x1x1, flatten 512, linear 10""",
    ("densenet", 224): """conv1 64x112x112, pool1 64x56x56, dense_block1 192x56x56, transition1 96x28x28,
        dense_block2 224x28x28, transition2 112x14x14, dense_block3 240x14x14, transition3 120x7x7,
        dense_block4 248x7x7, norm 248x7x7, global_pool 248x1x1, flatten 248, linear 10""",
    ("densenet", 28): """conv1 64x28x28, dense_block1 192x28x28, transition1 96x14x14,
        dense_block2 224x14x14, transition2 112x7x7, dense_block3 240x7x7, transition3 120x3x3,
        dense_block4 248x3x3, norm 248x3x3, global_pool 248x1x1, flatten 248, linear 10""",
}


@pytest.mark.parametrize(("name", "image_size"), SHAPES)
def test_stages_have_the_output_shapes_of_the_paper(name: str, image_size: int) -> None:
    stages = describe(name, image_size=image_size)
    written = [f"{stage.name} {'x'.join(map(str, stage.output[1:]))}" for stage in stages]
    assert written == specified(SHAPES[name, image_size])
    assert all(stage.output[0] == 1 for stage in stages)


PARAMETERS = [  # computed by hand for 1 channel and 10 classes; (inputs + 1) * outputs for a layer with a bias
    ("softmax_regression", {}, (784 + 1) * 10),  # 7,850
    ("mlp", {}, (784 + 1) * 256 + (256 + 1) * 10),  # 203,530
    ("lenet", {}, 26 * 6 + (150 + 1) * 16 + (256 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10),  # 44,426
    ("lenet", {"padding": 2}, 61_706),  # c5 reads 400 values in place of 256: 144 * 120 more
    ("alexnet", {}, 46_764_746),
    ("alexnet", {"image_size": 28}, 5_822_666),
    ("alexnet", {"image_size": 28, "batch_norm": True}, 5_822_666 + 96 + 256 + 384 + 384 + 256),
    ("vgg11", {}, 128_806_154),
    ("vgg11", {"image_size": 28}, 9_749_770),
    ("vgg11", {"in_channels": 3, "num_classes": 1000}, 132_863_336),  # the published figure
    ("nin", {}, 1_992_166),
    ("nin", {"image_size": 28}, 1_992_166 - 96 * (11**2 - 5**2)),  # 1,982,950
    ("googlenet", {}, 5_977_530),
    ("googlenet", {"image_size": 28}, 5_977_530 - 64 * (7**2 - 3**2)),  # 5,974,970
    ("resnet18", {}, 11_178_378),
    ("resnet18", {"image_size": 28}, 11_178_378 - 64 * (7**2 - 3**2)),  # 11,175,818
    ("resnet18", {"variant": "paper"}, 11_178_378 - 5 * (64 + 128 + 256 + 512) + 2 * (128 + 256 + 512)),
    ("resnet18", {"variant": "paper", "image_size": 28}, 11_172_810),
    ("resnet18", {"variant": "paper", "in_channels": 3, "num_classes": 1000}, 11_689_512),  # the published figure
    ("densenet", {}, 758_226),
    ("densenet", {"image_size": 28}, 758_226 - 64 * (7**2 - 3**2)),  # 755,666
]


def test_every_network_has_a_specification() -> None:
    """test_recurrent.py compares the recurrent networks with their equations."""
    networks = {*models.names()} - {"rnn", "gru", "lstm"}
    assert {name for name, *_ in PARAMETERS} == {name for name, *_ in SPECIFICATIONS} == networks
    assert {name for name, _ in SHAPES} >= networks


@pytest.mark.parametrize(("name", "arguments", "parameters"), PARAMETERS, ids=[case(*row[:2]) for row in PARAMETERS])
def test_parameter_count_equals_the_one_computed_by_hand(name: str, arguments: dict[str, Any], parameters: int) -> None:
    assert sum(stage.parameters for stage in describe(name, **arguments)) == parameters


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("lenet", {"num_classes": 0}, "lenet: num_classes must be at least 1, got 0"),
        ("resnet18", {"in_channels": -1}, "resnet18: in_channels must be at least 1, got -1"),
        ("lenet", {"activation": "swish"}, "LeNet: activation must be one of sigmoid, tanh, relu, got 'swish'"),
        ("lenet", {"pooling": "min"}, "LeNet: pooling must be one of average, max, got 'min'"),
        ("lenet", {"padding": 1}, "LeNet: padding must be one of 0, 2, got 1"),
        ("mlp", {"hidden_sizes": (256, 0)}, "MLP: every one of hidden_sizes must be at least 1, got (256, 0)"),
        ("mlp", {"dropout": 1}, "MLP: dropout must be at least 0 and below 1, got 1"),
        ("alexnet", {"dropout": -0.1}, "AlexNet: dropout must be at least 0 and below 1, got -0.1"),
        ("alexnet", {"hidden_size": 0}, "AlexNet: hidden_size must be at least 1, got 0"),
        ("vgg11", {"dropout": 1.5}, "VGG11: dropout must be at least 0 and below 1, got 1.5"),
        ("vgg11", {"hidden_size": -4}, "VGG11: hidden_size must be at least 1, got -4"),
        ("nin", {"dropout": 1.0}, "NiN: dropout must be at least 0 and below 1, got 1.0"),
        ("resnet18", {"variant": "v2"}, "ResNet18: variant must be one of d2l, paper, got 'v2'"),
        ("densenet", {"growth_rate": 0}, "DenseNet: growth_rate must be at least 1, got 0"),
        ("densenet", {"layers_per_block": (4, 4)}, "layers_per_block must be four numbers of at least 1, got (4, 4)"),
        ("densenet", {"layers_per_block": (4, 4, 4, 0)}, "four numbers of at least 1, got (4, 4, 4, 0)"),
    ],
)
def test_wrong_values_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message) + "$"):
        models.create(name, **arguments)


def test_width_arguments_change_the_layers() -> None:
    assert "linear 700" in operations("vgg11", image_size=28, hidden_size=700)
    widened = operations("densenet", growth_rate=12, layers_per_block=(1, 2, 3, 4))
    assert widened.count("conv 3 s1 p1 12") == widened.count("cat 2") == 1 + 2 + 3 + 4
