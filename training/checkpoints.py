"""Checkpoints that hold: each is written whole or not at all, known by its SHA-256, and never read as a program."""

import hashlib
import io
import json
import logging
import pickle
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from models import WeightsError

from . import atomic
from .errors import Interrupted

INDEX = "index.json"  # of a folder's checkpoints, the newest last: [{"file": ..., "sha256": ...}, ...]
KEPT = 2  # the newest, and the one before it in case the newest is damaged
log = logging.getLogger("refzoo")


class Checkpoints(Checkpoint):
    """Saves at every epoch's end, every so many minutes between two batches, and when the run is interrupted.

    Never behind an epoch's last batch, whose end would be left out on resuming: it follows at once anyway.
    """

    def __init__(self, folder: Path, every_minutes: float) -> None:
        self.folder, self.every_minutes = folder, every_minutes
        self.saved = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if not trainer.is_last_batch and time.monotonic() - self.saved > 60 * self.every_minutes:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._save(trainer)

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, Interrupted) and trainer.training:
            self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        trainer.save_checkpoint(self.folder / f"step_{trainer.global_step:08}.ckpt")
        self.saved = time.monotonic()


class CheckpointFiles(CheckpointIO):
    """How Lightning writes and reads them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        atomic.write(path, content.getbuffer())
        entry = {"file": path.name, "sha256": hashlib.sha256(content.getbuffer()).hexdigest()}
        entries = [*(e for e in _index(path.parent) if e["file"] != path.name), entry]
        atomic.write(path.parent / INDEX, json.dumps(entries[-KEPT:], indent=1).encode())
        for old in entries[:-KEPT]:
            self.remove_checkpoint(path.parent / old["file"])

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Raises WeightsError unless the file is the one in the index. Nothing in it is ever run."""
        path = Path(path)
        expected = {entry["file"]: entry["sha256"] for entry in _index(path.parent)}.get(path.name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path} cannot be read ({error.strerror}).") from None
        if (found := hashlib.sha256(content).hexdigest()) != expected:
            raise WeightsError(f"{path} is damaged: its SHA-256 is {found}, the index says {expected}.")
        try:
            return torch.load(io.BytesIO(content), map_location or "cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            raise WeightsError(f"{path} is no checkpoint of plain tensors and numbers ({error}).") from None

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, None where none was ever saved. Raises WeightsError if all are damaged."""
    entries, reason = _index(folder), ""
    for entry in reversed(entries):
        try:
            CheckpointFiles().load_checkpoint(folder / entry["file"])
        except WeightsError as error:
            reason = str(error)
            log.warning(f"{reason} Going back to the one before it.")
        else:
            return folder / entry["file"]
    if entries:
        raise WeightsError(f"no checkpoint in {folder} is whole. The last: {reason} Start the run anew.")
    return None


def _index(folder: Path) -> list[dict[str, str]]:
    file = folder / INDEX
    if not file.exists():
        return []
    try:
        return [{"file": Path(e["file"]).name, "sha256": e["sha256"]} for e in json.loads(file.read_bytes())]
    except (ValueError, TypeError, KeyError):
        raise WeightsError(f"{file} is damaged. Start the run anew.") from None
