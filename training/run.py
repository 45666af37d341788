"""Train, test and store the weights of one run, from a checked configuration to the folder that holds them.

Importing this takes seconds, so train.py does it once the command has passed all checks that do not need torch.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from data.splits import Splits
from launch import settings
from launch.errors import shown
from launch.processes import send_run_dir_to_launcher
from launch.run_dir import RunDir, job_name, now
from models.weights import serialize

from . import checkpoint_files, distributed, loggers
from .callbacks.best_weights import BestWeights
from .callbacks.checkpoints import Checkpoints
from .callbacks.compilation import Compilation
from .callbacks.contention import Contention
from .callbacks.epoch_metrics import EpochMetrics
from .callbacks.finite_loss import FiniteLoss
from .callbacks.history import History
from .callbacks.interruption import Interruption
from .distributed import Peers
from .evaluation import measure
from .fit import fit, prepare
from .log import log, log_to, wrapped
from .metadata import card, count_parameters, run_metadata
from .parts import network_arguments, network_name


class Result(NamedTuple):
    """Hold a tested run: `config` with "auto" resolved, `metrics` and `rows` as in metrics.json and metrics.csv."""

    config: DictConfig
    run_dir: RunDir
    metrics: dict[str, Any]
    rows: list[dict[str, Any]]
    test_logits: Tensor  # (N, num_classes)
    splits: Splits


def run(
    config: DictConfig, overrides: list[str], runs: Path, write_report: Callable[[Result], None] | None = None
) -> None:
    """Train and test in a new folder below `runs` or in `run_dir`, or finish the run that `resume` names.

    `overrides` are recorded for resuming.
    """
    parts = prepare(config)
    config, accelerator = parts.config, parts.config.trainer.accelerator
    peers = distributed.join(accelerator) if settings.is_ddp(config) else distributed.ALONE
    with (
        peers,
        open_run_dir(config, runs, parts.network, peers) as run_dir,
        log_to(run_dir.path / "train.log", silent=peers.rank > 0),
    ):
        resumes = config.resume and not peers.rank
        checkpoint = peers.broadcast(checkpoint_files.newest(run_dir.path / "checkpoints") if resumes else None)
        config = settings.replace(config, {"run_dir": str(run_dir.path), "resume": None})
        run_dir.write(".hydra/overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(overrides)))
        run_dir.write("config.yaml", OmegaConf.to_yaml(config, resolve=True))  # from here on it can be resumed

        if parts.transfer:
            frozen = f"; frozen: {', '.join(config.freeze)}" if config.freeze else ""
            log.info(f"starts from {shown(Path(config.weights))}; {parts.transfer}{frozen}")
        splits = parts.splits
        images = len(splits.train.labels) // config.batch_size * config.batch_size  # of an epoch
        history = History(run_dir, images, run_metadata(config, parts.network, peers))
        with (
            history,
            loggers.opened(config, run_dir) as opened_loggers,
            Interruption(run_dir.path, peers) as interruption,
        ):
            best = BestWeights() if config.select == "best" else None
            compilation = Compilation() if config.compile else None
            contention = Contention(config.threads) if accelerator == "cpu" and peers.world == 1 else None
            # As in loop.py. After an interruption nothing more is called, so that comes last.
            at_each_epoch = [FiniteLoss(peers), EpochMetrics(), best, history, *parts.callbacks, interruption]
            checkpoints = Checkpoints(run_dir.path / "checkpoints", config.checkpoint.every_minutes, peers)
            callbacks = [*at_each_epoch, contention, compilation, checkpoints]
            with peers.detect_lost_process(run_dir.path):
                trained = fit(parts._replace(config=config), callbacks, run_dir.path, peers, checkpoint, opened_loggers)
            peers.leave()
            if peers.rank:
                return

            if best:
                best.restore(trained.network)
            epochs = len(history.rows)  # fewer than those of the configuration if a callback has ended the training
            epoch = best.epoch if best else epochs
            metrics, logits = measure(trained.network, splits, trained.preprocess, trained.device)
            arguments = network_arguments(config)
            content = card(config, splits, trained.preprocess, epochs, epoch, metrics)
            weights = serialize(trained.network, network_name(config), arguments, content)
            run_dir.write("weights.safetensors", weights)
            compile_seconds = compilation.seconds if compilation else None
            digest = sha256(weights).hexdigest()
            ended_early = epochs < config.epochs
            history.record(**metrics, epochs=epochs, epoch=epoch, ended_early=ended_early)
            history.record(compile_seconds=compile_seconds, weights_sha256=digest)
            if write_report:
                write_report(Result(config, run_dir, history.summary(), history.rows, logits, splits))
            loggers.record(opened_loggers, config, metrics, trained.steps, run_dir.path / "report.html")
            result = (
                f"{config.model.name} on {config.data.name}: "
                f"test accuracy {metrics['test']['accuracy']:.4f} ({metrics['test']['images']} images), "
                f"{epochs}{f' of {config.epochs}' if ended_early else ''} epoch{'s' if config.epochs > 1 else ''} "
                f"in {history.train_seconds:.0f} s{f', the best was epoch {epoch}' if best else ''}"
            )
            log.info(wrapped(result, f"-> {run_dir}"))


def open_run_dir(config: DictConfig, runs: Path, network: nn.Module, peers: Peers) -> RunDir:
    """Open the folder to write in the first process, and the same one to read in the others."""
    if peers.rank:
        return RunDir(peers.broadcast(None), read_only=True)
    if config.resume:
        run_dir = RunDir(Path(config.resume))
    else:
        size = checkpoint_files.BYTES_PER_PARAMETER * (checkpoint_files.KEPT + 2) * count_parameters(network)
        run_dir = RunDir.create(config.run_dir, runs, f"{now()}_{job_name(config)}", size)
    peers.broadcast(run_dir.path)
    send_run_dir_to_launcher(run_dir.path)
    return run_dir
