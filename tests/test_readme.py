"""What the README shows is what the program says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import models
from models import cards

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_networks_is_the_one_that_is_printed() -> None:
    command = [sys.executable, "-m", "models", "--markdown"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in README


@pytest.mark.parametrize("page", ["README.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))])
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    for link in links:
        assert link.startswith("https://") or (ROOT / page).parent.joinpath(link).exists(), link


def test_published_weights_that_are_named_are_there() -> None:
    named = re.findall(r"(?:--weights |weights=|load\(\"|card\(\")([a-z0-9_]+-(?:fashion_)?mnist)\b", README)
    assert len(named) > 5
    assert set(named) <= set(cards.published())


def test_every_option_of_every_group_is_named() -> None:
    for group in ("model", "data", "optimizer", "scheduler", "trainer", "logger", "recipe"):
        (row,) = (line for line in README.splitlines() if line.startswith(f"| `{group}` |"))
        options = sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))
        assert sorted(row.split("|")[2].replace("`", "").split()) == options
    assert set(models.names()) == {path.stem for path in (ROOT / "configs/model").glob("*.yaml")}
