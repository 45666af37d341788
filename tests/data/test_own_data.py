"""Test own data: what is read from folders and arrays, how it is split, and that anything else is refused in a line."""

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import data
from data import DataError, memory
from data.splits import fair_order, mean_and_std

RANDOM = np.random.default_rng(0)


def random_pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: Any) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def fill(root: Path, classes: str = "ab", images: int = 10, shape: tuple[int, ...] = (12, 9, 3)) -> None:
    for name in classes:
        for index in range(images):
            save(root / name / f"{index}.png", random_pixels(*shape))


@pytest.fixture
def colour(tmp_path: Path) -> Path:
    fill(tmp_path / "colour", "abc", images=20)
    return tmp_path / "colour"


def read(root: Path, **options: Any) -> Any:
    return data.load("own", root, format="arrays" if root.suffix else "folder", **options)


def test_folder_equals_torchvisions_image_folder(colour: Path) -> None:
    splits, expected = read(colour), torchvision.datasets.ImageFolder(str(colour))
    assert splits.info.classes == tuple(expected.classes)
    assert splits.info.image_size == (12, 9)
    found = {
        image.numpy().tobytes(): int(label)
        for split in (splits.train, splits.val, splits.test)
        for image, label in zip(*split, strict=True)
    }
    assert found == {np.asarray(image).transpose(2, 0, 1).tobytes(): label for image, label in expected}
    assert [len(split.labels) for split in (splits.train, splits.val, splits.test)] == [43, 5, 12]


def test_mean_and_deviation_of_each_channel_are_those_of_the_training_images(colour: Path) -> None:
    splits = read(colour)
    pixels = splits.train.images.double() / 255
    assert splits.info.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), abs=1e-12)
    assert splits.info.std == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-12)
    mean, std = mean_and_std(torch.full((2, 1, 3, 3), 51, dtype=torch.uint8))
    assert (mean, std) == ((pytest.approx(0.2),), (pytest.approx(1 / 255),))


def test_images_are_grey_unless_one_of_them_has_colour(tmp_path: Path) -> None:
    fill(tmp_path / "grey", shape=(8, 8))
    assert read(tmp_path / "grey").train.images.shape[1:] == (1, 8, 8)
    save(tmp_path / "grey/b/10.png", random_pixels(8, 8, 3))
    assert read(tmp_path / "grey").train.images.shape[1:] == (3, 8, 8)


def test_images_of_every_kind_are_read(tmp_path: Path) -> None:
    """Compare with the same picture as an RGB image."""
    levels = np.tile(np.arange(0, 250, 25, dtype=np.uint8), (6, 1))
    image = Image.fromarray(levels)
    for kind, picture in {
        "grey.png": image,
        "palette.gif": image.convert("P"),
        "deep.png": Image.fromarray(levels.astype(np.uint16) * 257),
        "opaque.webp": image.convert("RGBA"),
        "turned.png": image.transpose(Image.Transpose.ROTATE_90),
    }.items():
        exif = Image.Exif()
        if kind == "turned.png":
            exif[0x0112] = 6  # to be turned clockwise
        (tmp_path / "a").mkdir(exist_ok=True)
        picture.save(tmp_path / "a" / kind, exif=exif, lossless=True)
    clear = np.dstack([levels, levels, levels, np.full_like(levels, 0)])
    save(tmp_path / "b/clear.png", clear)
    splits = read(tmp_path, test_size=1, val_size=0)
    every = torch.cat([splits.train.images, splits.test.images])
    labels = torch.cat([splits.train.labels, splits.test.labels])
    assert (every[labels == 1] == 255).all()
    for found in every[labels == 0]:
        assert (found.short() - torch.from_numpy(levels).short()).abs().max() <= 1


