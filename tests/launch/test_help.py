"""Test `train.py --help`: all options, all keys with their values, and the comments of the YAML files."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from launch import help as helping
from launch.errors import SettingsError

NETWORKS = [file.stem for file in sorted((ROOT / "configs" / "model").glob("*.yaml"))]


def words(text: str) -> str:
    """Return the text without the breaks of its lines."""
    return " ".join(re.sub(r"\n +# ", " ", text).split())


@pytest.mark.parametrize("network", NETWORKS)
def test_arguments_of_a_network_have_their_values_and_comments(network: str) -> None:
    text = helping.text(["--help", f"model={network}"])
    assert max(map(len, text.splitlines())) <= 80
    section = text[text.index("\nmodel:") : text.index("\noptimizer:")]
    file = (ROOT / "configs" / "model" / f"{network}.yaml").read_text()
    for key, value in yaml.safe_load(file).items():
        if not isinstance(value, list):
            assert f"\n  {key}: {yaml.safe_dump(value).splitlines()[0]}" in section
    for comment in re.findall(r"^\w.* # (.*)", file, re.MULTILINE):
        assert comment in words(section)


def test_all_options_and_the_comments_of_all_runs_are_shown() -> None:
    text = helping.text(["-h"])
    for file in ROOT.glob("configs/*/**/*.yaml"):
        assert re.search(rf"^  {file.parent.relative_to(ROOT / 'configs')}: ", text, re.MULTILINE)
        assert re.search(rf"[ ,]{file.stem}[,\n]", text)
    for comment in re.findall(r"^ *\w.* # (.*)", (ROOT / "configs" / "train.yaml").read_text(), re.MULTILINE):
        if not comment.startswith(("the run folder is made", "a sweep's folder")):  # of Hydra's section
            assert comment in words(text)


def test_values_are_those_of_the_command_line(tmp_path: Path) -> None:
    assert re.search(r"^  lr: 0\.5$", helping.text(["-h", "optimizer=sgd", "optimizer.lr=0.5"]), re.MULTILINE)
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text("# @package _global_\nepochs: 77\n")
    assert "\nepochs: 77\n" in helping.text(["-h", "--config-dir", str(tmp_path), "recipe=mine"])
    assert "\nepochs: 3\n" in helping.text(["-m", "--help", "model=lenet,mlp", "epochs=3"])
    with pytest.raises(SettingsError, match="unrecognized arguments: --foo"):
        helping.text(["--help", "--foo"])
    with pytest.raises(SettingsError, match="there is no model=lenett, did you mean 'lenet'"):
        helping.text(["-h", "model=lenett"])
