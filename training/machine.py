"""The machine that a run finds itself on."""

import platform
from importlib.metadata import version

import torch

from .errors import MachineError

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "safetensors")


def choose_accelerator(wanted: str) -> str:
    """What "auto" stands for here. Raises MachineError where CUDA is wanted and not there."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise MachineError("there is no CUDA GPU here that torch can use. Take trainer=cpu, or trainer=auto.")
    if wanted == "auto":
        return "cuda" if available else "cpu"
    return wanted


def describe_device(accelerator: str) -> str:
    return f"cuda ({torch.cuda.get_device_name()})" if accelerator == "cuda" else "cpu"


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
