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
from .decode import to_pixels
from .splits import Images, Parts, fair_order

SHAPES = "(N, H, W), (N, H, W, 1) or (N, H, W, 3)"


def read_parts(title: str, file: Path, image_size: tuple[int, int] | None, seed: int) -> tuple[DatasetInfo, Parts]:
    """Read the arrays, and resize the images to `image_size` (height, width); None keeps their size.

    Images are uint8 (N, H, W) or (N, H, W, C), labels whole numbers (N,) from 0. `classes` holds the names of the
    classes; without it they are named by their numbers. `seed` decides the order. Raises DataError for anything else,
    for a class without images, for arrays that would not fit into memory, and for pickled objects, which are not read.
    """
    arrays = _load(file)
    prefixes = {part: f"{part}_" for part in Parts._fields if f"{part}_images" in arrays}
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
            where = f" in {part}_labels" if len(found) > 1 else ""
            raise DataError(f"{file} has the label {worst}{where}, expected 0 to {len(classes) - 1}.")
        order = fair_order([f"{part}/{index}" for index in range(len(labels))], labels.tolist(), seed)
        parts[part] = Images(_pixels(images, order, image_size), torch.from_numpy(labels[order]))
    height, width = parts["train"].images.shape[2:]
    return DatasetInfo(title, classes, (height, width)), Parts(**parts)


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
    except IsADirectoryError:
        raise DataError(f"{file} is a folder, expected a .npz file. For a folder of images take data=folder.") from None
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
    """Return images, uint8 (N, H, W, C), and labels, int64 (N,)."""
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
    return images, labels.astype(np.int64)


def _classes(arrays: dict[str, np.ndarray], labels: np.ndarray, file: Path) -> tuple[str, ...]:
    """Return the names of the classes. Raises DataError for a class without a training image."""
    if "classes" in arrays:
        if arrays["classes"].ndim != 1 or arrays["classes"].dtype.kind not in "US":
            raise DataError(f"{file} has classes {arrays['classes'].dtype}, expected an array of names.")
        names = arrays["classes"]
        classes = tuple(map(str, np.char.decode(names, "utf-8", "replace") if names.dtype.kind == "S" else names))
    elif labels.max() >= len(labels):
        raise DataError(f"{file} has the label {labels.max()} but {len(labels)} training images: a class has none.")
    else:
        classes = tuple(map(str, range(max(0, int(labels.max())) + 1)))
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise DataError(f"{file} has {len(set(classes))} classes, expected 2 or more, each with a name of its own.")
    counts = np.bincount(labels[(labels >= 0) & (labels < len(classes))], minlength=len(classes))
    if not counts.all():
        raise DataError(f"{file} has no training image of the class {classes[counts.argmin()]!r}.")
    return classes


def _pixels(images: np.ndarray, order: list[int], size: tuple[int, int] | None) -> torch.Tensor:
    """Return the images (N, H, W, C), in this order and resized to (height, width), as (N, C, height, width)."""
    channels, size = images.shape[3], size or images.shape[1:3]
    pixels = np.empty((len(order), channels, *size), np.uint8)
    for index, source in enumerate(order):
        image = images[source] if channels == 3 else images[source, :, :, 0]
        pixels[index] = to_pixels(Image.fromarray(image), channels, size)
    return torch.from_numpy(pixels)
