"""Train MNIST as the example of pytorch/examples does, rewritten from its description: the baseline of a new user.

Two 3 x 3 convolutions of 32 and 64 maps, max pooling, dropout of 0.25 and 0.5, linear layers of 128 and 10; Adadelta at
1.0, times 0.7 after every epoch; batches of 64 from a DataLoader over torchvision's data set, with one worker beside a
GPU and none on a CPU. There it runs for 14 epochs. For a test accuracy of 99.0 % it gets 4, chosen on validation by the
same criterion as recipe=fast-mnist (98.8 %): 98.73 % after 3 epochs (mean of seeds 1, 2), 98.80 % after 4 (seed 2).

Departures: trains on 55,000 images, without the validation split (there 60,000), shuffles on a CPU too (there on a GPU
only), prints no loss, and is tested at the end rather than after every epoch.

    uv run python -m benchmarks.pytorch_example --epochs 5 --validate
"""

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, ToTensor

import data
from data.idx import PERMUTATION

VALIDATION = 5_000  # images, the same as train.py's
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class ExampleNetwork(nn.Module):
    """(N, 1, 28, 28), standardised -> (N, 10) log probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=3),  # (N, 32, 26, 26)
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=3),  # (N, 64, 24, 24)
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=2),  # (N, 64, 12, 12)
            nn.Dropout(0.25),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),  # (N, 9216)
            nn.Linear(9216, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, 10),
            nn.LogSoftmax(dim=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.convolutions(images))


def unpack(root: Path) -> None:
    """Unpack the bundled archives into the layout that torchvision's data sets read."""
    for packed in data.ARCHIVES.glob("*/raw/*.gz"):
        target = root / packed.relative_to(data.ARCHIVES).with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.decompress(packed.read_bytes()))


def batches(dataset: Dataset, size: int) -> DataLoader:
    cuda = DEVICE.type == "cuda"
    return DataLoader(dataset, size, shuffle=True, num_workers=1 if cuda else 0, pin_memory=cuda)


def train_epoch(network: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader) -> None:
    network.train()
    for images, labels in loader:
        images, labels = images.to(DEVICE), labels.to(DEVICE)
        optimizer.zero_grad()
        functional.nll_loss(network(images), labels).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(network: nn.Module, dataset: Dataset) -> float:
    network.eval()
    correct = [network(images.to(DEVICE)).argmax(dim=1).cpu() == labels for images, labels in batches(dataset, 1_000)]
    return torch.cat(correct).double().mean().item()


def now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def run(root: Path, epochs: int, seed: int, validate: bool) -> dict[str, Any]:
    """Train, and return the training seconds and the test metrics, which are None with `validate`."""
    torch.manual_seed(seed)
    transform = Compose([ToTensor(), Normalize((0.1307,), (0.3081,))])
    images = MNIST(str(root), train=True, transform=transform)
    order = np.load(PERMUTATION).tolist()
    validation, rest = Subset(images, order[:VALIDATION]), Subset(images, order[VALIDATION:])
    network = ExampleNetwork().to(DEVICE)
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    schedule = StepLR(optimizer, step_size=1, gamma=0.7)
    loader, seconds = batches(rest, 64), 0.0
    for epoch in range(epochs):
        began = now()
        train_epoch(network, optimizer, loader)
        schedule.step()
        seconds += now() - began
        if validate:
            found = accuracy(network, validation)
            print(f"epoch {epoch + 1}: validation accuracy {found:.4f}, {seconds:.0f} s of training", flush=True)
    if validate:
        return {"train_seconds": seconds, "test": None}
    test = MNIST(str(root), train=False, transform=transform)
    return {"train_seconds": seconds, "test": {"accuracy": accuracy(network, test), "images": len(test)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--validate", action="store_true", help="print the validation accuracy every epoch, do not test"
    )
    parser.add_argument("--root", type=Path, help="folder of the unpacked data (default: unpack first)")
    parser.add_argument("--output", type=Path, help="write the result to this JSON file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not args.root:
            unpack(Path(folder))
        figures = run(args.root or Path(folder), args.epochs, args.seed, args.validate)
    print(json.dumps(figures))
    if args.output:
        args.output.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
