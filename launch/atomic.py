"""Write a file so that a reader, or a process that dies, leaves either the old or the new one complete."""

import contextlib
import os
from pathlib import Path


def write(path: Path, content: bytes | memoryview) -> None:
    """Replace the file at `path`. Raises OSError; the old file is then unchanged, and no partial one remains."""
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
    if os.name == "posix":  # Windows cannot open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # so that the new name survives a power cut
        finally:
            os.close(folder)
