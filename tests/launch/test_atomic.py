"""Test atomic writes: a file has its old content or its new one."""

import os
from pathlib import Path

import pytest

from launch import atomic


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch) -> None:
    atomic.write(tmp_path / "file", b"old")

    def fsync(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        atomic.write(tmp_path / "file", b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]
