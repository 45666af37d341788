"""Make the text of `train.py --help`: the groups, and the configuration with the comments of its YAML files."""

import re
from collections.abc import Iterator
from pathlib import Path
from string import Template
from textwrap import wrap

from omegaconf import OmegaConf

from .configuration import composed
from .overrides import parse, quote
from .resume import CONFIGS, key_of
from .sweep import swept

WIDTH = 80  # characters of a narrow terminal
COLUMN = 33  # of the comments
KEY = re.compile(r"( *)([\w/]+):(.*)")


def text(arguments: list[str]) -> str:
    """Return the help for the options and keys of a command line. Raises SettingsError for wrong ones."""
    given = parse(arguments)
    several = swept(given.overrides) if given.multirun else []
    overrides = [each for each in given.overrides if key_of(each) not in several]
    if given.config_dir:
        overrides.append(f"hydra.searchpath=[{quote(f'file://{Path(given.config_dir).absolute()}')}]")
    configuration = composed(overrides, check=False)
    comments = dict(_comments("train.yaml", ""))
    for group, option in configuration.options.items():
        comments |= dict(_comments(f"{group}/{option}.yaml", f"{group}."))
    lines = []
    for path, line in _keys(OmegaConf.to_yaml(configuration.config)):
        lines += _beside(line, comments.get(path, ""))
    return Template(configuration.help).substitute(APP_CONFIG_GROUPS="\n".join(_groups()), CONFIG="\n".join(lines))


def _groups() -> Iterator[str]:
    for folder in sorted(path for path in CONFIGS.glob("**/") if any(path.glob("*.yaml")) and path != CONFIGS):
        options = ", ".join(file.stem for file in sorted(folder.glob("*.yaml")))
        head = f"  {folder.relative_to(CONFIGS)}: "
        yield from wrap(head + options, WIDTH, subsequent_indent=" " * 6, break_on_hyphens=False)


def _keys(yaml: str) -> Iterator[tuple[str, str]]:
    """Yield each line of a YAML text with the dotted path of its key, "" for a line that is none."""
    parents: list[tuple[int, str]] = []
    for line in yaml.splitlines():
        found = KEY.fullmatch(line)
        if found:
            indent = len(found[1])
            parents = [*(each for each in parents if each[0] < indent), (indent, found[2])]
        yield ".".join(key for _, key in parents) if found else "", line


def _comments(file: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the keys of a file of configs/ that have comments, and these."""
    if (CONFIGS / file).is_file():
        for path, line in _keys((CONFIGS / file).read_text(encoding="utf-8")):
            before, _, comment = line.partition(" # ")
            if path and before and comment:
                yield prefix + path, comment


def _beside(line: str, comment: str) -> list[str]:
    """Write a comment beside a line, in lines of its own where it is too long."""
    beside = [" " * COLUMN + f"# {part}" for part in wrap(comment, WIDTH - COLUMN - 2)]
    if beside and len(line) < COLUMN:
        beside[0] = line + beside[0][len(line) :]
        return beside
    return [line, *beside]
