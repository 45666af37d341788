"""State the test accuracies to reach: a floor and a goal for each network and data set."""

TARGETS = {  # test accuracy in %: the floor that a recipe should reach, the goal above the best published figure
    "softmax_regression": {"mnist": (92.3, 92.7), "fashion_mnist": (84.0, 84.6)},
    "mlp": {"mnist": (98.3, 99.68), "fashion_mnist": (89.5, 91.9)},
    "lenet": {"mnist": (98.9, 99.3), "fashion_mnist": (89.5, 91.2)},
    "lenet_relu": {"mnist": (99.1, 99.5), "fashion_mnist": (91.0, 92.6)},
    "alexnet": {"mnist": (99.4, 99.7), "fashion_mnist": (93.0, 94.5)},
    "vgg11": {"mnist": (99.5, 99.77), "fashion_mnist": (93.8, 95.9)},
    "nin": {"mnist": (99.4, 99.77), "fashion_mnist": (92.5, 95.0)},
    "googlenet": {"mnist": (99.4, 99.72), "fashion_mnist": (93.3, 95.6)},
    "resnet18": {"mnist": (99.5, 99.8), "fashion_mnist": (94.0, 96.5)},
    "densenet": {"mnist": (99.5, 99.77), "fashion_mnist": (93.8, 95.8)},
    "rnn": {"mnist": (97.8, 98.9), "fashion_mnist": (87.5, 89.0)},
    "gru": {"mnist": (98.9, 99.4), "fashion_mnist": (89.8, 91.5)},
    "lstm": {"mnist": (98.9, 99.4), "fashion_mnist": (89.8, 91.5)},
}
WHY_UNDER_THE_FLOOR: dict[str, str] = {}  # recipe: the reason, printed below the table of docs/results.md


def targets(recipe: str) -> tuple[float, float] | None:
    """Return the floor and the goal of `<network>-<data>` in %; None for a recipe that is not meant to be published."""
    network, _, data_set = recipe.rpartition("/")[2].partition("-")
    return TARGETS.get(network, {}).get(data_set)
