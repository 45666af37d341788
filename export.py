"""Write trained weights as an ONNX file, for programs without PyTorch."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import DATASETS, load
from launch import errors, flags
from models import WeightsError, cards

if TYPE_CHECKING:
    from torch import Tensor, nn

EXAMPLES = """
  export.py --weights runs/<run>                         writes <network>-<data>.onnx here
  export.py --weights gru-mnist --output gru.onnx

The file takes batches of any size: `images` (batch, 1, 28, 28), float32, standardised -> `logits` (batch, 10). Its
metadata hold mean and std of pixels in [0, 1], the classes, and the SHA-256 of the weights. It is written only if ONNX
Runtime computes the logits of the network with it, and replaces only a file that export.py wrote.
"""
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18  # that of torch's exporter: a later one would be a conversion, and fewer programs read it
TOLERANCE = 1e-4  # of the largest logit, or of 1: sums in another order differ (GoogLeNet and VGG-11: by 1e-5)
OURS = "weights_sha256"  # the metadata key that only files by export.py have


def main() -> int:
    command = read_flags()
    if missing := [package for package in PACKAGES if not find_spec(package)]:
        raise errors.MachineError(f"export needs {', '.join(missing)}. Run it with: uv run --extra onnx export.py")
    file = cards.read(command.weights)
    output = choose_output(command, file.card)

    # Imported here because it takes seconds.
    from models.weights import load_network

    network, images, metadata = load_network(file), images_to_compare(file.card), describe(file)
    with quiet():
        content = convert(network, images[:2], metadata)
        difference = compare(content, network, images)
    flags.write(output, content)
    print(
        f"{command.weights}: {metadata['network']} on {metadata['data']}, {len(content) / 1e3:,.0f} kB, "
        f"logits within {difference:.1e} of the network's -> {errors.shown(output)}"
    )
    return 0


def read_flags() -> argparse.Namespace:
    parser = flags.Flags("export.py", __doc__, EXAMPLES)
    parser.add_argument("--weights", metavar="W", help="a run folder, a weights file or a published name")
    parser.add_argument("--output", metavar="FILE", help="an .onnx file (default: named for the weights, here)")
    command = parser.parse_args()
    if not command.weights:
        raise errors.SettingsError("--weights is missing: a run folder, a weights file or a published name.")
    return command


def choose_output(command: argparse.Namespace, card: dict[str, Any]) -> Path:
    """Return the output file. Raises SettingsError for a file that is not .onnx, or that something else than export.py
    wrote, MachineError for one that cannot be written.
    """
    default = command.weights if command.weights in cards.published() else f"{card['network']}-{card['data']}"
    output = flags.output(command.output or f"{default}.onnx")
    shown = errors.shown(output)
    if output.suffix != ".onnx":
        raise errors.SettingsError(f"--output {shown} ends in {output.suffix!r}, expected .onnx.")
    if output.exists() and not (output.is_file() and is_ours(output)):
        raise errors.SettingsError(f"{shown} exists and is not by export.py. Remove it or name another --output.")
    return output


def is_ours(path: Path) -> bool:
    import onnx

    try:
        return any(entry.key == OURS for entry in onnx.load(path, load_external_data=False).metadata_props)
    except Exception:  # the reader raises various errors for other files
        return False


def describe(file: cards.WeightsFile) -> dict[str, str]:
    """Return the metadata of the ONNX file. Raises WeightsError if the card lacks them."""
    from training.evaluation import preprocess_of

    card, preprocess = file.card, preprocess_of(file.card)
    try:
        accuracy = card["metrics"]["test"]["accuracy"]
    except (KeyError, TypeError):
        raise WeightsError(f"{file.path} has a card without a test accuracy.") from None
    return {
        "network": card["network"],
        "arguments": json.dumps(card["arguments"]),
        "data": card["data"],
        "classes": json.dumps(card["classes"]),
        **{key: str(value) for key, value in preprocess.as_card().items()},
        "test_accuracy": str(accuracy),
        OURS: hashlib.sha256(file.content).hexdigest(),
    }


def images_to_compare(card: dict[str, Any]) -> Tensor:
    """Return four images of noise and three test images: (7, in_channels, image_size, image_size), standardised."""
    import torch

    from training.evaluation import preprocess_of

    preprocess, channels = preprocess_of(card), card["arguments"]["in_channels"]
    noise = torch.randn(4, channels, *preprocess.image_size, generator=torch.Generator().manual_seed(0))
    if card["data"] not in DATASETS or channels != DATASETS[card["data"]].channels:
        return torch.cat([noise, noise[:3] / 2])
    return torch.cat([noise, preprocess(load(card["data"]).test.images[:3])])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings of torch's exporter about torch itself; errors are raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable()
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def convert(network: nn.Module, images: Tensor, metadata: dict[str, str]) -> bytes:
    """Return the ONNX file of a network in evaluation mode; the same network gives the same bytes.

    `images` are an example batch of at least two: from one, torch would infer a fixed batch size. Raises RunFailed.
    """
    import torch
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    try:
        program = torch.onnx.export(
            network,
            (images,),
            dynamo=True,  # through torch.export
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=["logits"],
            opset_version=OPSET,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        first_line = str(error.__cause__ or error).strip().partition("\n")[0]
        raise errors.RunFailed(f"{metadata['network']} cannot be exported: {first_line}") from error
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # else each node contains paths of this machine
    program.model.metadata_props.update(metadata)
    return program.model_proto.SerializeToString()


def compare(content: bytes, network: nn.Module, images: Tensor) -> float:
    """Return the largest difference of a logit, for a batch and for one image. Raises RunFailed beyond TOLERANCE."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    difference = 0.0
    for batch in (images, images[-1:]):
        with torch.inference_mode():
            expected = network(batch)
        (logits,) = session.run(["logits"], {"images": batch.numpy()})
        found = torch.from_numpy(logits)
        tolerance = TOLERANCE * max(1.0, expected.abs().max().item())
        worst = (found - expected).abs().max().item() if found.shape == expected.shape else float("inf")
        if not worst <= tolerance:  # also true for NaN
            raise errors.RunFailed(
                f"the ONNX file's logits differ from the network's by {worst:.1e}, expected {tolerance:.1e} at most. "
                "Nothing was written."
            )
        difference = max(difference, worst)
    return difference


if __name__ == "__main__":
    flags.run(main)
