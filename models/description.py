"""Describe a network: its stages with their output shapes, parameters and multiply-adds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from . import create, defaults
from .checks import height_and_width


class Stage(NamedTuple):
    """One direct child of a network, measured on one image."""

    name: str
    output: tuple[int, ...]  # shape, for a batch of one
    parameters: int
    multiply_adds: int


def describe(name: str, **arguments: Any) -> list[Stage]:
    """Measure the stages of the network that `create` builds of these arguments, in the order in which they run.

    Multiply-adds are those of convolutions, linear layers and recurrent layers for one image; biases, norms,
    activations and poolings are not counted, as is usual. Everything runs on the meta device, which allocates nothing
    and is the only one where FlopCounterMode counts recurrent layers correctly. Raises ValueError where `create` does.
    """
    arguments = defaults(name) | arguments
    stages: list[Stage] = []
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as flops:
        network = create(name, **arguments).eval()

        def record(stage: str, child: nn.Module, output: Tensor) -> None:
            parameters = sum(parameter.numel() for parameter in child.parameters())
            multiply_adds = flops.get_total_flops() // 2 - sum(earlier.multiply_adds for earlier in stages)
            stages.append(Stage(stage, tuple(output.shape), parameters, multiply_adds))

        with watch_stages(network, record):
            network(torch.empty(1, arguments["in_channels"], *height_and_width(name, arguments["image_size"])))
    return stages


@contextmanager
def watch_stages(network: nn.Module, record: Callable[[str, nn.Module, Tensor], None]) -> Iterator[None]:
    """Call `record(name, stage, output)` for each stage as it runs, until the end of the context."""

    def hook(name: str, stage: nn.Module, _: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output  # a recurrent layer also returns its state
        record(name, stage, tensor)

    handles = [stage.register_forward_hook(partial(hook, name)) for name, stage in network.named_children()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
