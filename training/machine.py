"""Choose device and precision for this machine, and describe it. Needs no Lightning."""

import contextlib
import ctypes
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from launch import threads
from launch.errors import MachineError

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "safetensors")
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # instructions that multiply it; bf16 is that of ARM
AMX_CHANNELS = 32  # that it multiplies at once; narrower convolutions, such as LeNet's, do not fill its tiles
GLIBC_KEEPS = ((-4, 0), (-1, -1))  # malloc.h: M_MMAP_MAX, no blocks of their own; M_TRIM_THRESHOLD, none returned


def choose_accelerator(wanted: str, count: int | None = None) -> str:
    """Resolve "auto", and set up this process for the device, with `count` threads or as `launch.threads` decides.

    Raises MachineError where CUDA is wanted and missing.
    """
    torch.set_num_threads(count or threads.given() or threads.idle_cores())
    available = torch.cuda.is_available()
    if not available:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # or torch looks for a GPU at every optimizer step, which takes 0.2 ms
    if wanted == "cuda" and not available:
        raise MachineError("there is no CUDA GPU here that torch can use. Choose cpu or auto.")
    if available and wanted != "cpu":
        torch.backends.cudnn.allow_tf32 = False  # 32-true is 32 bits; the fast precision is bf16-mixed
        return "cuda"
    keep_memory()
    return "cpu"


def keep_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones, where it has glibc.

    glibc returns large blocks to the system, which clears them anew at every step: a quarter of DenseNet's time.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in GLIBC_KEEPS:
            mallopt(parameter, value)


def to_channels_last(network: nn.Module) -> nn.Module:
    """Lay out the weights channels last, for training and evaluation alike, so that both round the same way.

    On cores with AVX2 convolutions are 1.04 to 1.35 times as fast.
    """
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def require_gpu_memory(device: torch.device, size: int) -> None:
    """Raise MachineError if `size` bytes of images are more than the GPU has left. A CPU has them in memory already."""
    if device.type == "cuda" and size > (left := torch.cuda.mem_get_info(device)[0]):
        raise MachineError(
            f"the images need {size / 1e9:.1f} GB, the GPU has {left / 1e9:.1f} GB left. Take trainer=cpu, or fewer or "
            "smaller images."
        )


def choose_precision(wanted: str, accelerator: str, network: nn.Module) -> str:
    """Resolve "auto": bfloat16 for convolutions where the device multiplies it faster than float32, else float32.

    That is a GPU, or a CPU with AMX; AVX-512's own instructions were slower for two of three networks (docs/speed.md).
    Raises MachineError for a precision that this machine does not have.
    """
    if wanted == "auto":
        widest = max((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), default=0)
        if accelerator == "cuda":
            is_faster = widest > 0 and torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            is_faster = widest >= AMX_CHANNELS and has_amx()
        return "bf16-mixed" if is_faster else "32-true"
    if wanted == "16-mixed" and accelerator == "cpu":
        raise MachineError("precision=16-mixed needs a CUDA GPU. Take 32-true.")
    if wanted == "bf16-mixed" and accelerator == "cpu":
        has = torch.cpu.get_capabilities()
        if not any(has.get(instructions) for instructions in BFLOAT16):
            raise MachineError(
                "this CPU has no instructions for precision=bf16-mixed, which would take 5 to 20 times as long. "
                "Take 32-true."
            )
    return wanted


def has_amx() -> bool:
    """Return whether the CPU multiplies bfloat16 in tiles."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11, on the machine of gpu.sh, lacks it
    return capabilities.get("amx_bf16", False)


def describe_device(accelerator: str) -> str:
    return f"cuda ({torch.cuda.get_device_name()})" if accelerator == "cuda" else "cpu"


def describe_machine(accelerator: str = "cuda") -> str:
    """Return GPU (if it is there and used), processor, vector instructions, threads and torch version."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    count = torch.get_num_threads()
    parts = [processor, torch.backends.cpu.get_cpu_capability() + (" and AMX" if has_amx() else "")]
    parts += [f"{count} thread{'s' if count > 1 else ''}", f"torch {version('torch')}"]
    if accelerator == "cuda" and torch.cuda.is_available():
        parts.insert(0, torch.cuda.get_device_name())
    return ", ".join(parts)


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
