"""One run: from a checked configuration to trained, tested and stored weights, and the folder that has them all.

Importing this takes seconds, so train.py does it when nothing is wrong with the command any more.
"""

import sys
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from data.batches import Preprocess
from data.splits import Splits
from launch import errors, processes, settings
from launch.overrides import job_name, now
from launch.run_dir import ReadOnlyRunDir, RunDir
from models import cards
from models.weights import initialize_from, serialize

from . import distributed, machine
from .callbacks import checkpoints
from .callbacks.best_weights import BestWeights
from .callbacks.compilation import Compilation
from .callbacks.history import History
from .callbacks.interruption import Interruption
from .callbacks.progress import ProgressBar
from .callbacks.synchronisation import SynchronizeProcesses
from .data_module import DeviceDataModule
from .distributed import Peers
from .evaluation import compute_metrics, predict_logits
from .log import lines_to, log
from .loop import install_fast_loop
from .module import ClassificationModule, parameter_groups

TRAINING_KEYS = (
    "seed",
    "epochs",
    "batch_size",
    "loss",
    "gradient_clip",
    "ema",
    "select",
    "precision",
    "compile",
    "optimizer",
    "scheduler",
    "weights",
)  # what a card says of training


class Parts(NamedTuple):
    """What the configuration names."""

    splits: Splits
    network: nn.Module
    optimizer: Callable[..., torch.optim.Optimizer]
    scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler]


def run(config: DictConfig, runs: Path) -> None:
    """A new run below `runs` or in `run_dir`, or the rest of the one that `resume` names."""
    parts = build(config)
    peers = distributed.join(config.trainer.accelerator) if settings.is_ddp(config) else distributed.ALONE
    with (
        peers,
        open_folder(config, runs, parts.network, peers) as folder,
        lines_to(folder.path / "train.log", silent=peers.rank > 0),
    ):
        resumes = config.resume and not peers.rank
        checkpoint = peers.broadcast(checkpoints.newest(folder.path / "checkpoints") if resumes else None)
        config.run_dir, config.resume = str(folder.path), None
        folder.write(".hydra/overrides.yaml", OmegaConf.to_yaml(HydraConfig.get().overrides.task))
        folder.write("config.yaml", OmegaConf.to_yaml(config, resolve=True))  # from here on it can be resumed

        splits = parts.splits
        preprocess = Preprocess(splits.facts.mean, splits.facts.std, config.image_size)
        images = len(splits.train.labels) // config.batch_size * config.batch_size
        history = History(folder, images, facts(config, parts.network, peers))
        with history, Interruption(folder.path, peers) as interruption:
            best = BestWeights() if config.select == "best" else None
            compilation = Compilation() if config.compile else None
            trainer = make_trainer(config, folder, peers, [history, interruption, best, compilation])
            task = ClassificationModule(*parts[1:], **config.loss, ema=config.ema)
            batches = DeviceDataModule(splits, preprocess, config.batch_size, config.seed)
            with peers.detect_lost_process(folder.path):
                trainer.fit(task, datamodule=batches, ckpt_path=checkpoint, weights_only=True)
            peers.leave()
            if peers.rank:
                return

            if best:
                best.restore(task.result)
            epoch = best.epoch if best else config.epochs
            weights, measured, logits = test(
                config, splits, task.result, epoch, preprocess, trainer.strategy.root_device
            )
            folder.write("weights.safetensors", weights)
            history.record(
                **measured,
                epoch=epoch,
                compile_seconds=compilation.seconds if compilation else None,
                weights_sha256=sha256(weights).hexdigest(),
            )
            if config.report:
                write_report(config, folder, history, logits, splits)
            log.info(
                f"{config.model.name} on {config.data.name}: "
                f"test accuracy {measured['test']['accuracy']:.4f} ({measured['test']['images']} images), "
                f"{config.epochs} epoch{'s' if config.epochs > 1 else ''} in {history.train_seconds:.0f} s"
                f"{f', the best was epoch {epoch}' if best else ''} -> {folder}"
            )


