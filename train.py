"""Train one network, test it once, and leave a run folder. `python train.py --help` says how."""

import gc
import logging
import os
import signal
import sys
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # Ctrl-C ends an import without a traceback; main answers for it later
    signal.signal(signal.SIGINT, signal.SIG_DFL)
os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # a wrong command is explained here, not by Hydra

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from training import command_line, errors, processes, resuming, settings, sweep

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from data.batches import Preparation
    from data.splits import Splits
    from training.history import History
    from training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parent
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
outcomes: list[sweep.Outcome] = []  # of the jobs: Hydra does not hand back what they return


def main() -> int:
    outcomes.clear()
    processes.settle_in()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    previous = signal.signal(signal.SIGTERM, terminate)
    started: sweep.Sweep | None = None
    error: BaseException | None = None
    try:
        sys.argv[1:], started = command_line.complete(sys.argv[1:], ROOT / "runs")
        if started:  # a launcher may run its jobs in other processes, from any folder
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        job()
    except ValueError as refused:  # Hydra's own, of an override it can make nothing of
        error = errors.SettingsError(refused)
    except (Exception, KeyboardInterrupt, errors.Interrupted) as raised:
        error = raised
    finally:
        signal.signal(signal.SIGTERM, previous)
    if started:
        try:
            sweep.finish(started, outcomes)
        except (Exception, KeyboardInterrupt) as raised:
            error = error or raised
    if isinstance(error, KeyboardInterrupt | errors.Interrupted):
        error = errors.interruption(error, started.folder if started else None)
    if error:
        return answer(error)[0]
    return max((outcome.status for outcome in outcomes), default=0)


def terminate(*_: object) -> None:
    raise errors.Interrupted("stopped by SIGTERM", 128 + signal.SIGTERM)


@hydra.main(version_base="1.3", config_path=str(ROOT / "configs"), config_name="train")
def job(config: DictConfig) -> None:
    """One run. It answers for its own errors, so that a sweep goes on to its next job."""
    hydra_config = HydraConfig.get()
    name, status, message = command_line.job_name(config, hydra_config.job.override_dirname), 0, ""
    try:
        if hydra_config.mode == RunMode.MULTIRUN:
            print(f"job {hydra_config.job.num + 1}: {name}")
            path = Path(hydra_config.sweep.dir) / name
            config["resume" if resuming.is_run(path) else "run_dir"] = str(path)
        status = train(config)
    except Exception as error:
        status, message = answer(error)
    outcomes.append(sweep.Outcome(name, status, message))
    if hydra_config.runtime.choices["hydra/launcher"] != "basic":
        outcomes[-1].leave(Path(hydra_config.sweep.dir))
    if hydra_config.mode == RunMode.MULTIRUN:
        if status > 128:  # of processes of its own: with them the sweep ends
            raise errors.Interrupted(f"stopped by {signal.Signals(status - 128).name}", status)
        gc.collect()  # a trainer and its parts hold each other; the next job may need their memory


def answer(error: BaseException) -> tuple[int, str]:
    if isinstance(error, HydraException | OmegaConfBaseException):
        error = command_line.explain(error, ROOT / "configs")
    return errors.report(error)


def start(config: DictConfig) -> int:
    """The same run in processes of its own."""
    arguments = sys.argv[1:]
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        folder = "resume" if config.resume else "run_dir"
        arguments = [*HydraConfig.get().overrides.task, f"{folder}={command_line.quote(config[folder])}"]
    return processes.start(arguments, config.trainer.devices)


