"""Train one network, test it once, and write a run folder. `python train.py --help` says how."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # Ctrl-C ends an import without a traceback; main handles it later
    signal.signal(signal.SIGINT, signal.SIG_DFL)
os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # a wrong command is explained here, not by Hydra

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launch import errors, flags, processes, settings, signals, threads
from launch.errors import Interrupted
from launch.imports import import_lightning
from launch.overrides import complete, explain, quote
from launch.resume import check_unchanged, finished_message, recorded_threads
from launch.run_dir import is_run, job_name, require_empty, validation_accuracy
from launch.sweep import Outcome, Sweep, read_outcomes
from reports import sweep_summary

ROOT = Path(__file__).resolve().parent
sys.path.append(str(Path.cwd()))  # for modules of the user's own, such as model._target_=my_networks.Tiny


def main() -> int:
    """Run the command line; return the exit status."""
    outcomes: list[Outcome] = []
    sweep: Sweep | None = None
    error: BaseException | None = None
    flags.prepare_streams()
    with signals.handling(signals.stop):
        try:
            if {"-h", "--help"} & set(sys.argv[1:]):
                from launch import help

                print(help.text(sys.argv[1:]))
                return 0
            processes.configure_worker()
            sys.argv[1:], sweep = complete(sys.argv[1:], ROOT / "runs")
            if sweep:  # a launcher may run its jobs in other processes, from any folder
                os.environ.update(sweep.environment())
                os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
            by_joblib = sweep and sweep.launcher() == "joblib"  # whose jobs get Ctrl-C themselves, and save
            with signals.ignored_ctrl_c() if by_joblib else nullcontext():
                hydra_job(outcomes, sweep and sweep.count())()
        except ValueError as refused:  # by Hydra, of an override that it cannot read
            error = errors.SettingsError(refused)
        except (Exception, Interrupted) as raised:
            error = raised
        try:
            if sweep:
                outcomes += sweep.collect()
                error = error or next((each.interrupted() for each in outcomes if each.status > 128), None)
                sweep.close(outcomes)
                sweep_summary.write(sweep, outcomes)
        except (Exception, Interrupted) as raised:
            error = error or raised
        if isinstance(error, Interrupted) and sweep and sweep.folder.exists():
            error.folder = sweep.folder
        return report(error)[0] if error else max((outcome.status for outcome in outcomes), default=0)


def report(error: BaseException) -> tuple[int, str]:
    """Print an error, one of Hydra's explained; return the exit status and the line."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        error = explain(error, ROOT / "configs")
    return errors.report(error, processes.rank())


def hydra_job(outcomes: list[Outcome], jobs: int | None) -> Callable[[], None]:
    """Return what Hydra calls for each of `jobs` jobs.

    It adds the job's outcome to `outcomes`: Hydra returns nothing. It returns the validation accuracy of a job of a
    sweep to Hydra's sweepers and callbacks.
    """

    @hydra.main(version_base="1.3", config_path=str(ROOT / "configs"), config_name="train")
    def job(config: DictConfig) -> float | None:
        hydra_config = HydraConfig.get()
        in_sweep = hydra_config.mode == RunMode.MULTIRUN
        launcher = hydra_config.runtime.choices["hydra/launcher"] if in_sweep else "basic"
        if launcher == "joblib" and any(each.status > 128 for each in read_outcomes(Path(hydra_config.sweep.dir))):
            return None  # a signal has stopped another job, and stops the sweep
        with signals.handling(signals.stop) if launcher == "joblib" else nullcontext():
            outcome = run_job(config, hydra_config, in_sweep, jobs)
        if launcher != "basic":
            outcome.send(Path(hydra_config.sweep.dir))
        else:
            outcomes.append(outcome)
        if launcher == "basic" and in_sweep and outcome.status > 128:
            raise outcome.interrupted()  # a signal has stopped the job, and stops the sweep
        gc.collect()  # a trainer and its parts refer to each other; the next job may need their memory
        finished = in_sweep and not outcome.status and not config.find_lr
        return validation_accuracy(Path(hydra_config.sweep.dir) / outcome.job) if finished else None

    return job