def build(config: DictConfig) -> Parts:
    """The parts; in the configuration "auto" gives way to what it stands for here. What does not fit raises an error,
    before anything is written.
    """
    config.trainer.accelerator = machine.choose_accelerator(config.trainer.accelerator)
    torch.manual_seed(config.seed)
    splits, network, optimizer, scheduler = (
        instantiate(config[name], _convert_="all") for name in ("data", "model", "optimizer", "scheduler")
    )
    config.precision = machine.choose_precision(config.precision, config.trainer.accelerator, network)
    if config.weights and not (config.resume and checkpoints.any_saved(Path(config.resume) / "checkpoints")):
        arguments: Any = OmegaConf.to_container(config.model, resolve=True)
        initialize_from(network, arguments, cards.read(config.weights))
    probe = nn.Linear(1, 1)
    probe(torch.ones(1, 1)).backward()
    try:  # arguments that torch refuses
        trial = optimizer(parameter_groups(probe))
        trial.step()
        scheduler(trial, epochs=config.epochs, steps_per_epoch=1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise errors.SettingsError(f"optimizer or scheduler: {str(error).splitlines()[0]}") from error
    return Parts(splits, network, optimizer, scheduler)


def open_folder(config: DictConfig, runs: Path, network: nn.Module, peers: Peers) -> RunDir:
    """The first process's own; the others are told which it is."""
    if peers.rank:
        return ReadOnlyRunDir(peers.broadcast(None))
    if config.resume:
        folder = RunDir(Path(config.resume))
    else:
        size = checkpoints.BYTES_PER_PARAMETER * (checkpoints.KEPT + 2) * count_parameters(network)
        folder = RunDir.claim(config.run_dir, runs, f"{now()}_{job_name(config)}", size)
    peers.broadcast(folder.path)
    processes.send_run_dir_to_launcher(folder.path)
    return folder


def facts(config: DictConfig, network: nn.Module, peers: Peers) -> dict[str, Any]:
    """What metrics.json says of a run from its start."""
    accelerator = config.trainer.accelerator
    return {
        "model": config.model.name,
        "data": config.data.name,
        "seed": config.seed,
        "epochs": config.epochs,
        "image_size": config.image_size,
        "parameters": count_parameters(network),
        "processes": peers.world,
        "device": machine.describe_device(accelerator),
        "machine": machine.describe_machine(accelerator),
        "precision": config.precision,
        "compile": config.compile,
        "versions": machine.versions(),
    }


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def make_trainer(
    config: DictConfig, folder: RunDir, peers: Peers, callbacks: list[Callback | None]
) -> lightning.Trainer:
    on_terminal, several = sys.stdout.isatty(), peers.group is not None
    trainer = instantiate(
        config.trainer,
        max_epochs=config.epochs,
        precision=config.precision,
        gradient_clip_val=config.gradient_clip,
        logger=instantiate(config.logger) if config.logger else False,
        callbacks=[
            *([SynchronizeProcesses(peers)] if several else []),
            *(callback for callback in callbacks if callback),
            checkpoints.Checkpoints(folder.path / "checkpoints", config.checkpoint.every_minutes, peers),
            *([ProgressBar()] if on_terminal else []),
        ],
        plugins=[checkpoints.CheckpointFiles(), TorchElasticEnvironment() if several else LightningEnvironment()],
        default_root_dir=folder.path,
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    return install_fast_loop(trainer)


def test(
    config: DictConfig,
    splits: Splits,
    network: nn.Module,
    epoch: int,
    preprocess: Preprocess,
    device: torch.device,
) -> tuple[bytes, dict[str, Any], Tensor]:
    """The weights that are stored, those of `epoch`, their figures, and the logits (N, num_classes) of the test images.
    The test set is used here, once.
    """
    logits = predict_logits(network, splits.test, preprocess, device)
    measured = {
        "val": compute_metrics(predict_logits(network, splits.val, preprocess, device), splits.val.labels)
        if splits.val
        else None,
        "test": compute_metrics(logits, splits.test.labels),
    }
    plain: Any = OmegaConf.to_container(config, resolve=True)
    card = {
        "data": config.data.name,
        "input": {"channels": 1, **asdict(preprocess)},
        "classes": splits.facts.classes,
        "metrics": measured,
        "training": {
            "images": len(splits.train.labels),
            "epoch": epoch,
            **{key: plain["data"][key] for key in ("train_size", "val_size", "test_size")},
            "augment": plain["data"]["augment"],
            **{key: plain[key] for key in TRAINING_KEYS},
        },
        "versions": machine.versions(),
    }
    if plain["weights"]:  # without the path, which is of this machine
        card["training"]["weights"] = "/".join(Path(plain["weights"]).parts[-2:])
    arguments = {key: value for key, value in plain["model"].items() if key not in ("_target_", "name")}
    return serialize(network, config.model.name, arguments, card), measured, logits


def write_report(config: DictConfig, folder: RunDir, history: History, logits: Tensor, splits: Splits) -> None:
    """A page that cannot be made is said, and no more: the run has what it was for."""
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    overrides, metrics = list(HydraConfig.get().overrides.task), history.summary()
    try:
        from reports import run_report

        page = run_report.render(resolved, overrides, metrics, history.rows, logits, splits.test, splits.facts.classes)
        folder.write("report.html", page)
    except Exception as error:
        failure = RuntimeError(f"report.html was not written: {error}")
        failure.__cause__ = error  # for REFZOO_DEBUG=1
        errors.report(failure)
