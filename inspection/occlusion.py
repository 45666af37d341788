"""Find where in an image an answer comes from, by covering it part by part.

Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2. Departure: the patch is
black, as the background of both bundled data sets is, not grey.
"""

import torch
from torch import Tensor

from .networks import Trained

PATCHES = 5  # of them side by side are as wide as the image


def occlusion_map(trained: Trained, images: Tensor, label: int, stride: int) -> Tensor:
    """Return how much the probability of class `label` falls where the image is covered, (H, W), within -1 and 1.

    `images` is one uint8 image (1, C, H, W). A pixel's value is the mean over the patches that cover it; these are
    `stride` pixels apart and reach over the borders.
    """
    height, width = images.shape[-2:]
    size = max(height, width) // PATCHES
    tops, lefts = (range(stride - size, side, stride) for side in (height, width))
    covers = torch.ones(len(tops), len(lefts), height, width, dtype=torch.uint8)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            covers[row, column, max(top, 0) : top + size, max(left, 0) : left + size] = 0
    covers = covers.flatten(0, 1)[:, None]
    whole = trained.probabilities(images)[0, label]
    falls = whole - torch.cat([trained.probabilities(part * images)[:, label] for part in covers.split(64)])
    covered = 1 - covers[:, 0].float()
    return torch.einsum("n,nhw->hw", falls, covered) / covered.sum(0)
