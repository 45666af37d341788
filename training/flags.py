"""The command line of the programs that take plain flags. Nothing here imports torch."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from models import did_you_mean

from . import atomic, errors

DEVICES = ("auto", "cpu", "cuda")


class Flags(argparse.ArgumentParser):
    """Raises SettingsError where argparse would print its usage and exit."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)

    def error(self, message: str) -> NoReturn:
        raise errors.SettingsError(f"{message}. --help shows the flags.")


def check(command: argparse.Namespace, **choices: Iterable[str]) -> None:
    """Raises SettingsError, with the nearest right one, where a flag that was given has none of its valid values."""
    for flag, valid in choices.items():
        value = getattr(command, flag)
        if value is not None and value not in valid:
            raise errors.SettingsError(f"there is no --{flag} {value!r}{did_you_mean(value, valid)}")


def output(word: str) -> str:
    """As an argument's type: a file that can be written, or - for standard output. Raises MachineError."""
    folder = Path(word).expanduser().absolute().parent
    if word != "-" and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise errors.MachineError(f"{word} cannot be written: {folder} is no folder, or is closed. Name another file.")
    return word


def write_json(word: str, content: Any) -> None:
    """To what `output` has accepted."""
    text = json.dumps(content, indent=2) + "\n"
    if word == "-":
        sys.stdout.write(text)
    else:
        atomic.write(Path(word).expanduser().absolute(), text.encode())


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
