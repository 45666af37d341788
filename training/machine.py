"""The machine that a run finds itself on. Needs no Lightning."""

import contextlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from .errors import MachineError

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "safetensors")


def choose_accelerator(wanted: str, precision: str) -> str:
    """What "auto" stands for here. Raises MachineError where CUDA is needed and not there."""
    available = torch.cuda.is_available()
    if not available:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # or torch looks for a GPU at every optimizer step, which takes 0.2 ms
    if wanted == "cuda" and not available:
        raise MachineError("there is no CUDA GPU here that torch can use. Choose cpu or auto.")
    chosen = "cuda" if available and wanted != "cpu" else "cpu"
    if precision == "16-mixed" and chosen == "cpu":
        raise MachineError("precision=16-mixed needs a CUDA GPU. Take 32-true.")
    return chosen


def describe_device(accelerator: str) -> str:
    return f"cuda ({torch.cuda.get_device_name()})" if accelerator == "cuda" else "cpu"


def describe_machine(accelerator: str = "cuda") -> str:
    """What a figure was measured on: processor, threads, the GPU if it is there and used, torch."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    threads = torch.get_num_threads()
    parts = [processor, f"{threads} thread{'s' if threads > 1 else ''}", f"torch {version('torch')}"]
    if accelerator == "cuda" and torch.cuda.is_available():
        parts.insert(0, torch.cuda.get_device_name())
    return ", ".join(parts)


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