@pytest.mark.parametrize("parts", ["train", "train val", "train test", "train val test", "test"])
def test_parts_of_a_folder_are_kept(tmp_path: Path, parts: str) -> None:
    root, given = tmp_path / "own", tuple(parts.split())
    if "train" not in given:
        fill(root)
    for part in given:
        fill(root / part, images={"train": 10, "val": 3, "test": 4}[part])
    splits = read(root)
    counts = {
        ("train",): (14, 2, 4),
        ("train", "val"): (16, 6, 4),
        ("train", "test"): (18, 2, 8),
        ("train", "val", "test"): (20, 6, 8),
        ("test",): (18, 2, 8),
    }
    assert tuple(len(split.labels) for split in splits[1:]) == counts[given]
    if "test" in given:
        expected = {np.asarray(Image.open(path)).tobytes() for path in root.glob("test/*/*")}
        assert {image.permute(1, 2, 0).contiguous().numpy().tobytes() for image in splits.test.images} == expected


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ({}, (432, 48, 120)),
        ({"val_size": 0.2, "test_size": 100}, (400, 100, 100)),
        ({"val_size": 0}, (480, 0, 120)),
        ({"train_size": 60, "val_size": 30, "test_size": 0.5}, (60, 30, 300)),
    ],
)
def test_every_split_has_its_share_of_each_class(
    tmp_path: Path, sizes: dict[str, Any], counts: tuple[int, ...]
) -> None:
    labels = np.repeat(np.arange(3), [60, 180, 360])
    np.savez(tmp_path / "own.npz", images=random_pixels(600, 4, 4), labels=labels)
    splits = read(tmp_path / "own.npz", **sizes)
    assert splits.val is None or counts[1]
    for split, count in zip(splits[1:], counts, strict=True):
        if count:
            shares = split.labels.bincount(minlength=3) / count
            assert shares.tolist() == pytest.approx([0.1, 0.3, 0.6], abs=1.5 / count)
    seen = torch.cat([split.images.flatten(1) for split in splits[1:] if split is not None])
    assert len(seen.unique(dim=0)) == sum(counts)


