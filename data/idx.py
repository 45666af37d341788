"""Read and check IDX files, the format of MNIST: a magic number, the dimensions, then the bytes of an array."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from .datasets import DataError

UNSIGNED_BYTE = 0x08  # the format's code for the element type


def read(path: Path, shape: tuple[int, ...], sha256: str) -> Tensor:
    """Read the uint8 tensor of `shape` from the IDX file `path`, or from `path` + ".gz" if `path` does not exist.

    Raises DataError unless the file has that shape, nothing after the array, and this SHA-256 (of all its decompressed
    bytes). At most one byte more than expected is decompressed.
    """
    header = struct.pack(f">HBB{len(shape)}I", 0, UNSIGNED_BYTE, len(shape), *shape)
    size = len(header) + math.prod(shape)
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

    start = bytes(content[: len(header)])
    if len(start) < len(header):
        raise DataError(f"{found} is too short: {len(content)} bytes, expected {size}{WHAT_NEXT}")
    if start[:4] != header[:4]:
        raise DataError(
            f"{found} is not this IDX file: magic {start[:4].hex()}, expected {header[:4].hex()}{WHAT_NEXT}"
        )
    if start != header:
        dimensions = struct.unpack(f">{len(shape)}I", start[4:])
        raise DataError(f"{found} has the shape {dimensions}, expected {shape}{WHAT_NEXT}")
    if len(content) != size:
        length = "more" if len(content) > size else f"{len(content)}"
        raise DataError(f"{found} has the wrong length: {length} bytes, expected {size}{WHAT_NEXT}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise DataError(f"{found} is not the official file: SHA-256 {digest}, expected {sha256}{WHAT_NEXT}")
    return torch.frombuffer(content, dtype=torch.uint8, offset=len(header)).view(shape)


WHAT_NEXT = ". Leave data.root out to use the bundled copy, or restore it with git."
