"""Compile the training step by torch.compile (`compile=true`).

What is validated, tested and stored is the network itself, uncompiled: its metrics are those that evaluate.py measures.
"""

import time

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch._dynamo.exc import TorchDynamoException
from torch.nn import functional

from launch.errors import MachineError

from ..log import log
from ..module import ClassificationModule


class Compilation(Callback):
    """Compiles forward and backward pass for a batch of the run, before the first epoch, whose time excludes it."""

    seconds: float  # that it took

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: ClassificationModule) -> None:  # type: ignore[override]
        began, network = time.perf_counter(), pl_module.network
        torch.compiler.reset()  # or the networks of a sweep fill its cache, and the later ones run uncompiled
        # With fallback_random dropout draws what it draws uncompiled.
        compiled = torch.compile(network.forward, dynamic=False, options={"fallback_random": True})
        buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]  # a pass changes those of batch norms
        images, labels = next(iter(trainer.datamodule.train_dataloader()))  # type: ignore[attr-defined]
        try:
            with trainer.precision_plugin.train_step_context():
                loss = functional.cross_entropy(compiled(images), labels)
            torch.autograd.grad(loss, [each for each in network.parameters() if each.requires_grad])
        except TorchDynamoException as error:
            reason = str(getattr(error, "inner_exception", error)).strip().splitlines()[0].rstrip(".")
            raise MachineError(f"torch.compile failed here: {reason}. Take compile=false.") from error
        for buffer, before in buffers:
            buffer.copy_(before)
        pl_module.train_forward = compiled
        self.seconds = round(time.perf_counter() - began, 2)
        log.info(f"compiled in {self.seconds:.0f} s")
