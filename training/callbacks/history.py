"""Keep the history of a run: metrics.csv, metrics.json, and the line of each epoch."""

import contextlib
import csv
import io
import json
import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from launch.errors import Interrupted
from launch.run_dir import RunDir

from ..log import log

COLUMNS = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second"]


class History(Callback):
    """Writes metrics.csv and metrics.json after every epoch, anew from rows that are part of every checkpoint.

    `images` are trained on in an epoch; `run_metadata` is what metrics.json has from the start. As a context it sets
    the run's `status`. It comes after EpochMetrics, which gives it the metrics.
    """

    def __init__(self, run_dir: RunDir, images: int, run_metadata: dict[str, Any]) -> None:
        self.run_dir, self.images, self.run_metadata = run_dir, images, run_metadata
        self.results: dict[str, Any] = {"status": "running"}
        self.rows: list[dict[str, Any]] = []
        self.train_seconds = 0.0
        self.learning_rate = 0.0
        self._epoch_seconds = 0.0  # of the epoch in progress, before the process that has resumed it
        self._in_epoch = self._written = False
        self._rate = 0

    def __enter__(self) -> "History":
        if not (self.run_dir.path / "metrics.json").exists():  # those of a resumed run stay until its rows are read
            self._write()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self.record(status="finished")
        elif self._written:
            with contextlib.suppress(OSError):  # the disk may be what failed
                self.record(status="interrupted" if isinstance(error, Interrupted) else "failed")

    def record(self, **results: Any) -> None:
        """Add results to metrics.json."""
        self.results |= results
        self._write()

    def state_dict(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self._epoch_began if self._in_epoch else 0.0
        times = {"train_seconds": self.train_seconds, "epoch_seconds": seconds}
        return {"rows": self.rows, **times, "learning_rate": self.learning_rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.train_seconds = state_dict["rows"], state_dict["train_seconds"]
        self._epoch_seconds = state_dict.get("epoch_seconds", 0.0)  # not in checkpoints of earlier versions
        self.learning_rate = state_dict["learning_rate"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._begin_epoch(pl_module, self._epoch_seconds)  # in an epoch that is resumed, else the next method follows
        self._write()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._begin_epoch(pl_module)

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            self.learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            self._rate = round(self.images / (self._now(pl_module) - self._epoch_began))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.train_seconds += self._now(pl_module) - self._epoch_began
        self._in_epoch = False
        values = {name.replace("/", "_"): round(float(value), 6) for name, value in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch + 1,
            **{column: values.get(column) for column in COLUMNS[1:5]},
            "learning_rate": self.learning_rate,
            "images_per_second": self._rate,
        }
        self.rows.append(row)
        pl_module.log_dict({key: float(row[key]) for key in ("learning_rate", "images_per_second")})  # for loggers
        self._write()
        log.info(self._line(row))

    def _begin_epoch(self, module: lightning.LightningModule, ago: float = 0.0) -> None:
        self._epoch_began, self._in_epoch = self._now(module) - ago, True

    def _line(self, row: dict[str, Any]) -> str:
        epochs = self.run_metadata["epochs"]
        parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"]
        for split in ("train", "val"):
            if (loss := row[f"{split}_loss"]) is not None:
                shown = f"{loss:.4f}" if loss < 1e4 else f"{loss:.3g}"
                parts.append(f"{split} loss {shown}, {100 * row[f'{split}_accuracy']:.2f} %")
        return "  ".join([*parts, f"{row['images_per_second']} img/s"])  # 80 characters, up to 99 epochs

    def _write(self) -> None:
        self._written = True
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.run_dir.write("metrics.csv", table.getvalue())
        self.run_dir.write("metrics.json", json.dumps(self.summary(), indent=2, allow_nan=False) + "\n")

    def summary(self) -> dict[str, Any]:
        """Return the content of metrics.json."""
        last = self.rows[-1] if self.rows else None
        rates = [row["images_per_second"] for row in self.rows if row["images_per_second"]]
        return {
            **self.run_metadata,
            "compile_seconds": None,
            "train_seconds": round(self.train_seconds, 2),
            "images_per_second": round(sum(rates) / len(rates)) if rates else None,
            "train": last and {"loss": last["train_loss"], "accuracy": last["train_accuracy"], "images": self.images},
            "val": None,
            "test": None,
            "epoch": None,  # whose network was tested and stored
            "ended_early": False,  # by a callback, before the epochs of the configuration
            "weights_sha256": None,
            **self.results,
        }

    @staticmethod
    def _now(module: lightning.LightningModule) -> float:
        if module.device.type == "cuda":
            torch.cuda.synchronize(module.device)
        return time.perf_counter()
