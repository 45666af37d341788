"""The record of a run: its rows and figures, the files that show them, and the lines on the terminal."""

import csv
import io
import json
import logging
import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from .classification import Classification
from .errors import Interrupted
from .run_folder import RunFolder

COLUMNS = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second"]
log = logging.getLogger("refzoo")


class History(Callback):
    """Keeps metrics.csv and metrics.json, both written anew after every epoch from what travels in the checkpoint.

    `facts` are what metrics.json says of the run from its start. As a context it sets the run's `status`.
    """

    def __init__(self, folder: RunFolder, batch_size: int, facts: dict[str, Any]) -> None:
        self.folder, self.epochs, self.batch_size = folder, facts["epochs"], batch_size
        self.rows: list[dict[str, Any]] = []
        self.train_seconds = 0.0
        self.learning_rate = 0.0
        self.summary: dict[str, Any] = {
            **facts,
            "train_seconds": 0.0,
            "images_per_second": None,
            "train": None,
            "val": None,
            "test": None,
            "weights_sha256": None,
            "status": "running",
        }

    def __enter__(self) -> "History":
        self._write()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        self.record(status="finished" if error is None else "interrupted" if stopped else "failed")

    def record(self, **figures: Any) -> None:
        self.summary.update(figures)
        self._write()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "train_seconds": self.train_seconds, "learning_rate": self.learning_rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.train_seconds = state_dict["rows"], state_dict["train_seconds"]
        self.learning_rate = state_dict["learning_rate"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._begin_epoch(pl_module)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._begin_epoch(pl_module)

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        self.learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._steps += 1

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, i: int) -> None:
        if i + 1 == trainer.num_training_batches:
            self._training_took = self._now(pl_module) - self._epoch_began

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Classification) -> None:  # type: ignore[override]
        self.train_seconds += self._now(pl_module) - self._epoch_began
        figures = {f"train/{name}": value for name, value in pl_module.finish_train_epoch().items()}
        figures |= {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        values = {name: round(float(value), 6) for name, value in figures.items()}
        images = self._steps * self.batch_size
        row = {
            "epoch": trainer.current_epoch + 1,
            **{column: values.get(column.replace("_", "/", 1)) for column in COLUMNS[1:5]},
            "learning_rate": self.learning_rate,
            "images_per_second": round(images / self._training_took) if self._training_took else None,
        }
        self.rows.append(row)
        rates = [r["images_per_second"] for r in self.rows if r["images_per_second"]]
        self.record(
            train_seconds=round(self.train_seconds, 2),
            images_per_second=round(sum(rates) / len(rates)) if rates else None,
            train={
                "loss": row["train_loss"],
                "accuracy": row["train_accuracy"],
                "images": trainer.num_training_batches * self.batch_size,
            },
        )
        log.info(self._line(row))

    def _begin_epoch(self, module: lightning.LightningModule) -> None:
        self._epoch_began, self._training_took, self._steps = self._now(module), 0.0, 0

    def _line(self, row: dict[str, Any]) -> str:
        parts = [f"epoch {row['epoch']:>{len(str(self.epochs))}}/{self.epochs}"]
        parts.append(f"train loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}")
        if row["val_loss"] is not None:
            parts.append(f"validation loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.4f}")
        return "   ".join([*parts, f"{row['images_per_second']} images/s"])

    def _write(self) -> None:
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.folder.write("metrics.csv", table.getvalue())
        self.folder.write("metrics.json", json.dumps(self.summary, indent=2) + "\n")

    @staticmethod
    def _now(module: lightning.LightningModule) -> float:
        if module.device.type == "cuda":
            torch.cuda.synchronize(module.device)
        return time.perf_counter()
