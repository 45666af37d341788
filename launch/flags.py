"""The command line and the streams of the programs that take plain flags (all but train.py)."""

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

from . import atomic, errors, signals

DEVICES = ("auto", "cpu", "cuda")
RESULT_KEYS = {"as_recorded", "top", "error"}  # a file with one of these was written by --json of one of our programs
BROKEN_PIPE = 128 + 13  # the status of a process that SIGPIPE ended; Windows has no such signal


class Flags(argparse.ArgumentParser):
    """Raises SettingsError where argparse would print its usage and exit."""

    def __init__(self, prog: str, description: str | None, epilog: str | None = None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, None, description, epilog, formatter_class=formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise errors.SettingsError(f"{message}. --help shows the flags.")


def check(command: argparse.Namespace, **choices: Iterable[str]) -> None:
    """Raise SettingsError, with the nearest valid value, for a flag that has none of its valid values."""
    for flag, valid in choices.items():
        value = getattr(command, flag)
        if value is not None and value not in valid:
            raise errors.SettingsError(f"there is no --{flag} {value!r}{did_you_mean(value, valid)}")


def output(word: str) -> Path:
    """Return the absolute path of a file that can be written, with links followed.

    Raises SettingsError for what is not a file name, MachineError where nothing can be written.
    """
    try:
        path = Path(word).expanduser().resolve()
        if path.is_dir():
            raise errors.SettingsError(f"{word} is a folder. Name a file.")
        writable = path.parent.is_dir() and os.access(path.parent, os.W_OK)
    except (OSError, RuntimeError, ValueError) as error:  # a name that is too long, an unknown ~user, a null byte
        raise errors.SettingsError(f"{word!r} is not a file name ({error}). Name another file.") from None
    if not writable:
        raise errors.MachineError(
            f"{word} cannot be written: its folder does not exist or is read-only. Name another file."
        )
    return path


def write(path: Path, content: bytes) -> None:
    """Replace a file, or write to a pipe or a device. Raises MachineError, with an older file left unchanged."""
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            atomic.write(path, content)
    except OSError as error:
        raise errors.MachineError(
            f"{errors.shown(path)} cannot be written ({error.strerror}). Free some space or name another file."
        ) from None


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the flag --json [FILE]: None where it is not given, - for standard output, or what `write_json` takes."""
    help_text = f"write {what} as JSON to FILE, or to standard output (FILE omitted, or -)"
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", type=_json_output, help=help_text)


def write_json(word: str, content: Any) -> None:
    text = json.dumps(content, indent=2) + "\n"
    if word == "-":
        sys.stdout.write(text)
    else:
        write(output(word), text.encode())


def _json_output(word: str) -> str:
    """Raise SettingsError for a file that holds anything but earlier results: `--json a.png` names a picture."""
    if word != "-" and (path := output(word)).is_file() and path.stat().st_size:
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            found = None
        results = found if isinstance(found, list) else [found]
        if not all(isinstance(each, dict) and RESULT_KEYS & each.keys() for each in results):
            raise errors.SettingsError(
                f"--json {word} would replace a file that holds no results. Name another, or - for standard output."
            )
    return word


def prepare_streams() -> None:
    """Make writing safe: to a stream that is closed, and of a file name that the terminal's encoding lacks."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed: `>&-`
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):  # not one that a calling program put there
            stream.reconfigure(errors="backslashreplace")


def run(program: Callable[[], int]) -> NoReturn:
    """Run a program and end the process with its exit status."""
    prepare_streams()
    signals.install(stop)
    status = status_of(program)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def status_of(program: Callable[[], int]) -> int:
    """Return the program's exit status; report in one line whatever it raises."""
    try:
        return program()
    except BrokenPipeError:
        return BROKEN_PIPE
    except (Exception, errors.Interrupted) as error:
        return errors.report(error)[0]


def stop(number: int, _: object) -> NoReturn:
    """End the process at once: some imports would swallow an exception, and files are replaced whole anyway."""
    os.write(2, f"refzoo: stopped by {signal.Signals(number).name}.\n".encode())
    os._exit(128 + number)
