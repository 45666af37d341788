"""Describe the networks: `python -m models` lists all of them, `python -m models resnet18` lists one network's stages.

`description.py` says what is counted.
"""

import argparse
import re
import typing
from typing import Any, NoReturn

from . import defaults, did_you_mean, names, network_class
from .checks import SMALL_IMAGE_SIZE

Rows = list[list[str]]  # the header of a table, then its rows


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"refzoo: {message}\n")


def main() -> None:
    parser = Parser(prog="python -m models", description="Describe the networks without allocating their weights.")
    add = parser.add_argument
    add("network", nargs="?", help=f"list its stages (without: list all networks): {', '.join(names())}")
    add("arguments", nargs="*", metavar="name=value", help="its own arguments, such as batch_norm=true")
    add("--image-size", type=image_size, metavar="N", help="pixels, 224 or 64x96; default: the size of the paper")
    add("--in-channels", type=int, default=1, metavar="N", help="default: 1")
    add("--num-classes", type=int, default=10, metavar="N", help="default: 10")
    add("--markdown", action="store_true", help="print the table in Markdown")
    command = parser.parse_intermixed_args()
    arguments: dict[str, Any] = {"in_channels": command.in_channels, "num_classes": command.num_classes}
    if command.image_size is not None:
        arguments["image_size"] = command.image_size
    try:
        if command.network is not None:
            table = stages(command.network, arguments | parse_arguments(command.network, command.arguments))
        elif command.image_size is None:
            table = networks(arguments)
        else:
            raise ValueError("--image-size needs a network: python -m models resnet18 --image-size 224")
    except ValueError as error:
        parser.error(str(error))
    print_table(table, command.markdown, total=command.network is not None)


def image_size(word: str) -> int | tuple[int, int]:
    """Convert `224` or, height first, `64x96`. Raises ArgumentTypeError for another word."""
    sides = re.fullmatch(r"([0-9]+)(?:x([0-9]+))?", word)
    if not sides:
        raise argparse.ArgumentTypeError(f"expected pixels such as 224 or, height first, 64x96, got {word!r}")
    height, width = sides.groups()
    return int(height) if width is None else (int(height), int(width))


def parse_arguments(network: str, words: list[str]) -> dict[str, Any]:
    """Convert `name=value` words to the types of the network's arguments. Raises ValueError for a wrong word."""
    types = typing.get_type_hints(network_class(network).__init__)
    for word in words:
        argument, equals, _ = word.partition("=")
        if not equals:
            raise ValueError(f"expected name=value, got {word!r}")
        if argument not in (valid := defaults(network)):
            raise ValueError(f"{network} has no argument {argument!r}{did_you_mean(argument, valid)}")
    if not words:
        return {}
    from omegaconf import OmegaConf
    from pydantic import TypeAdapter, ValidationError

    arguments: dict[str, Any] = {}
    for argument, value in OmegaConf.from_dotlist(words).items():
        try:
            arguments[str(argument)] = TypeAdapter(types[str(argument)]).validate_python(value)
        except ValidationError as invalid:
            reason = invalid.errors()[0]["msg"].removeprefix("Input should be ")
            raise ValueError(f"{network}: {argument} must be {reason}, got {value!r}") from None
    return arguments


def stages(network: str, arguments: dict[str, Any]) -> Rows:
    """List a network's stages, one a row, and their total."""
    from .description import describe

    described = describe(network, **arguments)
    rows = [
        [stage.name, " x ".join(map(str, stage.output)), f"{stage.parameters:,}", f"{stage.multiply_adds:,}"]
        for stage in described
    ]
    total = ["total", "", *(f"{sum(counts):,}" for counts in zip(*(stage[2:] for stage in described), strict=True))]
    return [[network, "output", "parameters", "multiply-adds"], *rows, total]


def networks(arguments: dict[str, Any]) -> Rows:
    """List the networks, one a row: their totals at 28 x 28, then at the size of their paper, if it is another."""
    rows = []
    for name in names():
        size = defaults(name)["image_size"]
        small_image = totals(name, arguments | {"image_size": SMALL_IMAGE_SIZE})
        paper = ["-"] * 3 if size == SMALL_IMAGE_SIZE else [str(size), *totals(name, arguments | {"image_size": size})]
        rows.append([name, *small_image, *paper])
    parameters = f"parameters\nat {SMALL_IMAGE_SIZE}"
    return [["network", parameters, "mult-\nadds", "size", "parameters\nat size", "mult-\nadds"], *rows]


def totals(name: str, arguments: dict[str, Any]) -> list[str]:
    """Format the parameters and the multiply-adds of a network, the latter short enough for a narrow terminal."""
    from .description import describe

    described = describe(name, **arguments)
    parameters = sum(stage.parameters for stage in described)
    multiply_adds = sum(stage.multiply_adds for stage in described)
    for unit, size in {"G": 1e9, "M": 1e6, "k": 1e3}.items():
        if multiply_adds >= size:
            return [f"{parameters:,}", f"{multiply_adds / size:#.4g} {unit}"]
    return [f"{parameters:,}", str(multiply_adds)]


def print_table(table: Rows, markdown: bool, total: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    (name, *numbers), *rows = table
    style = box.MARKDOWN if markdown else box.SIMPLE_HEAD
    printed = Table(box=style, show_edge=markdown, padding=(0, 1, 0, int(markdown)))
    printed.add_column(name, overflow="fold")
    for column in numbers:
        header = column.replace("-\n", "-").replace("\n", " ") if markdown else column
        printed.add_column(header, justify="right", no_wrap=True)
    for row in rows[:-1]:
        printed.add_row(*row)
    printed.add_row(*rows[-1], style="bold" if total and not markdown else None)
    Console(width=200 if markdown else None).print(printed)


if __name__ == "__main__":
    main()
