"""Describe data sets; list the two that are bundled."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .sizes import Counts

BUNDLED = Counts(train=60_000, val=None, test=10_000)  # the images of either bundled data set
BUNDLED_VAL_SIZE, IMAGE_SIZE = 5_000, 28
ARCHIVES = Path(__file__).with_name("archives")


class DataError(Exception):
    """Raised for an input file that is missing, damaged, or not the expected one."""


@dataclass(frozen=True)
class DatasetInfo:
    """Describe a data set. `mean` and `std` have one number per channel, of the training pixels in [0, 1]."""

    title: str  # as its authors write it
    classes: tuple[str, ...]
    image_size: tuple[int, int]  # height and width
    mean: tuple[float, ...] = ()  # none: `splits.split` computes both
    std: tuple[float, ...] = ()
    licence: str = ""
    may_be_flipped: bool = False  # whether the mirror image of a class belongs to the same class
    folder: str = ""  # torchvision's name of a bundled data set's folder and class
    sha256: dict[str, str] = field(default_factory=dict)  # of a bundled data set's decompressed files

    @property
    def channels(self) -> int:
        return len(self.mean)


def height_and_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of an image size as configurations and cards have it: a number for a square, or a list."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return height, width


DATASETS = {
    # LeCun, Cortes & Burges, "The MNIST database of handwritten digits", 1998
    "mnist": DatasetInfo(
        title="MNIST",
        folder="MNIST",
        licence="CC BY-SA 3.0",
        classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
        image_size=(IMAGE_SIZE, IMAGE_SIZE),
        may_be_flipped=False,
        mean=(0.1306604763,),  # over the 60,000 training images
        std=(0.3081078039,),
        sha256={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    # Xiao, Rasul & Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017,
    # the files of the second release (31 August 2017)
    "fashion_mnist": DatasetInfo(
        title="Fashion-MNIST",
        folder="FashionMNIST",
        licence="MIT",
        classes=(
            "t-shirt/top",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
        image_size=(IMAGE_SIZE, IMAGE_SIZE),
        may_be_flipped=True,
        mean=(0.2860405970,),  # over the 60,000 training images
        std=(0.3530242445,),
        sha256={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
}