def run_job(config: DictConfig, hydra_config: Any, in_sweep: bool, jobs: int | None) -> Outcome:
    """Run one job and report its errors, so that a sweep continues with the next one."""
    name, overrides = job_name(config, hydra_config.job.override_dirname), list(hydra_config.overrides.task)
    arguments, folder = sys.argv[1:], {}
    if in_sweep:
        print(f"job {hydra_config.job.num + 1}{f' of {jobs}' if jobs else ''}: {name}")
        path = Path(hydra_config.sweep.dir) / name
        folder = {"resume" if is_run(path) else "run_dir": str(path)}
        arguments = [*overrides, *(f"{key}={quote(value)}" for key, value in folder.items())]
    try:
        return Outcome(name, train(settings.replace(config, folder), overrides, arguments), "")
    except Interrupted as error:
        if not in_sweep:
            raise
        return Outcome(name, error.status, str(error))
    except Exception as error:
        return Outcome(name, *report(error))


def train(config: DictConfig, overrides: list[str], arguments: list[str]) -> int:
    """Train as the read-only configuration says; return the exit status.

    `overrides` made the configuration, and `arguments` repeat this run on a command line of train.py.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    settings.check(plain)
    if config.resume:
        check_unchanged(Path(config.resume), plain)
        if message := finished_message(Path(config.resume), config.epochs):
            print(message)
            return 0
    elif config.run_dir and not processes.rank():
        require_empty(config.run_dir)
    if settings.is_ddp(config) and not processes.rank_info():
        return processes.start(arguments, config.trainer.devices)
    count = threads.given(config.threads, recorded_threads(Path(config.resume)) if config.resume else None)
    if not count and (count := threads.idle_cores()) < threads.cores():
        print(f"{count} of {threads.cores()} threads: other processes use this machine. threads= sets another number.")
    config = settings.replace(config, {"threads": count})

    if sys.stdout.isatty() and "torch" not in sys.modules:
        print("loading PyTorch and Lightning ...", flush=True)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it may list the fonts when it is imported
    if config.find_lr:
        return find_lr(config)
    with signals.deferred():
        import_lightning()  # which takes seconds
        from training.run import run

    run(config, overrides, ROOT / "runs", partial(write_report, overrides) if config.report else None)
    return 0


def find_lr(config: DictConfig) -> int:
    """Suggest a learning rate: print it, and draw a picture in the current folder."""
    with signals.deferred():
        import_lightning()
        from reports import lr_finder
        from training.lr_finder import range_test

    rates, losses = range_test(config)
    finding = lr_finder.read(rates, losses)
    print(lr_finder.text(finding, rates))
    kind = config.optimizer._target_.rpartition(".")[2]
    picture = Path(f"learning_rates_{Path(config.run_dir).name if config.run_dir else job_name(config)}.png")
    lr_finder.draw(finding, rates, losses, f"{config.model.name} on {config.data.name}, {kind}", picture)
    print(f"-> {picture}")
    return 0


def write_report(overrides: list[str], result: Any) -> None:
    """Write report.html. If it cannot be made, that is reported, but the run has succeeded."""
    try:
        with signals.deferred():
            from reports import run_report

        configuration: Any = OmegaConf.to_container(result.config, resolve=True)
        test, classes = result.splits.test, result.splits.info.classes
        page = run_report.render(
            configuration, overrides, result.metrics, result.rows, result.test_logits, test, classes
        )
        result.run_dir.write("report.html", page)
    except Exception as error:
        failure = RuntimeError(f"report.html was not written: {error}")
        failure.__cause__ = error  # for REFZOO_DEBUG=1
        errors.report(failure)


if __name__ == "__main__":
    sys.exit(main())
