"""Writing a file so that whoever reads it, and whenever the process dies, finds the old or the new one whole."""

import contextlib
import os
from pathlib import Path


def write(path: Path, content: bytes | memoryview) -> None:
    """Raises OSError, with the old file left as it was and no partial one beside it."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, outlives a power cut
    finally:
        os.close(folder)
