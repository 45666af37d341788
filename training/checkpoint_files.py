"""Write checkpoint files whole or not at all, and read them back only if their SHA-256 is right."""

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from launch import atomic
from models import WeightsError

from .log import log

INDEX = "index.json"  # of a folder's checkpoints, the newest last: [{"file": ..., "sha256": ...}, ...]
KEPT = 2  # the newest, and the one before it in case the newest is damaged
BYTES_PER_PARAMETER = 20  # of a checkpoint at most: weights, their average, the best ones, two averages of gradients


class CheckpointFiles(CheckpointIO):
    """Write and read the files of checkpoints for Lightning."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        atomic.write(path, content.getbuffer())
        entry = {"file": path.name, "sha256": hashlib.sha256(content.getbuffer()).hexdigest()}
        entries = [*(e for e in _index(path.parent) if e["file"] != path.name), entry]
        _write_index(path.parent, entries[-KEPT:])
        for old in entries[:-KEPT]:
            self.remove_checkpoint(path.parent / old["file"])

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return the content of a checkpoint. Raises WeightsError for a damaged one, and for one that holds anything
        but tensors and plain values: no code in it is executed.
        """
        try:
            return torch.load(io.BytesIO(_read(Path(path))), map_location or "cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):  # whose texts advise to trust it
            raise WeightsError(
                f"{path} holds more than tensors and plain values, or is damaged. It is not read."
            ) from None

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def any_saved(folder: Path) -> bool:
    return bool(_index(folder))


def newest(folder: Path) -> Path | None:
    """Return the newest intact checkpoint, None where none was saved. Raises WeightsError if all are damaged."""
    entries, reason = _index(folder), ""
    for index in range(len(entries) - 1, -1, -1):
        path = folder / entries[index]["file"]
        try:
            _read(path)
        except WeightsError as error:
            reason = str(error)
            log.warning(f"{reason} Using the one before it.")
        else:
            _write_index(folder, entries[: index + 1])  # the damaged ones no longer count among those that are kept
            return path
    if entries:
        raise WeightsError(f"no checkpoint in {folder} is intact. The last: {reason} Start the run anew.")
    return None


def _read(path: Path) -> bytes:
    """Return the bytes of a checkpoint. Raises WeightsError unless they have the SHA-256 of the index."""
    expected = {entry["file"]: entry["sha256"] for entry in _index(path.parent)}.get(path.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}).") from None
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise WeightsError(f"{path} is damaged: its SHA-256 is {found}, the index has {expected}.")
    return content


def _write_index(folder: Path, entries: list[dict[str, str]]) -> None:
    atomic.write(folder / INDEX, json.dumps(entries, indent=1).encode())


def _index(folder: Path) -> list[dict[str, str]]:
    file = folder / INDEX
    if not file.exists():
        return []
    try:
        return [{"file": Path(e["file"]).name, "sha256": e["sha256"]} for e in json.loads(file.read_bytes())]
    except (ValueError, TypeError, KeyError):
        raise WeightsError(f"{file} is damaged. Start the run anew.") from None
