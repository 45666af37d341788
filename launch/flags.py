"""The command line of the programs that take plain flags, and their streams. Nothing here imports torch."""

import argparse
import io
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
RESULTS = {"as_recorded", "top", "error"}  # keys by which what evaluate.py and predict.py wrote is known


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


def output(word: str) -> Path:
    """A file that can be written, links followed.

    Raises SettingsError for what is no name of a file, MachineError where nothing can be written.
    """
    try:
        path = Path(word).expanduser().resolve()
        if path.is_dir():
            raise errors.SettingsError(f"{word} is a folder. Name a file.")
        open_folder = path.parent.is_dir() and os.access(path.parent, os.W_OK)
    except (OSError, RuntimeError, ValueError) as error:  # a name that is too long, an unknown ~user, a null byte
        raise errors.SettingsError(f"{word!r} is no name of a file ({error}). Name another file.") from None
    if not open_folder:
        raise errors.MachineError(f"{word} cannot be written: its folder is not there, or closed. Name another file.")
    return path


def write(path: Path, content: bytes) -> None:
    """Raises MachineError, with an older file left as it was."""
    try:
        if path.exists() and not path.is_file():  # a pipe, a device: it is written to, not replaced
            path.write_bytes(content)
        else:
            atomic.write(path, content)
    except OSError as error:
        raise errors.MachineError(
            f"{errors.shown(path)} cannot be written ({error.strerror}). Free space or name another file."
        ) from None


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """The flag --json [FILE]: None where it is not given, - for standard output, or what `write_json` writes to."""
    help_text = f"write {what} to FILE, or to standard output, alone (also by -)"
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", type=_json_output, help=help_text)


def write_json(word: str, content: Any) -> None:
    text = json.dumps(content, indent=2) + "\n"
    if word == "-":
        sys.stdout.write(text)
    else:
        write(output(word), text.encode())


def _json_output(word: str) -> str:
    """Raises SettingsError for a file that holds anything but earlier results: `--json a.png` names a picture."""
    if word != "-" and (path := output(word)).is_file() and path.stat().st_size:
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            found = None
        results = found if isinstance(found, list) else [found]
        if not all(isinstance(each, dict) and RESULTS & each.keys() for each in results):
            raise errors.SettingsError(
                f"--json {word} would replace a file that holds no results. Name another, or - for standard output."
            )
    return word


def prepare_streams() -> None:
    """Nothing is lost because nobody listens, or because a file's name does not fit the terminal's alphabet."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed: `>&-`
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):  # no program's own, that calls us
            stream.reconfigure(errors="backslashreplace")


def run(program: Callable[[], int]) -> NoReturn:
    """End the process as the program ends."""
    prepare_streams()
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
