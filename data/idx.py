"""Read and check the bundled data sets: IDX files, a magic number, the dimensions, then the bytes of an array."""

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .datasets import BUNDLED, IMAGE_SIZE, DataError, DatasetInfo
from .splits import Images, Parts

WHAT_NEXT = ". Leave data.root out to use the bundled copy, or restore it with git."
# The training images are put into this order; the first `val_size` of them are for validation. It is the order of the
# SHA-256 digests of "refzoo 0" .. "refzoo 59999", which can be computed again without any library's generator.
PERMUTATION = Path(__file__).with_name("permutation.npy")


def read_parts(info: DatasetInfo, root: Path) -> Parts:
    """Read the four files of a data set below `root`. Raises DataError as `read` does."""
    train, test = _read_part(info, root, "train", BUNDLED.train), _read_part(info, root, "t10k", BUNDLED.test or 0)
    order = torch.from_numpy(np.load(PERMUTATION).astype(np.int64))
    return Parts(Images(train.images[order], train.labels[order]), test=test)


def _read_part(info: DatasetInfo, root: Path, prefix: str, count: int) -> Images:
    raw = root / info.folder / "raw"
    images, labels = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    return Images(
        read(raw / images, (count, IMAGE_SIZE, IMAGE_SIZE), info.sha256[images]).unsqueeze(1),
        read(raw / labels, (count,), info.sha256[labels]).long(),
    )


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
