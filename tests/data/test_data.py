"""Check that the data sets are the official ones, equal to what torchvision reads, and that other files are refused."""

import gzip
import hashlib
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

import data
from data import ARCHIVES, DATASETS, DataError, idx
from data.idx import PERMUTATION


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decompress the archives into torchvision's layout, with gzip alone."""
    root = tmp_path_factory.mktemp("extracted")
    for packed in ARCHIVES.glob("*/raw/*.gz"):
        target = root / packed.relative_to(ARCHIVES).with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.decompress(packed.read_bytes()))
    return root


@pytest.mark.parametrize("name", DATASETS)
def test_images_labels_and_classes_equal_torchvision(name: str, extracted: Path) -> None:
    vision = getattr(torchvision.datasets, DATASETS[name].folder)
    train, test = (vision(str(extracted), train=train) for train in (True, False))
    everything = data.load(name, val_size=0)
    assert everything.val is None
    order = torch.from_numpy(np.load(PERMUTATION).astype(np.int64))
    assert torch.equal(everything.train.images, train.data[order].unsqueeze(1))
    assert torch.equal(everything.train.labels, train.targets[order])
    assert torch.equal(everything.test.images, test.data.unsqueeze(1))
    assert torch.equal(everything.test.labels, test.targets)
    assert tuple(DATASETS[name].classes) == tuple(c.split(" - ")[0].lower() for c in train.classes)


@pytest.mark.parametrize("name", DATASETS)
def test_recorded_mean_and_std_equal_those_of_the_training_pixels(name: str) -> None:
    splits = data.load(name, val_size=0)
    pixels = splits.train.images.double() / 255
    assert splits.info.mean[0] == pytest.approx(pixels.mean().item(), abs=1e-10)
    assert splits.info.std[0] == pytest.approx(pixels.std(correction=0).item(), abs=1e-10)


def test_copy_in_another_root_gives_the_same_splits(extracted: Path) -> None:
    bundled, copy = data.load("mnist"), data.load("mnist", root=extracted)
    assert all(torch.equal(a, b) for a, b in zip(bundled.train + bundled.test, copy.train + copy.test, strict=True))


def test_validation_images_are_the_first_of_the_recorded_permutation() -> None:
    order = np.load(PERMUTATION).tolist()
    assert sorted(order) == list(range(60_000))
    assert order == sorted(order, key=lambda i: hashlib.sha256(f"refzoo {i}".encode()).digest())

    splits, few = data.load("mnist"), data.load("mnist", train_size=300)
    everything = data.load("mnist", val_size=0).train
    assert splits.val is not None
    assert few.val is not None
    assert torch.equal(splits.val.images, everything.images[:5_000])
    assert torch.equal(splits.train.images, everything.images[5_000:])
    assert torch.equal(few.val.images, splits.val.images)
    assert torch.equal(few.train.images, splits.train.images[:300])
    assert len(splits.test.labels) == 10_000
    assert torch.equal(data.load("mnist", test_size=300).test.images, splits.test.images[:300])


IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_a_bit(content: bytes) -> bytes:
    return content[:5_000] + bytes([content[5_000] ^ 1]) + content[5_001:]


def other_magic(content: bytes) -> bytes:
    return b"\0\0\x0d\x01" + content[4:]


def other_size(content: bytes) -> bytes:
    return content[:4] + struct.pack(">I", 9_999) + content[8:]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncate, "wrong length: 5004 bytes, expected 10008"),
        (lambda _: b"", "wrong length: 0 bytes, expected 10008"),
        (flip_a_bit, "not the official file: SHA-256"),
        (other_magic, "not the official file: SHA-256"),
        (other_size, "not the official file: SHA-256"),
        (lambda content: content + b"\0", "wrong length: more bytes, expected 10008"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_file_is_refused(extracted: Path, tmp_path: Path, damage, says: str, packed: bool) -> None:
    shutil.copytree(extracted / "MNIST", tmp_path / "MNIST")
    file = tmp_path / "MNIST/raw" / LABELS
    content = damage(file.read_bytes())
    if packed:
        file.unlink()
        file = file.with_name(file.name + ".gz")
        content = gzip.compress(content)
    file.write_bytes(content)
    with pytest.raises(DataError, match=says):
        data.load("mnist", root=tmp_path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [(truncate, "cannot be read"), (lambda _: b"no gzip at all", "cannot be read"), (flip_a_bit, "cannot be read|SHA")],
)
def test_damaged_archive_is_refused(extracted: Path, tmp_path: Path, damage, says: str) -> None:
    shutil.copytree(extracted / "MNIST", tmp_path / "MNIST")
    (tmp_path / "MNIST/raw" / IMAGES).unlink()
    archive = (ARCHIVES / "MNIST/raw" / (IMAGES + ".gz")).read_bytes()
    (tmp_path / "MNIST/raw" / (IMAGES + ".gz")).write_bytes(damage(archive))
    with pytest.raises(DataError, match=says):
        data.load("mnist", root=tmp_path)


def test_swapped_and_missing_files_are_refused(extracted: Path, tmp_path: Path) -> None:
    for missing in (tmp_path, "~no_such_user"):
        with pytest.raises(DataError, match="there is neither"):
            data.load("mnist", root=missing)
    shutil.copytree(extracted / "MNIST", tmp_path / "MNIST")
    raw = tmp_path / "MNIST/raw"
    shutil.copy(extracted / "FashionMNIST/raw" / IMAGES, raw / IMAGES)  # the right header, other bytes
    with pytest.raises(DataError, match="not the official file"):
        data.load("mnist", root=tmp_path)
    shutil.copy(raw / LABELS, raw / IMAGES)
    with pytest.raises(DataError, match="wrong length: 10008 bytes, expected 7840016"):
        data.load("mnist", root=tmp_path)


def test_gzip_bomb_is_not_decompressed(tmp_path: Path) -> None:
    content = struct.pack(">HBBI", 0, 8, 1, 100) + bytes(1 << 28)
    (tmp_path / "labels.gz").write_bytes(gzip.compress(content, compresslevel=1))
    asked = []

    class Watched(gzip.GzipFile):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size)
            return super().read(size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gzip, "open", Watched)
        with pytest.raises(DataError, match="wrong length: more bytes, expected 108"):
            idx.read(tmp_path / "labels", (100,), sha256="")
    assert asked == [109]
