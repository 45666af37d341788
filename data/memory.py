"""Refuse images that would not fit into memory, before they are read."""

from pathlib import Path

from .datasets import DataError

MEMINFO = Path("/proc/meminfo")  # Linux; elsewhere nothing is refused


def require(size: int, what: str) -> None:
    """Raise DataError if `size` bytes are more than this machine has left."""
    try:
        lines = MEMINFO.read_text(encoding="utf-8").splitlines()
        left = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return
    if size > left:
        raise DataError(
            f"{what} need {size / 1e9:.1f} GB of memory, this machine has {left / 1e9:.1f} GB left. "
            "Take a smaller image_size, or fewer images."
        )
