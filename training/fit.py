"""Train the network that a configuration describes: for a run, or for a trial of a search."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import lightning
import torch
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn

from data.batches import Preprocess
from data.datasets import height_and_width
from data.splits import Splits
from launch import settings
from launch.processes import SIDE_BY_SIDE

from . import checkpoint_files, machine
from .callbacks.progress import ProgressBar
from .callbacks.synchronisation import SynchronizeProcesses
from .data_module import DeviceDataModule
from .distributed import ALONE, Peers
from .loop import install_fast_loop
from .module import ClassificationModule
from .parts import Components, build


class Trained(NamedTuple):
    """Hold the network to validate, test and store, and what its images need."""

    network: nn.Module
    preprocess: Preprocess
    device: torch.device
    steps: int  # of the optimizer


def prepare(config: DictConfig, splits: Splits | None = None) -> Components:
    """Make the parts of a run, of `splits` if they have been read, with "auto" resolved for this machine."""
    accelerator = machine.choose_accelerator(config.trainer.accelerator, config.threads)
    parts = build(config, splits)
    precision = machine.choose_precision(config.precision, accelerator, parts.network)
    resolved = {"trainer.accelerator": accelerator, "precision": precision}
    return parts._replace(config=settings.replace(parts.config, resolved))


def fit(
    parts: Components,
    callbacks: list[Callback | None],
    folder: Path,
    peers: Peers = ALONE,
    checkpoint: Path | None = None,
    loggers: Sequence[Logger] = (),
) -> Trained:
    """Train from the start or from a checkpoint. `folder` is where Lightning would write."""
    config, splits = parts.config, parts.splits
    trainer = make_trainer(config, folder, peers, callbacks, loggers)
    module = ClassificationModule(
        parts.network, parts.loss, parts.optimizer, parts.scheduler, l1=config.loss.l1, ema=config.ema
    )
    preprocess = Preprocess(splits.info.mean, splits.info.std, height_and_width(config.image_size))
    batches = DeviceDataModule(splits, preprocess, parts.augment, config.batch_size, config.seed)
    device = trainer.strategy.root_device
    machine.require_gpu_memory(device, sum(each.images.nbytes for each in (splits.train, splits.val) if each))
    trainer.fit(module, datamodule=batches, ckpt_path=checkpoint, weights_only=True)
    return Trained(module.eval_network, preprocess, device, trainer.global_step)


def make_trainer(
    config: DictConfig, folder: Path, peers: Peers, callbacks: list[Callback | None], loggers: Sequence[Logger]
) -> lightning.Trainer:
    has_bar = sys.stdout.isatty() and SIDE_BY_SIDE not in os.environ
    several = peers.group is not None
    saves = any(isinstance(callback, Checkpoint) for callback in callbacks)  # else Lightning would, by one of its own
    trainer = instantiate(
        config.trainer,
        max_epochs=config.epochs,
        precision=config.precision,
        gradient_clip_val=config.gradient_clip,
        logger=list(loggers),
        callbacks=[
            *([SynchronizeProcesses(peers)] if several else []),
            *(callback for callback in callbacks if callback),
            *([ProgressBar()] if has_bar else []),
        ],
        plugins=[checkpoint_files.CheckpointFiles(), TorchElasticEnvironment() if several else LightningEnvironment()],
        default_root_dir=folder,
        enable_checkpointing=saves,
        enable_progress_bar=has_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer._signal_connector.register_signal_handlers = lambda: None  # the signals are Interruption's
    return install_fast_loop(trainer)
