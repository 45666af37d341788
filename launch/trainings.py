"""Train recipes in processes of their own, several side by side, and show a line of progress for each."""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

from . import threads
from .processes import PROGRAM, ProcessGroup
from .run_dir import is_run
from .signals import handling

POLL = 0.5  # seconds between two looks at the processes


class Training:
    """Describe the run of a recipe with a seed, in `runs`/<recipe>/seed<n>. A run that has begun is resumed."""

    def __init__(self, recipe: str, seed: int, runs: Path) -> None:
        self.recipe, self.seed, self.folder = recipe, seed, runs / recipe / f"seed{seed}"
        self.name = self.folder.parent.name  # of its weights: gpu/lenet-mnist is another recipe for lenet-mnist
        self.is_begun = is_run(self.folder)
        self.status: int | None = None  # the exit status, once it has ended
        self.errors = ""  # what it wrote on standard error

    def __str__(self) -> str:
        return f"{self.recipe} seed {self.seed}"

    def command(self) -> list[str]:
        fresh = [f"recipe={self.recipe}", f"seed={self.seed}", f"run_dir={self.folder}"]
        return [sys.executable, str(PROGRAM), *([f"resume={self.folder}"] if self.is_begun else fresh)]

    def progress(self) -> tuple[int, int, str]:
        """Return the epochs done, all epochs (1 until they are known), and the last validation accuracy."""
        try:
            with (self.folder / "metrics.csv").open(encoding="utf-8") as file:
                rows: list[dict[str, Any]] = list(csv.DictReader(file))
            epochs = json.loads((self.folder / "metrics.json").read_bytes())["epochs"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 1, ""
        if not rows:
            return 0, epochs, ""
        accuracy = rows[-1]["val_accuracy"]
        return int(rows[-1]["epoch"]), epochs, f"validation {float(accuracy):.4f}" if accuracy else ""


def train(trainings: Iterable[Training], jobs: int) -> Generator[Training]:
    """Train, `jobs` at a time, and yield each training when it has ended.

    Raises Interrupted after Ctrl-C or SIGTERM, when all that were running have saved what they had.
    """
    group, waiting = ProcessGroup(), list(trainings)
    running: dict[subprocess.Popen[Any], tuple[Training, Path]] = {}
    environment = os.environ | threads.shared_by(jobs)
    with handling(group.forward), tempfile.TemporaryDirectory() as folder, Display() as display:
        try:
            while waiting or running:
                while waiting and len(running) < jobs and not group.received:
                    training = waiting.pop(0)
                    file = Path(folder, str(len(waiting)))
                    with file.open("w") as errors:
                        options: Any = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": errors}
                        process = group.start(training.command(), cwd=PROGRAM.parent, **options)
                    running[process] = training, file
                ended = [process for process in running if process.poll() is not None]
                for training, _ in running.values():
                    display.show(training)
                for process in ended:
                    training, file = running.pop(process)
                    training.status, training.errors = process.returncode, file.read_text()
                    display.close(training)
                    if not group.received:
                        yield training
                if group.received and not running:
                    raise group.interrupted()
                time.sleep(0 if ended else POLL)
        finally:
            for process in running:
                process.terminate()  # it saves its run
            for process in running:
                process.wait()


class Display:
    """Show a line per training: on a terminal redrawn, elsewhere printed after every epoch."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=12), MofNCompleteColumn())
        accuracy = (TextColumn("{task.fields[accuracy]}"), TimeRemainingColumn(compact=True))
        self.bars = Progress(*columns, *accuracy, console=console, disable=not console.is_terminal)
        self.tasks: dict[Training, Any] = {}
        self.done: dict[Training, int] = {}

    def __enter__(self) -> "Display":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def show(self, training: Training) -> None:
        done, epochs, accuracy = training.progress()
        if training not in self.tasks:
            self.tasks[training] = self.bars.add_task(str(training), total=epochs, accuracy="")
            self.done[training] = done  # by an earlier process
            self._print(f"{training}: {'resumes' if training.is_begun else 'begins'}")
        self.bars.update(self.tasks[training], total=epochs, completed=done, accuracy=accuracy)
        if done > self.done[training] and self.bars.disable:
            self._print(f"{training}: epoch {done}/{epochs}, {accuracy}")
        self.done[training] = done

    def close(self, training: Training) -> None:
        self.bars.remove_task(self.tasks[training])
        self._print(f"{training}: {'trained' if training.status == 0 else f'ended with status {training.status}'}")

    def _print(self, line: str) -> None:
        self.bars.console.print(line)
