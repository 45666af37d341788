"""Save checkpoints and read them back: each is written whole or not at all, and checked by its SHA-256."""

import hashlib
import io
import json
import logging
import pickle
import time
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from launch import atomic
from launch.errors import Interrupted
from models import WeightsError

from ..distributed import ALONE, Peers
from ..module import ClassificationModule

INDEX = "index.json"  # of a folder's checkpoints, the newest last: [{"file": ..., "sha256": ...}, ...]
KEPT = 2  # the newest, and the one before it in case the newest is damaged
BYTES_PER_PARAMETER = 20  # of a checkpoint at most: weights, their average, the best ones, two averages of gradients
log = logging.getLogger("refzoo")


class Checkpoints(Checkpoint):
    """Saves at the end of every epoch, after a batch every `every_minutes`, and when the run is interrupted.

    Never after the last batch of an epoch: a resumed run would leave out the epoch's end, which saves anyway. Several
    processes save together, and the first one writes.
    """

    def __init__(self, folder: Path, every_minutes: float, peers: Peers = ALONE) -> None:
        self.folder, self.every_minutes = folder, every_minutes
        self.saved = time.monotonic()
        self.any_due = peers.reduce_max(lambda: time.monotonic() - self.saved > 60 * self.every_minutes)
        self.started = False

    def on_train_start(self, *_: Any) -> None:
        self.started = True  # before this, a resumed run has not yet read its checkpoint

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if not trainer.is_last_batch and self.any_due():
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._save(trainer)

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, Interrupted) and self.started:
            self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        module = cast(ClassificationModule, trainer.lightning_module)
        with module.train_metrics.sync_context():  # the sums of all processes
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
        _write_index(path.parent, entries[-KEPT:])
        for old in entries[:-KEPT]:
            self.remove_checkpoint(path.parent / old["file"])

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return the content of a checkpoint. Raises WeightsError for a damaged one, and for one that holds anything
        but tensors and plain values: nothing in it is ever run.
        """
        path = Path(path)
        expected = {entry["file"]: entry["sha256"] for entry in _index(path.parent)}.get(path.name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path} cannot be read ({error.strerror}).") from None
        if (found := hashlib.sha256(content).hexdigest()) != expected:
            raise WeightsError(f"{path} is damaged: its SHA-256 is {found}, the index has {expected}.")
        try:
            return torch.load(io.BytesIO(content), map_location or "cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            first_line = str(error).partition("\n")[0].partition(". ")[0]
            raise WeightsError(f"{path} is no checkpoint of plain tensors and numbers ({first_line}).") from None

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def any_saved(folder: Path) -> bool:
    return bool(_index(folder))


def newest(folder: Path) -> Path | None:
    """Return the newest checkpoint that is intact, None where none was ever saved.

    Raises WeightsError if all are damaged.
    """
    entries, reason = _index(folder), ""
    for index in range(len(entries) - 1, -1, -1):
        path = folder / entries[index]["file"]
        try:
            CheckpointFiles().load_checkpoint(path)
        except WeightsError as error:
            reason = str(error)
            log.warning(f"{reason} Using the one before it.")
        else:
            _write_index(folder, entries[: index + 1])  # the damaged ones no longer count among those that are kept
            return path
    if entries:
        raise WeightsError(f"no checkpoint in {folder} is intact. The last: {reason} Start the run anew.")
    return None


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