def test_order_depends_on_the_seed_and_is_that_of_the_digests(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=random_pixels(60, 4, 4), labels=np.arange(60) % 2)
    one, same, other = (read(tmp_path / "own.npz", split_seed=seed).test.images for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    names = [f"image {index}" for index in range(9)]
    by_digest = sorted(range(9), key=lambda index: hashlib.sha256(f"7 image {index}".encode()).digest())
    assert fair_order(names, [0] * 9, seed=7) == by_digest
    without = [index for index in by_digest if index != 4]
    assert fair_order(names[:4] + names[5:], [0] * 8, seed=7) == [index - (index > 4) for index in without]


@pytest.mark.parametrize("suffix", ["", ".npz"])
def test_images_are_resized_as_pillow_does(tmp_path: Path, suffix: str) -> None:
    pixels = random_pixels(30, 10, 12)
    root = tmp_path / f"own{suffix}"
    if suffix:
        np.savez(root, images=pixels, labels=np.arange(30) % 2)
    else:
        for index, image in enumerate(pixels):
            save(root / "ab"[index % 2] / f"{index}.png", image)
    splits = read(root, image_size=(5, 9), val_size=0)
    assert splits.info.image_size == (5, 9)
    expected = {np.asarray(Image.fromarray(p).resize((9, 5), Image.Resampling.BILINEAR)).tobytes() for p in pixels}
    found = torch.cat([splits.train.images, splits.test.images])
    assert {image.numpy().tobytes() for image in found} == expected


@pytest.mark.parametrize("shape", [(40, 7, 5), (40, 7, 5, 1), (40, 7, 5, 3)])
@pytest.mark.parametrize("prefix", ["", "train_"])
def test_arrays_are_read_as_they_are(tmp_path: Path, shape: tuple[int, ...], prefix: str) -> None:
    images, labels = random_pixels(*shape), (np.arange(40) % 4).reshape(-1, 1)
    arrays = {f"{prefix}images": images, f"{prefix}labels": labels, "classes": np.array(["x", "y", "z", "w"])}
    if prefix:
        arrays |= {"test_images": images[:8], "test_labels": labels[:8, 0].astype(np.uint8)}
    np.savez_compressed(tmp_path / "own.npz", **arrays)
    splits = read(tmp_path / "own.npz")
    assert splits.info.classes == ("x", "y", "z", "w")
    wanted = images.reshape(40, 7, 5, -1).transpose(0, 3, 1, 2)
    expected = {image.tobytes(): index % 4 for index, image in enumerate(wanted)}
    for split in splits[1:]:
        for image, label in zip(*split, strict=True):
            assert expected[image.numpy().tobytes()] == int(label)
    assert len(splits.test.labels) == 8


def damage(file: Path, change: Callable[[bytes], bytes]) -> None:
    file.write_bytes(change(file.read_bytes()))


def break_folder(colour: Path, what: str) -> None:
    if what == "broken file":
        damage(colour / "b/3.png", lambda content: content[: len(content) // 2])
    elif what == "text":
        (colour / "b/3.png").write_text("no image")
    elif what == "empty class":
        (colour / "d").mkdir()
    elif what == "sizes":
        save(colour / "c/20.png", random_pixels(13, 9, 3))
    elif what == "unknown class":
        fill(colour / "train", "ab")
        fill(colour / "val", "ax")
    elif what == "one class":
        for name in "bc":
            (colour / name).rename(colour / f".{name}")
    elif what == "bomb":
        content = io.BytesIO()
        Image.new("1", (30_000, 30_000)).save(content, "PNG")
        (colour / "a/3.png").write_bytes(content.getvalue())


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("broken file", r"b/3\.png is damaged"),
        ("text", r"b/3\.png is not an image"),
        ("empty class", "/d holds no images"),
        ("sizes", r"differ in size: \S+/\w/\d+\.png \(9 x 1[23]\) and \S+/\w/\d+\.png \(9 x 1[23]\)\. Give image_size"),
        ("unknown class", "/val has a class 'x' that .*/train lacks"),
        ("one class", "has 1 folders of classes, expected .* for 2 or more"),
        ("bomb", r"a/3\.png has more than 67,108,864 pixels"),
    ],
)
def test_folder_that_cannot_be_used_is_refused(colour: Path, what: str, says: str) -> None:
    break_folder(colour, what)
    with pytest.raises(DataError, match=says):
        read(colour)
    if what == "sizes":
        assert read(colour, image_size=(8, 8)).train.images.shape[1:] == (3, 8, 8)


def test_hidden_images_and_those_beside_the_classes_are_not_read_and_nested_ones_are(tmp_path: Path) -> None:
    colour = np.full((4, 4, 3), 7, np.uint8)
    for name in ("a/1.png", "a/deeper/2.png", "b/1.png", "b/2.png", "a/.cache/3.png", "b/.4.png", "5.png", ".c/6.png"):
        save(tmp_path / name, colour)
    splits = read(tmp_path, test_size=1, val_size=1)
    assert splits.info.classes == ("a", "b")
    assert sum(len(part.labels) for part in splits[1:]) == 4


def test_loose_images_in_test_are_no_class(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "test/1.png"):
        save(tmp_path / name, np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="test has no folders of classes"):
        read(tmp_path)


def test_turned_and_floating_point_images(tmp_path: Path) -> None:
    """The size in a header is that of the upright image; the range of floating point numbers is not known."""
    for of_class in "ab":
        save(tmp_path / of_class / "upright.png", np.zeros((6, 4), np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 8
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / of_class / "turned.jpg", exif=exif)
    assert read(tmp_path, test_size=1, val_size=1).info.image_size == (6, 4)
    Image.fromarray(np.zeros((6, 4), np.float32)).save(tmp_path / "a/float.tiff")
    with pytest.raises(DataError, match="floating point"):
        read(tmp_path, test_size=1, val_size=1)


def test_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nothing\. Name one with data\.root"):
        read(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"there is no file .*nothing\.npz\. Name a \.npz file"):
        read(tmp_path / "nothing.npz")


IMAGES, LABELS = np.zeros((6, 4, 4), np.uint8), np.arange(6) % 3


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": IMAGES}, "has no array 'labels', only images"),
        ({"x": IMAGES}, "has no array 'images', only x"),
        ({"images": IMAGES.astype(np.float32), "labels": LABELS}, r"has images float32 \(6, 4, 4\), expected uint8"),
        ({"images": IMAGES[0], "labels": LABELS}, r"has images uint8 \(4, 4\), expected uint8 \(N, H, W\)"),
        ({"images": np.zeros((6, 4, 4, 2), np.uint8), "labels": LABELS}, "expected uint8"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "expected uint8"),
        ({"images": IMAGES, "labels": LABELS[:5]}, r"has labels int64 \(5,\), expected a whole number for each of 6"),
        ({"images": IMAGES, "labels": LABELS * 0.5}, "has labels float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, "has the label -1, expected 0 to 1"),
        (
            {"images": IMAGES, "labels": LABELS, "classes": np.array(["a", "b"])},
            "has the label 2, expected 0 to",
        ),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array(list("abcd"))}, "no training image of the class 'd'"),
        ({"images": IMAGES, "labels": LABELS * 2}, "no training image of the class '1'"),
        ({"images": IMAGES, "labels": LABELS * 0}, "has 1 classes, expected 2 or more"),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array(["a", "b", "a"])}, "has 2 classes"),
        ({"images": IMAGES, "labels": LABELS, "classes": np.arange(3)}, "expected an array of names"),
        ({"images": IMAGES, "labels": np.array([{}] * 6)}, "holds Python objects, which are not read"),
        (
            {"train_images": IMAGES, "train_labels": LABELS, "val_images": IMAGES[:, :3], "val_labels": LABELS},
            "images of several shapes",
        ),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataError, match=says):
        read(tmp_path / "own.npz")


def flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("change", [lambda content: content[:500], lambda _: b"", lambda _: b"no zip", flip_a_bit])
def test_damaged_archive_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    np.savez_compressed(tmp_path / "own.npz", images=random_pixels(60, 8, 8), labels=np.arange(60) % 2)
    damage(tmp_path / "own.npz", change)
    with pytest.raises(DataError, match=r"own\.npz (is damaged|cannot be read)"):
        read(tmp_path / "own.npz")


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("images.npy", f"cpathlib\nPath\n(V{marker}\ntR.".encode())
        archive.writestr("labels.npy", f"cos\nsystem\n(Vtouch {marker}\ntR.".encode())
    with pytest.raises(DataError, match="holds 'images', which is no array"):
        read(tmp_path / "own.npz")
    assert not marker.exists()


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(
    colour: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=LABELS)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2 kB\n")
    says = r"the 60 images of .* need 0\.0 GB of memory, this machine has 0\.0 GB left"
    with pytest.raises(DataError, match=says):
        read(colour)
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    0 kB\n")
    with pytest.raises(DataError, match=r"the arrays of .* need"):
        read(tmp_path / "own.npz")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    20 kB\n")
    assert len(read(colour).test.labels) == 12


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"val_size": 5000}, r"data\.val_size=5000 is more than the 48 images there are"),
        ({"val_size": 48}, "of 60 images none is left for training"),
        ({"test_size": 60}, r"data\.val_size=0\.1 of 0 images is none|none is left for training"),
        ({"val_size": 0.001}, r"data\.val_size=0\.001 of 48 images is none"),
        ({"train_size": 44}, r"data\.train_size=44 is more than the 43 images"),
    ],
)
def test_split_without_an_image_is_refused(colour: Path, sizes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(colour, **sizes)
