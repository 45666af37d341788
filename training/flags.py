"""The command line of the programs that take plain flags. Nothing here imports torch."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from . import atomic, errors


class Flags(argparse.ArgumentParser):
    """Raises SettingsError where argparse would print its usage and exit."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)

    def error(self, message: str) -> NoReturn:
        raise errors.SettingsError(f"{message}. --help shows the flags.")


def output(word: str) -> str:
    """As an argument's type: a file that can be written, or - for standard output. Raises MachineError."""
    folder = Path(word).expanduser().absolute().parent
    if word != "-" and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise errors.MachineError(f"{word} cannot be written: {folder} is no folder, or is closed. Name another file.")
    return word


def write(word: str, content: str) -> None:
    """To what `output` has accepted."""
    if word == "-":
        sys.stdout.write(content)
    else:
        atomic.write(Path(word).expanduser().absolute(), content.encode())


def run(program: Callable[[], int]) -> NoReturn:
    """End the process as the program ends."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(status_of(program))


def status_of(program: Callable[[], int]) -> int:
    """The program's exit status; whatever it raises is answered in one line."""
    try:
        return program()
    except KeyboardInterrupt:
        return errors.report(errors.Interrupted("stopped by SIGINT", 128 + signal.SIGINT))[0]
    except (Exception, errors.Interrupted) as error:
        return errors.report(error)[0]


def _terminate(*_: object) -> None:
    raise errors.Interrupted("stopped by SIGTERM", 128 + signal.SIGTERM)
