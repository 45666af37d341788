"""Test export.py: the ONNX file computes the logits of its network, has metadata, and is written only if both hold."""

import errno
import functools
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT, RunProgram, read_once

import export
import models
from data import ARCHIVES, DATASETS, idx
from launch import errors
from models.weights import serialize

INFO = DATASETS["fashion_mnist"]


def make_weights(path: Path, name: str, seed: int = 0, **arguments) -> Path:
    torch.manual_seed(seed)
    card = {
        "data": "fashion_mnist",
        "input": {"channels": 1, "image_size": 28, "mean": INFO.mean[0], "std": INFO.std[0]},
        "classes": list(INFO.classes),
        "metrics": {"val": None, "test": {"loss": 0.5, "accuracy": 0.875, "images": 10_000}},
        "training": {},
        "versions": {},
    }
    arguments = {"image_size": 28, **arguments}
    path.write_bytes(serialize(models.create(name, **arguments), name, arguments, card))
    return path


@pytest.fixture
def run(run_program: RunProgram) -> RunProgram:
    return functools.partial(run_program, export)


@pytest.fixture(scope="module")
def lenet_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("lenet") / "weights.safetensors", "lenet")


@pytest.fixture(scope="module")
def lenet(lenet_weights: Path) -> tuple[Path, bytes]:
    """Return a weights file and the content of its ONNX file, which is made once for all tests here."""
    output = lenet_weights.with_name("a.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["export.py", "--weights", str(lenet_weights), "--output", str(output)])
        patch.setattr(idx, "read", read_once)
        assert export.main() == 0
    return lenet_weights, output.read_bytes()


@pytest.fixture
def cached_conversion(lenet: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the conversion by the stored result for LeNet, which saves its time."""
    monkeypatch.setattr(export, "convert", lambda *_: lenet[1])


def check_outputs(content: bytes, weights: Path) -> None:
    """Compare logits on other images and batches than export.py does, standardised by the metadata of the file."""
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    raw = ARCHIVES / INFO.folder / "raw" / "train-images-idx3-ubyte"
    pixels = read_once(raw, (60_000, 28, 28), INFO.sha256[raw.name])[:5].numpy()[:, None]
    images = ((pixels / 255 - float(metadata["mean"])) / float(metadata["std"])).astype(np.float32)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (images_in,), (logits_out,) = session.get_inputs(), session.get_outputs()
    assert (images_in.name, images_in.shape, images_in.type) == ("images", ["batch", 1, 28, 28], "tensor(float)")
    assert (logits_out.name, logits_out.shape, logits_out.type) == ("logits", ["batch", 10], "tensor(float)")
    network = models.load(weights)
    for batch in (images, images[:1], images[1:3]):
        (logits,) = session.run(None, {"images": batch})
        with torch.no_grad():
            expected = network(torch.from_numpy(batch))
        torch.testing.assert_close(torch.as_tensor(logits), expected, rtol=1e-4, atol=1e-4)


# One CNN and one RNN (LeNet is below): all twelve take a minute. torch.export warns about the weights of the LSTM.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("alexnet", {"batch_norm": True, "hidden_size": 16}),
        ("lstm", {"pool": "mean"}),
    ],
)
def test_onnx_file_computes_the_logits_of_the_network(
    name: str, arguments: dict, tmp_path: Path, run: RunProgram
) -> None:
    weights, output = make_weights(tmp_path / "w.safetensors", name, **arguments), tmp_path / f"{name}.onnx"
    done = run("--weights", weights, "--output", output)
    assert (done.status, done.errors, done.output.count("\n")) == (0, "", 1)
    assert f"{name} on fashion_mnist, {output.stat().st_size / 1e3:,.0f} kB" in done.output
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([output.name, weights.name])  # no other files
    check_outputs(output.read_bytes(), weights)


@pytest.mark.slow
def test_onnx_file_of_lenet_holds_its_metadata(lenet: tuple[Path, bytes]) -> None:
    weights, content = lenet
    check_outputs(content, weights)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", export.OPSET)]
    assert str(ROOT).encode() not in content
    assert b"site-packages" not in content
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata.pop("classes")) == list(INFO.classes)
    assert json.loads(metadata.pop("arguments")) == models.card(weights)["arguments"]
    assert metadata == {
        "network": "lenet",
        "data": "fashion_mnist",
        "image_size": "28",
        "mean": str(INFO.mean[0]),
        "std": str(INFO.std[0]),
        "test_accuracy": "0.875",
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("cached_conversion")
def test_only_files_written_by_export_are_replaced(
    lenet: tuple[Path, bytes], tmp_path: Path, run: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, content = lenet
    monkeypatch.chdir(tmp_path)
    assert run("--weights", weights).output.endswith(" -> lenet-fashion_mnist.onnx\n")
    (output,) = tmp_path.iterdir()
    assert output.read_bytes() == content
    assert run("--weights", weights).status == 0

    foreign = onnx.load_from_string(content)
    del foreign.metadata_props[:]
    for other in (foreign.SerializeToString(), b"", b"hello"):
        output.write_bytes(other)
        done = run("--weights", weights)
        assert done.status == 2
        assert done.errors.startswith("refzoo: lenet-fashion_mnist.onnx exists and is not by export.py. Remove it or")
        assert output.read_bytes() == other


@pytest.mark.slow
@pytest.mark.usefixtures("cached_conversion")
def test_onnx_file_with_other_logits_is_not_written(lenet: tuple[Path, bytes], tmp_path: Path, run: RunProgram) -> None:
    output = tmp_path / "a.onnx"
    output.write_bytes(lenet[1])
    done = run("--weights", make_weights(tmp_path / "w.safetensors", "lenet", seed=1), "--output", output)
    assert (done.status, done.output, done.errors.count("\n")) == (1, "", 1)
    assert done.errors.startswith("refzoo: the ONNX file's logits differ from the network's by ")
    assert output.read_bytes() == lenet[1]


@pytest.mark.slow
def test_nan_logits_are_a_difference(lenet: tuple[Path, bytes]) -> None:
    network = models.load(lenet[0])
    network.get_parameter("output.bias").data[0] = torch.nan
    with pytest.raises(errors.RunFailed, match="differ from the network's by nan"):
        export.compare(lenet[1], network, torch.zeros(2, 1, 28, 28))


@pytest.mark.slow
@pytest.mark.usefixtures("cached_conversion")
def test_old_file_is_kept_when_the_disk_is_full(
    lenet: tuple[Path, bytes], tmp_path: Path, run: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a.onnx"
    output.write_bytes(lenet[1])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    done = run("--weights", lenet[0], "--output", output)
    assert done.status == 5
    assert (
        done.errors
        == f"refzoo: {output} cannot be written (No space left on device). Free some space or name another file.\n"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]
    assert output.read_bytes() == lenet[1]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ((), 2, "--weights is missing: a run folder, a weights file or a published name."),
        (("--weights", "W", "--output", "lenet.pt"), 2, "ends in '.pt', expected .onnx."),
        (("--weights", "W", "--output", "nowhere/lenet.onnx"), 5, "nowhere/lenet.onnx cannot be written: "),
        (("--weights", "W", "--output", "~nobody_is_called_so/a.onnx"), 2, "is not a file name"),
        (("--weights", "W", "--output", "pipe.onnx"), 2, "pipe.onnx exists and is not by export.py."),
        (("--weights", "W", "--output", "folder.onnx"), 2, "folder.onnx is a folder. Name a file."),
        (("--weights", "W", "--out", "a.onnx"), 2, "unrecognized arguments: --out a.onnx. --help shows the flags."),
        (("--weights", "letnet-mnist"), 4, "there are no published weights 'letnet-mnist'"),
    ],
)
def test_wrong_command_prints_a_one_line_error(
    arguments: tuple[str, ...],
    status: int,
    says: str,
    lenet_weights: Path,
    tmp_path: Path,
    run: RunProgram,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.onnx").mkdir()
    os.mkfifo("pipe.onnx")
    done = run(*(lenet_weights if argument == "W" else argument for argument in arguments))
    assert (done.status, done.output, done.errors.count("\n")) == (status, "", 1)
    assert says in done.errors
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder.onnx", "pipe.onnx"]


def test_missing_package_is_named(lenet_weights: Path, run: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda package: None if package == "onnxscript" else package)
    done = run("--weights", lenet_weights)
    assert (done.status, done.errors) == (
        5,
        "refzoo: export needs onnxscript. Run it with: uv run --extra onnx export.py\n",
    )


def test_network_that_cannot_be_exported_ends_in_a_one_line_error() -> None:
    class DataDependent(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images if images.sum() > 0 else -images

    with pytest.raises(errors.RunFailed, match=r"^datadependent cannot be exported: [^\n]+$"), export.quiet():
        export.convert(DataDependent().eval(), torch.zeros(2, 1, 28, 28), {"network": "datadependent"})
