"""Send a run to the loggers of its configuration: its settings, what each epoch measures, its result, its report.

All of it belongs to one logged run, also when the run is resumed, or is a job of a sweep.
"""

import csv
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger
from omegaconf import DictConfig

from launch.configuration import plain
from launch.run_dir import RunDir

from .parts import call_target

RECORD = "loggers.json"  # in the run folder: the identities of its logged runs
OF_A_RUN = {WandbLogger: ("id", "name"), MLFlowLogger: ("run_id", "run_name")}  # what continues a logged run, its name


class CSVLogger(loggers.CSVLogger):
    """Keep the rows of a run that is resumed, which Lightning's deletes."""

    def __init__(self, save_dir: str, name: str = "csv", version: str = "", **arguments: Any) -> None:
        super().__init__(save_dir, name, version, **arguments)
        file = Path(self.log_dir) / "metrics.csv"
        if file.exists():
            with file.open(newline="") as table:
                rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(table)]
            file.unlink()
            for values in rows:
                self.experiment.log_metrics(values, int(values.pop("step")))
            self.save()


@contextmanager
def opened(config: DictConfig, run_dir: RunDir) -> Iterator[list[Logger]]:
    """Make the loggers of a configuration, and send it to them; of several processes, in the first one."""
    if run_dir.read_only:
        yield [DummyLogger()] if config.logger else []  # callbacks such as LearningRateMonitor need one
        return
    file = run_dir.path / RECORD
    identities = json.loads(file.read_bytes()) if file.exists() else {}
    made = {name: _make(name, section, identities.get(name), run_dir) for name, section in config.logger.items()}
    try:
        for name, logger in made.items():
            if not (isinstance(logger, MLFlowLogger) and name in identities):  # which refuses to change a setting
                logger.log_hyperparams(plain(config))
        if made:
            versions = {str(name): logger.version for name, logger in made.items()}
            run_dir.write(RECORD, json.dumps({**identities, **versions}))
        yield list(made.values())
    except BaseException:
        _finish(made, 1)
        raise
    _finish(made, 0)


def record(made: list[Logger], config: DictConfig, metrics: dict[str, Any], step: int, report: Path) -> None:
    """Send loss and accuracy of the stored network on validation and test images, and the report if there is one."""
    parts = {split: metrics[split] for split in ("val", "test") if metrics[split]}
    values = {f"{split}/{key}": part[key] for split, part in parts.items() for key in ("loss", "accuracy")}
    for logger in made:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(plain(config), values, step)  # its table of settings and results
        else:
            logger.log_metrics(values, step)
        if isinstance(logger, WandbLogger) and report.exists():
            import wandb

            artifact = wandb.Artifact(f"report-{logger.version}", type="report")
            artifact.add_file(str(report))
            logger.experiment.log_artifact(artifact)
        elif isinstance(logger, MLFlowLogger) and report.exists():
            logger.experiment.log_artifact(logger.run_id, str(report))
        logger.save()


def _finish(made: dict[Any, Logger], status: int) -> None:
    """End the logged run of W&B: else the next job of a sweep would be logged as this one."""
    for logger in made.values():
        if isinstance(logger, WandbLogger) and logger._experiment is not None:
            logger.experiment.finish(status)


def _make(name: str, section: DictConfig, identity: str | None, run_dir: RunDir) -> Logger:
    arguments = plain(section)
    target = arguments.pop("_target_")
    kind = getattr(loggers, target.rpartition(".")[2], None)
    if kind in OF_A_RUN:
        key, title = OF_A_RUN[kind]
        arguments |= {key: identity} if identity else {}
        arguments.setdefault(title, run_dir.path.name)
    if kind is WandbLogger:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        if "WANDB_MODE" not in os.environ and not wandb.login(prompt=False):
            arguments.setdefault("mode", "offline")
    if kind is MLFlowLogger:
        import mlflow  # noqa: F401 which sets its level, and logs how it makes its tables

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        scheme, _, database = arguments["tracking_uri"].partition(":///")
        if scheme == "sqlite" and run_dir.path in Path(database).parents:
            Path(database).parent.mkdir(exist_ok=True)
        elif run_dir.path in Path(arguments["artifact_location"]).parents:  # the default, for the run's own database
            beside = str(Path(database).parent / "mlartifacts")
            arguments["artifact_location"] = beside if scheme == "sqlite" else None  # a server says where
    return call_target(f"logger.{name}", target, arguments)
