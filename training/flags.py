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
    """As an argument's type: a file that can be written, or - for standard output.

    Raises SettingsError for a folder, MachineError where nothing can be written.
    """
    path = Path(word).expanduser().absolute()
    if word != "-" and path.is_dir():
        raise errors.SettingsError(f"{word} is a folder. Name a file.")
    if word != "-" and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise errors.MachineError(f"{word} cannot be written: its folder is not there, or closed. Name another file.")
    return word


def write_json(word: str, content: Any) -> None:
    """To what `output` has accepted."""
    text, path = json.dumps(content, indent=2) + "\n", Path(word).expanduser().resolve()
    if word == "-":
        sys.stdout.write(text)
    elif path.exists() and not path.is_file():  # a pipe, a device: it is written to, not replaced
        path.write_text(text, encoding="utf-8")
    else:
        atomic.write(path, text.encode())


def run(program: Callable[[], int]) -> NoReturn:
    """End the process as the program ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    status = status_of(program)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def status_of(program: Callable[[], int]) -> int:
    """The program's exit status; whatever it raises is answered in one line."""
    try:
        return program()
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except (Exception, errors.Interrupted) as error:
        return errors.report(error)[0]


def _stop(number: int, _: object) -> NoReturn:
    """At once: an exception would be lost in some imports. Nothing is half-written, files are put in place whole."""
    os.write(2, f"refzoo: stopped by {signal.Signals(number).name}.\n".encode())
    os._exit(128 + number)
