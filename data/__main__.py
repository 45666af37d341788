"""Look at the data: `python -m data --output FILE` draws five training images of each class of both data sets."""

import argparse
from pathlib import Path

from . import DATASETS, load

IMAGES = 5  # of each class


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m data", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("classes.png"), help="default: classes.png")
    output = parser.parse_args().output

    import torch
    from torchvision.utils import make_grid, save_image

    sheets = []
    for name, facts in DATASETS.items():
        images, labels = load(name).train
        chosen = [images[labels == label][:IMAGES] for label in range(len(facts.classes))]
        by_class = torch.stack(chosen, dim=1).flatten(0, 1).unsqueeze(1) / 255  # a column for each class
        sheets.append(make_grid(by_class, nrow=len(facts.classes), padding=2, pad_value=0.25))
    save_image(torch.cat(sheets, dim=2), output)
    print(f"{output}: {', '.join(DATASETS)}, a column for each class")


if __name__ == "__main__":
    main()
