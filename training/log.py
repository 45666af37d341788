"""Send the log of a run to the terminal, above the progress bar, and to train.log."""

import logging
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

log = logging.getLogger("refzoo")


def silence_lightning() -> None:
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")


def wrapped(*parts: str) -> str:
    """Join the parts of a line, or give each a line of its own on a terminal that is too narrow for one."""
    line = " ".join(parts)
    return line if not sys.stdout.isatty() or len(line) <= shutil.get_terminal_size().columns else "\n".join(parts)


@contextmanager
def log_to(file: Path, silent: bool = False) -> Iterator[None]:
    """Send the log to standard output and to `file`, or nowhere; silence Lightning's own messages."""
    silence_lightning()
    logging.raiseExceptions = False  # a closed terminal, or a pipe without a reader, ends no training
    if silent:
        yield
        return
    handlers = [logging.StreamHandler(sys.stdout), logging.FileHandler(file, encoding="utf-8")]
    handlers[1].setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = handlers
    try:
        with logging_redirect_tqdm([log]):
            yield
    except BaseException as error:
        log.handlers = handlers[1:]  # the program writes it on standard error
        log.info((str(error) or type(error).__name__).partition("\n")[0])
        raise
    finally:
        log.handlers = []
        for handler in handlers:
            handler.close()
