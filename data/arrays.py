"""Read arrays from a .npz file: `images` and `labels`, or `train_images`, `train_labels`, `val_images` and so on."""

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from . import memory
from .datasets import DataError, DatasetInfo
from .decode import resize
from .splits import Images, Parts, fair_order

PARTS = ("train", "val", "test")
SHAPES = "(N, H, W), (N, H, W, 1) or (N, H, W, 3)"


def read_parts(title: str, file: Path, image_size: tuple[int, int] | None, seed: int) -> tuple[DatasetInfo, Parts]:
    """Read the arrays, and resize the images to `image_size` (height, width); None keeps their size.

    Images are uint8 (N, H, W) or (N, H, W, C), labels whole numbers (N,) from 0. `classes` holds the names of the
    classes; without it they are named by their numbers. `seed` decides the order. Raises DataError for anything else,
    for a class without images, for arrays that would not fit into memory, and for pickled objects, which are not read.
    """
    arrays = _load(file)
    prefixes = {part: f"{part}_" for part in PARTS if f"{part}_images" in arrays}
    if "train" not in prefixes:
        prefixes["train"] = ""
    found = {part: _images_and_labels(arrays, prefix, file) for part, prefix in prefixes.items()}
    classes = _classes(arrays, found["train"][1], file)
    shapes = {images.shape[1:] for images, _ in found.values()}
    if len(shapes) > 1:
        raise DataError(f"{file} has images of several shapes: {', '.join(map(str, sorted(shapes)))}.")
    parts = {}
    for part, (images, labels) in found.items():
        if labels.min() < 0 or labels.max() >= len(classes):
            worst = labels.min() if labels.min() < 0 else labels.max()
            raise DataError(f"{file} has the label {worst} in {part}, expected 0 to {len(classes) - 1}.")
        order = fair_order([f"{part}/{index}" for index in range(len(labels))], labels.tolist(), seed)
        parts[part] = Images(torch.from_numpy(_resized(images[order], image_size)), torch.from_numpy(labels[order]))
    height, width = parts["train"].images.shape[2:]
    return DatasetInfo(title, classes, (height, width), mean=(), std=()), Parts(**parts)


def _load(file: Path) -> dict[str, np.ndarray]:
    what_next = "Write it with numpy.savez."
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(each.file_size for each in archive.infolist())
        memory.require(2 * size, f"the arrays of {file}")  # they are put into another order
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"there is no file {file}. Name a .npz file with data.root.") from None
    except zipfile.BadZipFile:
        raise DataError(f"{file} is damaged, or no .npz file. {what_next}") from None
    except ValueError as error:  # numpy's, of pickled objects among others
        why = "holds Python objects, which are not read" if "allow_pickle" in str(error) else f"is damaged ({error})"
        raise DataError(f"{file} {why}. {what_next}") from None
    except (OSError, EOFError, KeyError, MemoryError, NotImplementedError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({error}). {what_next}") from None
    if strange := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise DataError(f"{file} holds {strange[0]!r}, which is no array. {what_next}")
    return arrays


def _images_and_labels(arrays: dict[str, np.ndarray], prefix: str, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8 (N, C, H, W), and labels, int64 (N,)."""
    for name in (f"{prefix}images", f"{prefix}labels"):
        if name not in arrays:
            raise DataError(f"{file} has no array {name!r}, only {', '.join(sorted(arrays)) or 'none'}.")
    images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not math.prod(images.shape):
        found = f"{images.dtype} {arrays[f'{prefix}images'].shape}"
        raise DataError(f"{file} has {prefix}images {found}, expected uint8 {SHAPES}.")
    if labels.ndim == 2 and labels.shape[1] == 1:  # as in MedMNIST's files
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        found = f"{labels.dtype} {labels.shape}"
        raise DataError(f"{file} has {prefix}labels {found}, expected a whole number for each of {len(images)} images.")
    return images.transpose(0, 3, 1, 2), labels.astype(np.int64)


def _classes(arrays: dict[str, np.ndarray], labels: np.ndarray, file: Path) -> tuple[str, ...]:
    """Return the names of the classes. Raises DataError for a class without a training image."""
    if "classes" in arrays:
        if arrays["classes"].ndim != 1 or arrays["classes"].dtype.kind not in "US":
            raise DataError(f"{file} has classes {arrays['classes'].dtype}, expected an array of names.")
        classes = tuple(each.decode() if isinstance(each, bytes) else str(each) for each in arrays["classes"])
    else:
        classes = tuple(map(str, range(max(0, int(labels.max())) + 1)))
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise DataError(f"{file} has {len(set(classes))} classes, expected 2 or more, each with a name of its own.")
    counts = np.bincount(labels[(labels >= 0) & (labels < len(classes))], minlength=len(classes))
    if not counts.all():
        raise DataError(f"{file} has no training image of the class {classes[counts.argmin()]!r}.")
    return classes


def _resized(images: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Resize images (N, C, H, W) to (height, width), a channel at a time."""
    if size is None or images.shape[2:] == size:
        return np.ascontiguousarray(images)
    resized = np.empty((*images.shape[:2], *size), np.uint8)
    for index in np.ndindex(*images.shape[:2]):
        resized[index] = np.asarray(resize(Image.fromarray(np.ascontiguousarray(images[index])), size))
    return resized