def train(config: DictConfig) -> int:
    """The exit status."""
    plain = settings.check(OmegaConf.to_container(config, resolve=True))
    if config.resume:
        resuming.check_unchanged(Path(config.resume), plain)
        if message := resuming.finished(Path(config.resume), config.epochs):
            print(message)
            return 0
    ddp = plain["trainer"].get("strategy") == "ddp"
    if ddp and not processes.place():
        return start(config)

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # torchmetrics imports it; it may list the fonts then

    # Only now what takes seconds to import.
    import torch
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    from data.batches import Preparation
    from models import cards
    from models.weights import initialize_from
    from training import checkpoints, machine, terminal
    from training.agreement import Agreement
    from training.classification import Classification, parameter_groups
    from training.compilation import Compilation
    from training.data_module import DeviceBatches
    from training.history import History, log
    from training.interruption import Interruption
    from training.profiling import NoProfiler
    from training.run_folder import OthersFolder, RunFolder
    from training.selection import BestNetwork

    config.trainer.accelerator = machine.choose_accelerator(config.trainer.accelerator)
    torch.manual_seed(config.seed)
    splits = instantiate(config.data, _convert_="all")
    network = instantiate(config.model, _convert_="all")
    config.precision = machine.choose_precision(config.precision, config.trainer.accelerator, network)
    if config.weights and not (config.resume and checkpoints.any_saved(Path(config.resume) / "checkpoints")):
        arguments: Any = OmegaConf.to_container(config.model, resolve=True)
        initialize_from(network, arguments, cards.read(config.weights))
    optimizer = instantiate(config.optimizer, _convert_="all")
    scheduler = instantiate(config.scheduler, _convert_="all")
    probe = torch.nn.Linear(1, 1)
    probe(torch.ones(1, 1)).backward()
    try:  # an argument that torch refuses shows before anything is written
        trial = optimizer(parameter_groups(probe))
        trial.step()
        scheduler(trial, epochs=config.epochs, steps_per_epoch=1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise errors.SettingsError(f"optimizer or scheduler: {str(error).splitlines()[0]}") from error

    parameters = sum(parameter.numel() for parameter in network.parameters())
    size = checkpoints.BYTES_PER_PARAMETER * (checkpoints.KEPT + 2) * parameters
    peers = processes.join(config.trainer.accelerator) if ddp else processes.ALONE
    if peers.rank:
        run_folder = OthersFolder(peers.from_first(None))
    elif config.resume:
        run_folder = RunFolder(Path(config.resume))
    else:
        run_folder = RunFolder.claim(
            config.run_dir, ROOT / "runs", f"{command_line.now()}_{command_line.job_name(config)}", size
        )
    if not peers.rank:
        peers.from_first(run_folder.path)
    with peers, run_folder as folder, terminal.lines_to(folder.path / "train.log", silent=peers.rank > 0):
        resumes = config.resume and not peers.rank
        checkpoint = peers.from_first(checkpoints.newest(folder.path / "checkpoints") if resumes else None)
        config.run_dir, config.resume = str(folder.path), None
        folder.write(".hydra/overrides.yaml", OmegaConf.to_yaml(HydraConfig.get().overrides.task))
        folder.write("config.yaml", OmegaConf.to_yaml(config, resolve=True))  # from here on it can be resumed
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
                "processes": peers.world,
                "device": machine.describe_device(config.trainer.accelerator),
                "machine": machine.describe_machine(config.trainer.accelerator),
                "precision": config.precision,
                "compile": config.compile,
                "versions": machine.versions(),
            },
        )
        with history, Interruption(folder.path, peers) as interruption:
            on_terminal = sys.stdout.isatty()
            best = BestNetwork() if config.select == "best" else None
            compilation = Compilation() if config.compile else None
            trainer = instantiate(
                config.trainer,
                max_epochs=config.epochs,
                precision=config.precision,
                gradient_clip_val=config.gradient_clip,
                logger=logger,
                callbacks=[
                    *([Agreement(peers)] if ddp else []),
                    history,
                    interruption,
                    *([best] if best else []),
                    *([compilation] if compilation else []),
                    checkpoints.Checkpoints(folder.path / "checkpoints", config.checkpoint.every_minutes, peers),
                    *([terminal.ProgressBar()] if on_terminal else []),
                ],
                profiler=NoProfiler(),
                plugins=[checkpoints.CheckpointFiles(), *([TorchElasticEnvironment()] if ddp else [])],
                default_root_dir=folder.path,
                enable_progress_bar=on_terminal,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
            task = Classification(network, optimizer, scheduler, **config.loss, ema=config.ema)
            batches = DeviceBatches(splits, prepare, config.batch_size, config.seed)
            with peers.noticing_a_loss(folder.path):
                trainer.fit(task, datamodule=batches, ckpt_path=checkpoint, weights_only=True)
            peers.leave()
            if peers.rank:
                return 0

            if best:
                best.restore(task.result)
            epoch = best.epoch if best else config.epochs
            weights, figures, logits = test(config, splits, task.result, epoch, prepare, trainer.strategy.root_device)
            folder.write("weights.safetensors", weights)
            history.record(
                **figures,
                epoch=epoch,
                compile_seconds=compilation.seconds if compilation else None,
                weights_sha256=sha256(weights).hexdigest(),
            )
            if config.report:
                write_report(config, folder, history, logits, splits)
            log.info(
                f"{config.model.name} on {config.data.name}: "
                f"test accuracy {figures['test']['accuracy']:.4f} ({figures['test']['images']} images), "
                f"{config.epochs} epoch{'s' if config.epochs > 1 else ''} in {history.train_seconds:.0f} s"
                f"{f', the best was epoch {epoch}' if best else ''} -> {folder}"
            )
    return 0


def write_report(
    config: DictConfig, folder: "RunFolder", history: "History", logits: "Tensor", splits: "Splits"
) -> None:
    """A page that cannot be made is said, and no more: the run has what it was for."""
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    overrides, metrics = list(HydraConfig.get().overrides.task), history.summary()
    try:
        from training import report

        page = report.render(resolved, overrides, metrics, history.rows, logits, splits.test, splits.facts.classes)
        folder.write("report.html", page)
    except Exception as error:
        failure = RuntimeError(f"report.html was not written: {error}")
        failure.__cause__ = error  # for REFZOO_DEBUG=1
        errors.report(failure)


def test(
    config: DictConfig,
    splits: "Splits",
    network: "nn.Module",
    epoch: int,
    prepare: "Preparation",
    device: "torch.device",
) -> "tuple[bytes, dict[str, Any], Tensor]":
    """The weights that are stored, those of `epoch`, their figures, and the logits (N, num_classes) of the test images.
    The test set is used here, once.
    """
    from models.weights import serialize
    from training import machine
    from training.evaluation import figures, logits_of

    logits = logits_of(network, splits.test, prepare, device)
    measured = {
        "val": figures(logits_of(network, splits.val, prepare, device), splits.val.labels) if splits.val else None,
        "test": figures(logits, splits.test.labels),
    }
    plain: Any = OmegaConf.to_container(config, resolve=True)
    card = {
        "data": config.data.name,
        "input": {"channels": 1, **asdict(prepare)},
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


if __name__ == "__main__":
    sys.exit(main())
