"""Compare README.md and the pages in docs/ with the program: names, keys, tables, code and links."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

import models.__main__
from models import cards

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
}
README, CONFIGURATION = PAGES["README.md"], PAGES["docs/configuration.md"]
LONGEST_README = 1300  # words
NOT_COMMITTED = {"runs/", "outputs/", "multirun/"}


def keys(section: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def heading_anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short() -> None:
    assert len(README.split()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in heading_anchors(target.read_text(encoding="utf-8")), link


def test_readme_and_index_link_every_page() -> None:
    pages = {Path(page).name for page in PAGES if page.startswith("docs/")} - {"README.md"}
    for index in ("README.md", "docs/README.md"):
        linked = {Path(link).name for link in re.findall(r"\]\(([^)#\s]+\.md)\)", PAGES[index])}
        assert pages <= linked, index


def test_published_weights_that_are_named_exist() -> None:
    pattern = r"(?:--weights |weights=|recipe=|load\(\"|card\(\")([a-z0-9_]+-(?:fashion_)?mnist)\b"
    named = {name for page in PAGES.values() for name in re.findall(pattern, page)}
    published = {name for name in named if not name.startswith("fast")}
    assert len(published) >= 2
    assert published <= set(cards.published())
    assert all((ROOT / "configs" / "recipe" / f"{name}.yaml").exists() for name in named)


def test_weights_that_examples_of_torch_hub_name_exist() -> None:
    pages = [*PAGES.values(), (ROOT / "hubconf.py").read_text(encoding="utf-8")]
    pattern = r"torch\.hub\.load\(\"[^\"]+\", \"(\w+)\", source=\"local\", weights=\"(\w+)\""
    named = {"-".join(found) for page in pages for found in re.findall(pattern, page)}
    assert len(named) >= 2
    assert named <= set(cards.published())


def test_sample_pictures_that_are_named_exist() -> None:
    named = [name for page in PAGES.values() for name in re.findall(r"\bsamples/\w+/[\w.-]+\.\w+", page)]
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_layout_names_every_program_and_folder() -> None:
    (layout,) = re.findall(r"## Layout\n\n```\n(.+?)```", README, flags=re.DOTALL)
    named = set(re.findall(r"(?:^|  )([a-z]+(?:\.py|/))(?= )", layout, flags=re.MULTILINE))
    programs = {path.name for path in ROOT.glob("*.py")}
    folders = {f"{path.name}/" for path in ROOT.glob("[a-z]*") if path.is_dir()} - NOT_COMMITTED
    assert named == programs | folders


def test_readme_shows_code_of_lenet() -> None:
    source = [line.strip() for line in (ROOT / "models" / "lenet.py").read_text(encoding="utf-8").splitlines()]
    (shown,) = re.findall(r"```python\n(self\..+?)```", README, flags=re.DOTALL)
    first = source.index(shown.splitlines()[0])
    assert source[first : first + shown.count("\n")] == shown.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(("page", "first_line"), [("README.md", "import data"), ("docs/export.md", "import torch")])
def test_snippet_runs_as_it_is(page: str, first_line: str) -> None:
    (snippet,) = re.findall(rf"```python\n({first_line}\n.+?)```", PAGES[page], flags=re.DOTALL)
    subprocess.run([sys.executable, "-W", "error", "-c", snippet], cwd=ROOT, check=True)


def test_readme_has_a_result_for_every_network() -> None:
    (results,) = re.findall(r"<!-- results: begin -->\n(.+?)<!-- results: end -->", README, flags=re.DOTALL)
    named = set(re.findall(r"^\| `(\w+)` \|", results, flags=re.MULTILINE))
    assert named >= set(models.names())


@pytest.mark.slow
def test_table_of_sizes_is_the_printed_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["models", "--markdown"])
    models.__main__.main()
    assert capsys.readouterr().out.strip() in PAGES["docs/networks.md"]


def test_every_network_has_its_source_and_differences() -> None:
    (table,) = re.findall(r"## Sources and differences\n(.+?)\n## ", PAGES["docs/networks.md"], flags=re.DOTALL)
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == models.names()


def test_every_option_of_every_group_is_named() -> None:
    groups = sorted(path.name for path in (ROOT / "configs").iterdir() if path.is_dir())
    assert sorted(re.findall(r"^\| `(\w+)` \| `", CONFIGURATION, flags=re.MULTILINE)) == groups
    for group in groups:
        (row,) = (line for line in CONFIGURATION.splitlines() if line.startswith(f"| `{group}` | `"))
        options = sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))
        assert sorted(row.split("|")[2].replace("`", "").split()) == options


def test_every_key_is_listed_with_its_default() -> None:
    configured = yaml.safe_load((ROOT / "configs" / "train.yaml").read_text(encoding="utf-8"))
    configured = {key: value for key, value in configured.items() if key not in ("defaults", "hydra")}
    (table,) = re.findall(r"## Keys\n\n(.+?)\n\n", CONFIGURATION, flags=re.DOTALL)
    listed = {
        key: yaml.safe_load(value) for key, value in re.findall(r"^\| `([\w.]+)` \| (\S+) \|", table, re.MULTILINE)
    }
    for key in keys(configured):
        value: Any = configured
        for part in key.split("."):
            value = value[part]
        assert listed.pop(key) == value, key
    assert not listed
