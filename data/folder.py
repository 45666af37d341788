"""Read image files from a folder for each class: <root>/<class>/*.png, or <root>/train/<class>/*.png and so on."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from . import memory
from .datasets import DataError, DatasetInfo
from .decode import decode, is_grey, look, quietly, read_file, to_pixels
from .splits import Images, Parts, fair_order

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
Result = TypeVar("Result")


class ImageFile(NamedTuple):
    path: Path
    label: int


def read_parts(title: str, root: Path, image_size: tuple[int, int] | None, seed: int) -> tuple[DatasetInfo, Parts]:
    """Read all images, in colour if one of them is, and resize them to `image_size` (height, width).

    None keeps their size, which must then be the same for all. `seed` decides the order. Raises DataError for a class
    without images, a damaged file, and images that would not fit into memory.
    """
    folders = _class_folders(root)
    classes = tuple(folders["train"])
    if len(classes) < 2:
        raise DataError(f"{root} has {len(classes)} folders of classes, expected {root}/<class>/<image> for 2 or more.")
    files = {part: _fair(list(_files(root, part, of_class, classes)), root, seed) for part, of_class in folders.items()}
    paths = [file.path for part in files.values() for file in part]
    found, channels = _examine(paths, any_size=image_size is not None)
    size = image_size or found
    memory.require(len(paths) * channels * size[0] * size[1], f"the {len(paths)} images of {root}")
    parts = {part: _read(chosen, channels, size) for part, chosen in files.items()}
    return DatasetInfo(title, classes, size), Parts(**parts)


def _class_folders(root: Path) -> dict[str, dict[str, Path]]:
    """Return the folder of each class for each part: train/, val/ and test/; where there is no train/, `root` is it."""
    if not root.is_dir():
        raise DataError(f"there is no folder {root}. Name one with data.root, with a sub-folder for each class.")
    here = _subfolders(root)
    parts = {part: inside for part in Parts._fields if part in here and (inside := _subfolders(here[part]))}
    if loose := next((here[name] for name in ("val", "test") if name in here and name not in parts), None):
        raise DataError(
            f"{loose} has no folders of classes, expected {loose}/<class>/<image>. Sort its images, or move it."
        )
    return {"train": {name: path for name, path in here.items() if name not in parts}, **parts}


def _subfolders(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."}


def _files(root: Path, part: str, folders: dict[str, Path], classes: tuple[str, ...]) -> Iterator[ImageFile]:
    """List the image files of a part. Raises DataError for a class without any, or one that train/ lacks."""
    for name, folder in folders.items():
        if name not in classes:
            raise DataError(f"{root}/{part} has a class {name!r} that {root}/train lacks.")
        found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        files = sorted(path for path in found if not any(name[0] == "." for name in path.relative_to(folder).parts))
        if not files:
            raise DataError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}). Remove the class or fill it.")
        yield from (ImageFile(path, classes.index(name)) for path in files)


def _fair(files: list[ImageFile], root: Path, seed: int) -> list[ImageFile]:
    names = [file.path.relative_to(root).as_posix() for file in files]
    return [files[index] for index in fair_order(names, [file.label for file in files], seed)]


def _examine(paths: list[Path], any_size: bool) -> tuple[tuple[int, int], int]:
    """Return the size (height, width) of the images, and 3 channels if one of them is in colour."""
    sizes, channels = {}, 1
    with quietly():
        for path in paths:
            mode, size = _named(path, look, path)
            channels = channels if is_grey(mode) else 3
            sizes.setdefault(size, path)
            if len(sizes) > 1 and not any_size:
                these = " and ".join(f"{path} ({wide} x {high})" for (high, wide), path in sizes.items())
                raise DataError(f"images differ in size: {these}. Give image_size to resize all of them.")
    return next(iter(sizes)), channels


def _read(files: list[ImageFile], channels: int, size: tuple[int, int]) -> Images:
    """Decode the files, several at a time: Pillow works without the interpreter's lock."""
    images = np.empty((len(files), channels, *size), np.uint8)

    def read(index: int) -> None:
        path = files[index].path
        content = _named(path, read_file, str(path))
        images[index], _ = _named(path, decode, content, lambda image: to_pixels(image, channels, size))

    with quietly(), ThreadPoolExecutor() as threads:
        list(threads.map(read, range(len(files))))
    return Images(torch.from_numpy(images), torch.tensor([file.label for file in files]))


def _named(path: Path, read: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of `decode`, whose errors do not name the file."""
    try:
        return read(*arguments)
    except DataError as error:
        raise DataError(f"{path} {error}") from None
