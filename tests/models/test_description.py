"""Test `python -m models`: its counts, its tables and its error messages."""

import subprocess
import sys

import pytest
from conftest import ROOT

import models
from models.__main__ import main
from models.description import Stage, describe


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, columns: int = 80) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m models", *arguments])
    monkeypatch.setenv("COLUMNS", str(columns))
    main()


def test_stages_of_lenet_are_as_computed_by_hand() -> None:
    assert describe("lenet") == [
        Stage("c1", (1, 6, 24, 24), (25 + 1) * 6, 24 * 24 * 6 * 25),
        Stage("s2", (1, 6, 12, 12), 0, 0),
        Stage("c3", (1, 16, 8, 8), (6 * 25 + 1) * 16, 8 * 8 * 16 * 6 * 25),
        Stage("s4", (1, 16, 4, 4), 0, 0),
        Stage("flatten", (1, 256), 0, 0),
        Stage("c5", (1, 120), (256 + 1) * 120, 256 * 120),
        Stage("f6", (1, 84), (120 + 1) * 84, 120 * 84),
        Stage("output", (1, 10), (84 + 1) * 10, 84 * 10),
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "multiply_adds"),
    [
        ("softmax_regression", {}, 784 * 10),
        ("mlp", {}, 784 * 256 + 256 * 10),
        ("resnet18", {"variant": "paper", "in_channels": 3, "num_classes": 1000}, 1_814_073_344),  # the published 1.8 G
        ("vgg11", {"in_channels": 3, "num_classes": 1000}, 7_609_090_048),  # the published 7.6 G
    ],
)
def test_multiply_add_count_equals_the_published_one(
    name: str, arguments: dict[str, object], multiply_adds: int
) -> None:
    assert sum(stage.multiply_adds for stage in describe(name, **arguments)) == multiply_adds


@pytest.mark.parametrize("name", models.names())
def test_stages_contain_all_parameters_of_the_network(name: str) -> None:
    stages = describe(name, image_size=28)
    network = models.create(name, image_size=28)
    assert [stage.name for stage in stages] == [child for child, _ in network.named_children()]
    assert sum(stage.parameters for stage in stages) == sum(parameter.numel() for parameter in network.parameters())
    assert stages[-1].output == (1, 10)


def test_stages_of_one_network_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "resnet18", "--image-size", "224", "variant=paper", "--in-channels=3", "--num-classes=1000")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "resnet18 output parameters multiply-adds"
    assert lines[2] == "conv1 1 x 64 x 112 x 112 9,536 118,013,952"
    assert lines[-1] == "total 11,689,512 1,814,073,344"


def test_stages_for_images_that_are_not_square_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "vgg11", "--image-size", "48x32")
    (block3,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("block3"))
    assert " 1 x 256 x 6 x 4 " in block3


def test_all_networks_are_printed_in_markdown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--markdown")
    lines = capsys.readouterr().out.strip().splitlines()
    assert set(lines.pop(1)) == {"|", "-"}
    markdown = [" ".join(line.split()) for line in lines]
    assert markdown[0] == "| network | parameters at 28 | mult-adds | size | parameters at size | mult-adds |"
    assert "| lenet | 44,426 | 281.6 k | - | - | - |" in markdown
    assert "| vgg11 | 9,749,770 | 134.3 M | 224 | 128,806,154 | 7.547 G |" in markdown
    assert len(markdown) == 1 + len(models.names())


@pytest.mark.parametrize("columns", [60, 80])
def test_widest_table_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    run(monkeypatch, "googlenet", "batch_norm=true", columns=columns)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) == 2 + len(describe("googlenet")) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet81"], "there is no network 'resnet81', did you mean 'resnet18'? Valid: softmax_regression, mlp, "),
        (["densenet", "grow_rate=3"], "densenet has no argument 'grow_rate', did you mean 'growth_rate'? Valid: "),
        (
            ["alexnet", "batch_norm=maybe"],
            "alexnet: batch_norm must be a valid boolean, unable to interpret input, got 'maybe'",
        ),
        (["lenet", "pooling=min"], "lenet: pooling must be 'average' or 'max', got 'min'"),
        (["alexnet", "batch_norm"], "expected name=value, got 'batch_norm'"),
        (["--image-size=28"], "--image-size needs a network: "),
        (
            ["lenet", "--image-size", "big"],
            "argument --image-size: expected pixels such as 224 or, height first, 64x96",
        ),
        (
            ["lenet", "--image-size", "28x"],
            "argument --image-size: expected pixels such as 224 or, height first, 64x96",
        ),
        (["lenet", "--image-size", "30"], "LeNet reads 28 x 28 or 32 x 32 images, got 30 x 30"),
        (["rnn", "--image-size", "0x28"], "RNN: image_size must be a whole number of at least 1, or two, "),
    ],
)
def test_wrong_command_prints_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, *arguments)
    assert stop.value.code == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"refzoo: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("resnet81", 2)])
def test_help_and_wrong_name_do_not_import_torch(argument: str, status: int) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "models", argument]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert process.returncode == status
    assert "argparse" in process.stderr
    assert "torch" not in process.stderr
