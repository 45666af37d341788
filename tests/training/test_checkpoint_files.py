"""Test checkpoint files: damaged ones are skipped, and code in them is not executed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models import WeightsError
from training import checkpoint_files


@pytest.mark.parametrize("damage", ["truncated", "emptied", "flipped", "over-long", "swapped", "missing"])
def test_newest_skips_a_damaged_checkpoint(tmp_path: Path, damage: str) -> None:
    files = [tmp_path / f"step_{step}.ckpt" for step in (1, 2)]
    for number, file in enumerate(files):
        checkpoint_files.CheckpointFiles().save_checkpoint({"weights": torch.full((100,), number)}, file)
    assert checkpoint_files.newest(tmp_path) == files[1]
    content = files[1].read_bytes()
    other = bytearray(content)
    other[-200] ^= 4
    damaged = {"truncated": content[:-1], "emptied": b"", "flipped": bytes(other), "over-long": content + b"\0"}
    if damage == "missing":
        files[1].unlink()
    else:
        files[1].write_bytes(damaged.get(damage, files[0].read_bytes()))
    assert checkpoint_files.newest(tmp_path) == files[0]
    assert checkpoint_files.CheckpointFiles().load_checkpoint(files[0])["weights"].sum() == 0


def test_code_in_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    checkpoint_files.CheckpointFiles().save_checkpoint({"state": Bomb()}, tmp_path / "step.ckpt")
    with pytest.raises(WeightsError, match="holds more than tensors and plain values"):
        checkpoint_files.CheckpointFiles().load_checkpoint(tmp_path / "step.ckpt", weights_only=False)
    assert not (tmp_path / "exploded").exists()
