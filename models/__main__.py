"""Describe the networks: `python -m models` lists all of them, `python -m models resnet18` shows one network's stages.

What is counted, and how, is said in `description.py`. torch is imported only when the command is right.
"""

from __future__ import annotations

import argparse
from typing import Any, Literal, NoReturn

from . import did_you_mean, names, signature

Rows = list[list[str]]  # the head of a table, then its lines


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"refzoo: {message}\n")


def main() -> None:
    parser = Parser(prog="python -m models", description="What the networks consist of; nothing is allocated.")
    add = parser.add_argument
    add("network", nargs="?", help=f"show its stages (without: a table of all): {', '.join(names())}")
    add("arguments", nargs="*", metavar="name=value", help="its own arguments, such as batch_norm=true")
    add("--image-size", type=int, metavar="N", help="28 is the native geometry; the default is the textbook's size")
    add("--in-channels", type=int, default=1, metavar="N", help="default: 1")
    add("--num-classes", type=int, default=10, metavar="N", help="default: 10")
    add("--markdown", action="store_true", help="print the table in Markdown")
    command = parser.parse_intermixed_args()
    arguments: dict[str, Any] = {"in_channels": command.in_channels, "num_classes": command.num_classes}
    if command.image_size is not None:
        arguments["image_size"] = command.image_size
    try:
        if command.network is not None:
            table = stages(command.network, arguments | own_arguments(command.network, command.arguments))
        elif command.image_size is None:
            table = networks(arguments)
        else:
            raise ValueError("--image-size needs a network: python -m models resnet18 --image-size 224")
    except ValueError as error:
        parser.error(str(error))
    if command.markdown:
        print_markdown(table)
    else:
        print_table(table, total=command.network is not None)


def own_arguments(network: str, words: list[str]) -> dict[str, Any]:
    """`name=value` words as arguments of the network, in the types that its signature states."""
    valid = signature(network)
    for word in words:
        argument, equals, _ = word.partition("=")
        if not equals:
            raise ValueError(f"expected name=value, got {word!r}")
        if argument not in valid:
            raise ValueError(f"{network} has no argument {argument!r}{did_you_mean(argument, valid)}")
    if not words:
        return {}
    from omegaconf import OmegaConf
    from pydantic import TypeAdapter, ValidationError

    arguments: dict[str, Any] = {}
    for argument, value in OmegaConf.from_dotlist(words).items():
        annotation = valid[str(argument)].annotation
        try:
            arguments[str(argument)] = TypeAdapter(eval(annotation, {"Literal": Literal})).validate_python(value)
        except ValidationError:
            raise ValueError(f"{network}: {argument} must be {annotation}, got {value!r}") from None
    return arguments


def stages(network: str, arguments: dict[str, Any]) -> Rows:
    """A line for each stage, and the total."""
    from .description import describe

    described = describe(network, **arguments)
    lines = [
        [stage.name, " x ".join(map(str, stage.output)), f"{stage.parameters:,}", f"{stage.multiply_adds:,}"]
        for stage in described
    ]
    total = ["total", "", *(f"{sum(counts):,}" for counts in zip(*(stage[2:] for stage in described), strict=True))]
    return [[network, "output", "parameters", "multiply-adds"], *lines, total]


def networks(arguments: dict[str, Any]) -> Rows:
    """A line for each network: its figures in the native geometry, then in the textbook one."""
    from .description import describe
    from .image_size import NATIVE

    lines = []
    for name in names():
        native = figures(describe(name, image_size=NATIVE, **arguments))
        size = signature(name)["image_size"].default
        textbook = ["-"] * 3 if size == NATIVE else [str(size), *figures(describe(name, image_size=size, **arguments))]
        lines.append([name, *native, *textbook])
    return [
        ["network", f"parameters\nat {NATIVE}", "mult-\nadds", "size", "parameters\nat size", "mult-\nadds"],
        *lines,
    ]


def figures(described: list[Any]) -> list[str]:
    """The parameters and the multiply-adds of a whole network, the latter short enough for a narrow terminal."""
    parameters = sum(stage.parameters for stage in described)
    multiply_adds = sum(stage.multiply_adds for stage in described)
    for unit, size in {"G": 1e9, "M": 1e6, "k": 1e3}.items():
        if multiply_adds >= size:
            return [f"{parameters:,}", f"{multiply_adds / size:#.4g} {unit}"]
    return [f"{parameters:,}", str(multiply_adds)]


def print_markdown(table: Rows) -> None:
    head, *lines = table
    head = [column.replace("-\n", "-").replace("\n", " ") for column in head]
    for line in [head, ["---", *["---:"] * (len(head) - 1)], *lines]:
        print(f"| {' | '.join(line)} |")


def print_table(table: Rows, total: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    (name, *numbers), *lines = table
    printed = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    printed.add_column(name, overflow="fold")
    for column in numbers:
        printed.add_column(column, justify="right", no_wrap=True)
    for line in lines[:-1]:
        printed.add_row(*line)
    printed.add_row(*lines[-1], style="bold" if total else None)
    Console().print(printed)


if __name__ == "__main__":
    main()
