"""Test the choice of precision and the settings of the machine."""

import platform
import subprocess
import sys

import pytest
import torch

import models
from launch.errors import MachineError
from training.machine import choose_precision, require_gpu_memory


@pytest.mark.parametrize(
    ("wanted", "accelerator", "network", "chosen"),
    [
        ("auto", "cuda", "lenet", "bf16-mixed"),
        ("auto", "cuda", "gru", "32-true"),
        ("32-true", "cuda", "lenet", "32-true"),
        ("16-mixed", "cuda", "mlp", "16-mixed"),
    ],
)
def test_auto_precision_depends_on_accelerator_and_network(
    wanted: str, accelerator: str, network: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert choose_precision(wanted, accelerator, models.create(network)) == chosen


def test_gpu_without_bfloat16_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert choose_precision("auto", "cuda", models.create("lenet")) == "32-true"


@pytest.mark.parametrize(
    ("instructions", "network", "chosen"),
    [
        ("amx_bf16", "densenet", "bf16-mixed"),
        ("amx_bf16", "lenet", "32-true"),
        ("amx_bf16", "gru", "32-true"),
        ("avx512_bf16", "densenet", "32-true"),
        ("avx2", "densenet", "32-true"),
    ],
)
def test_auto_precision_on_a_cpu_is_bfloat16_where_amx_multiplies_wide_convolutions(
    instructions: str, network: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instructions: True})
    assert choose_precision("auto", "cpu", models.create(network)) == chosen


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16", "bf16"])
def test_bfloat16_on_a_cpu_needs_its_instructions(instructions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = models.create("lenet")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instructions: True, "avx2": True})
    assert choose_precision("bf16-mixed", "cpu", network) == "bf16-mixed"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instructions: False, "avx2": True})
    with pytest.raises(MachineError, match=r"no instructions for precision=bf16-mixed.* Take 32-true"):
        choose_precision("bf16-mixed", "cpu", network)


def test_images_that_a_gpu_cannot_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2_000_000_000, 80_000_000_000))
    require_gpu_memory(torch.device("cuda"), 2_000_000_000)
    require_gpu_memory(torch.device("cpu"), 3_000_000_000)
    with pytest.raises(MachineError, match=r"the images need 3\.0 GB, the GPU has 2\.0 GB left"):
        require_gpu_memory(torch.device("cuda"), 3_000_000_000)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_of_large_tensors_is_reused() -> None:
    """Count the page faults of an allocation."""
    words = """
import resource, torch
from training.machine import choose_accelerator
choose_accelerator("cpu")
for _ in range(30):  # the first allocations do not always reuse memory
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    pages = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout
    assert int(pages) < 500  # the tensor needs 9,766
