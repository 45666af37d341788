"""Train one network, test it once, and leave a run folder. `python train.py --help` says how."""

import gc
import logging
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C ends an import without a traceback; main answers for it later
    signal.signal(signal.SIGINT, signal.SIG_DFL)
os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # a wrong command is explained here, not by Hydra

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launch import errors, flags, processes, settings, sweep
from launch.overrides import complete, explain, job_name, quote
from launch.resume import check_unchanged, finished, is_run
from reports import sweep_summary

ROOT = Path(__file__).resolve().parent
outcomes: list[sweep.Outcome] = []  # of the jobs: Hydra does not hand back what they return


def main() -> int:
    outcomes.clear()
    flags.prepare_streams()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    previous = signal.signal(signal.SIGTERM, terminate)
    started: sweep.Sweep | None = None
    error: BaseException | None = None
    try:
        processes.configure_worker()
        sys.argv[1:], started = complete(sys.argv[1:], ROOT / "runs")
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
            sweep_summary.finish(started, outcomes)
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
    name, status, message = job_name(config, hydra_config.job.override_dirname), 0, ""
    try:
        if hydra_config.mode == RunMode.MULTIRUN:
            print(f"job {hydra_config.job.num + 1}: {name}")
            path = Path(hydra_config.sweep.dir) / name
            config["resume" if is_run(path) else "run_dir"] = str(path)
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
        error = explain(error, ROOT / "configs")
    return errors.report(error)


def train(config: DictConfig) -> int:
    """The exit status, if nothing is raised."""
    plain = settings.check(OmegaConf.to_container(config, resolve=True))
    if config.resume:
        check_unchanged(Path(config.resume), plain)
        if message := finished(Path(config.resume), config.epochs):
            print(message)
            return 0
    if settings.is_ddp(config) and not processes.rank_info():
        return start_processes(config)

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # torchmetrics imports it; it may list the fonts then
    from training.run import run  # which takes seconds

    run(config, ROOT / "runs")
    return 0


def start_processes(config: DictConfig) -> int:
    """The same run in processes of its own; their exit status."""
    arguments = sys.argv[1:]
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        folder = "resume" if config.resume else "run_dir"
        arguments = [*HydraConfig.get().overrides.task, f"{folder}={quote(config[folder])}"]
    return processes.start(arguments, config.trainer.devices)


if __name__ == "__main__":
    sys.exit(main())
