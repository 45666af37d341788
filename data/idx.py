"""Read and check IDX files, the format of MNIST: a magic number, the dimensions, then the bytes of an array."""

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from .datasets import DataError

WHAT_NEXT = ". Leave data.root out to use the bundled copy, or restore it with git."


def read(path: Path, shape: tuple[int, ...], sha256: str) -> Tensor:
    """Read the uint8 tensor of `shape` from the IDX file `path`, or from `path` + ".gz" if `path` does not exist.

    Raises DataError unless the file has the right length and this SHA-256 (of all its decompressed bytes, so that the
    header needs no other check). At most one byte more than expected is decompressed.
    """
    header = 4 + 4 * len(shape)  # bytes
    size = header + math.prod(shape)
    packed = path.with_name(path.name + ".gz")
    found = packed
    try:
        found = path if path.exists() else packed
        with path.open("rb") if found is path else gzip.open(packed, "rb") as stream:
            content = bytearray(stream.read(size + 1))  # the one byte more shows a file that is too long
    except FileNotFoundError:
        raise DataError(f"there is neither {path} nor {packed.name} beside it{WHAT_NEXT}") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{found} cannot be read ({error}){WHAT_NEXT}") from error
    if len(content) != size:
        length = "more" if len(content) > size else len(content)
        raise DataError(f"{found} has the wrong length: {length} bytes, expected {size}{WHAT_NEXT}")
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError(f"{found} is not the official file: SHA-256 {digest}, expected {sha256}{WHAT_NEXT}")
    return torch.frombuffer(content, dtype=torch.uint8, offset=header).view(shape)
