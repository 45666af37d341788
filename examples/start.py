"""Begin an example: find the zoo, read the flags. Each example's first cell imports this file."""

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]  # of the repository
sys.path.append(str(ROOT))  # an example finds `models` and `data` from any folder, also as a notebook

from launch import errors, flags, signals

IN_NOTEBOOK = "ipykernel" in sys.modules
SIZES = {
    "quick": "a first look, in seconds",
    "default": "at most three minutes on two cores",
    "full": "the full tables, which take longer",
}


class Options(NamedTuple):
    size: str  # one of SIZES
    folder: Path  # for plots and tables; it exists

    def save(self, figure: "Figure", name: str) -> None:
        """Write a figure to `<name>.png` in the folder; a notebook shows it, too."""
        figure.savefig(self.folder / f"{name}.png", dpi=150)
        if not IN_NOTEBOOK:
            from matplotlib import pyplot

            pyplot.close(figure)


def read_flags(name: str, doc: str | None, *needs: str) -> Options:
    """Read the flags of the example `name`; in a notebook, take their defaults.

    `needs` are packages of the extra "examples". Ends the process, with one line, if one is missing or a flag is wrong.
    """
    parser = flags.Flags(f"{name}.py", doc)
    sizes = parser.add_mutually_exclusive_group()
    for size in ("quick", "full"):
        sizes.add_argument(f"--{size}", action="store_const", dest="size", const=size, help=SIZES[size])
    default = ROOT / "runs" / "examples" / name
    parser.add_argument("--output", metavar="DIR", type=Path, default=default, help=f"default: runs/examples/{name}")
    parser.set_defaults(size="default")
    if not IN_NOTEBOOK:
        flags.prepare_streams()
        signals.install(flags.stop)
        if os.name == "posix":
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end without a traceback when a reader stops: | head
    try:
        command = parser.parse_args([] if IN_NOTEBOOK else None)
        if missing := [package for package in needs if find_spec(package) is None]:
            raise errors.MachineError(
                f"{name} needs {', '.join(missing)}. Run it with: uv run --extra examples examples/{name}.py"
            )
        try:
            folder = command.output.expanduser()
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError) as error:  # an unknown ~user is a RuntimeError
            raise errors.MachineError(
                f"{command.output} cannot be made ({getattr(error, 'strerror', error)}). Name another folder."
            ) from None
    except Exception as error:
        stop(error)
    return Options(command.size, folder)


def stop(error: Exception) -> NoReturn:
    """End the process with the one line and the exit status of an error."""
    sys.exit(errors.report(error)[0])
