"""Train one network, test it once, and leave a run folder. `python train.py --help` says how."""

import os
import shlex
import sys
from dataclasses import asdict
from datetime import datetime
from hashlib import sha256
from pathlib import Path

os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # a wrong command is explained here, not by Hydra

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from training import command_line, errors, resuming, settings

ROOT = Path(__file__).resolve().parent
TRAINING_KEYS = (
    "seed",
    "epochs",
    "batch_size",
    "gradient_clip",
    "precision",
    "optimizer",
    "scheduler",
)  # what a card says of training
OmegaConf.register_new_resolver("root", lambda: str(ROOT))
statuses: list[int] = []  # of the jobs: Hydra does not hand back what they return


def main() -> int:
    try:
        sys.argv[1:] = command_line.complete(sys.argv[1:], ROOT / "runs")
        job()
    except ValueError as error:  # Hydra's own, of an override it can make nothing of
        return errors.report(errors.SettingsError(error))
    except (Exception, KeyboardInterrupt, errors.Interrupted) as error:
        return answer(error)
    return max(statuses, default=0)


@hydra.main(version_base="1.3", config_path=str(ROOT / "configs"), config_name="train")
def job(config: DictConfig) -> None:
    """One run. It answers for its own errors, so that a sweep goes on to its next job."""
    try:
        train(config)
        statuses.append(0)
    except Exception as error:
        statuses.append(answer(error))


def answer(error: BaseException) -> int:
    if isinstance(error, HydraException | OmegaConfBaseException):
        error = command_line.explain(error, ROOT / "configs")
    return errors.report(error)


def train(config: DictConfig) -> None:
    plain = settings.check(OmegaConf.to_container(config, resolve=True))
    if config.resume:
        resuming.check_unchanged(Path(config.resume), plain)
        if message := resuming.finished(Path(config.resume), config.epochs):
            print(message)
            return

    # Only now what takes seconds to import.
    import torch

    from data.batches import Preparation
    from models.weights import serialize
    from training import checkpoints, machine, terminal
    from training.classification import Classification, parameter_groups
    from training.data_module import DeviceBatches
    from training.evaluation import evaluate
    from training.history import History, log
    from training.interruption import Interruption
    from training.run_folder import RunFolder

    config.trainer.accelerator = machine.choose_accelerator(config.trainer.accelerator, config.precision)
    torch.manual_seed(config.seed)
    splits = instantiate(config.data)
    network = instantiate(config.model, _convert_="all")
    optimizer = instantiate(config.optimizer, _convert_="all")
    scheduler = instantiate(config.scheduler, _convert_="all")
    try:  # an argument that torch refuses shows before anything is written
        scheduler(optimizer(parameter_groups(network)), total_steps=config.epochs)
    except (TypeError, ValueError) as error:
        raise errors.SettingsError(f"optimizer or scheduler: {error}") from error

    parameters = sum(parameter.numel() for parameter in network.parameters())
    size = checkpoints.BYTES_PER_PARAMETER * (checkpoints.KEPT + 2) * parameters
    if config.resume:
        run_folder = RunFolder(Path(config.resume))
    else:
        run_folder = RunFolder.claim(config.run_dir, *new_run(config), size)
    with run_folder as folder, terminal.lines_to(folder.path / "train.log"):
        checkpoint = checkpoints.newest(folder.path / "checkpoints") if config.resume else None
        config.run_dir, config.resume = str(folder.path), None
        folder.write("config.yaml", OmegaConf.to_yaml(config, resolve=True))
        folder.write(".hydra/overrides.yaml", OmegaConf.to_yaml(HydraConfig.get().overrides.task))
        logger = instantiate(config.logger) if config.logger else False

        prepare = Preparation(splits.facts.mean, splits.facts.std, config.image_size)
        history = History(
            folder,
            len(splits.train.labels) // config.batch_size * config.batch_size,
            {
                "model": config.model.name,
                "data": config.data.name,
                "seed": config.seed,
                "epochs": config.epochs,
                "image_size": config.image_size,
                "parameters": parameters,
                "device": machine.describe_device(config.trainer.accelerator),
                "precision": config.precision,
                "versions": machine.versions(),
            },
        )
        with history, Interruption(f"Go on with: uv run train.py {shlex.quote(f'resume={folder}')}") as interruption:
            on_terminal = sys.stdout.isatty()
            trainer = instantiate(
                config.trainer,
                max_epochs=config.epochs,
                precision=config.precision,
                gradient_clip_val=config.gradient_clip,
                logger=logger,
                callbacks=[
                    history,
                    interruption,
                    checkpoints.Checkpoints(folder.path / "checkpoints", config.checkpoint.every_minutes),
                    *([terminal.ProgressBar()] if on_terminal else []),
                ],
                profiler=machine.NoProfiler(),
                plugins=[checkpoints.CheckpointFiles()],
                default_root_dir=folder.path,
                enable_progress_bar=on_terminal,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
            task = Classification(network, optimizer, scheduler)
            batches = DeviceBatches(splits, prepare, config.batch_size, config.seed)
            trainer.fit(task, datamodule=batches, ckpt_path=checkpoint, weights_only=True)

            # The test set is used here, once, by the weights that are stored.
            device = trainer.strategy.root_device
            val = evaluate(network, splits.val, prepare, device) if splits.val else None
            test = evaluate(network, splits.test, prepare, device)
            arguments = {key: value for key, value in plain["model"].items() if key not in ("_target_", "name")}
            card = {
                "data": config.data.name,
                "input": {"channels": 1, **asdict(prepare)},
                "classes": splits.facts.classes,
                "metrics": {"val": val, "test": test},
                "training": {"images": len(splits.train.labels), **{key: plain[key] for key in TRAINING_KEYS}},
                "versions": machine.versions(),
            }
            weights = serialize(network, config.model.name, arguments, card)
            folder.write("weights.safetensors", weights)
            history.record(val=val, test=test, weights_sha256=sha256(weights).hexdigest())
            log.info(
                f"{config.model.name} on {config.data.name}: "
                f"test accuracy {test['accuracy']:.4f} ({test['images']} images), "
                f"{config.epochs} epoch{'s' if config.epochs > 1 else ''} in {history.train_seconds:.0f} s -> {folder}"
            )


def new_run(config: DictConfig) -> tuple[Path, str]:
    """Where a run of its own making goes: below runs/, in a sweep below the sweep's folder."""
    name = f"{config.model.name}_{config.data.name}_seed{config.seed}"
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN:
        return Path(hydra_config.sweep.dir), name
    return ROOT / "runs", f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"


if __name__ == "__main__":
    sys.exit(main())
