"""Test the layout: folders import one way only, no two files import each other, launch/ imports no torch."""

import ast
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

MAY_IMPORT = {  # folder: those below it, which it may import
    "models": set(),
    "data": set(),
    "pictures": {"data"},
    "launch": {"models", "data"},
    "reports": {"models", "data", "launch"},
    "training": {"models", "data", "launch"},
    "inspection": {"models", "data", "pictures", "launch", "reports", "training"},
    "program": {"models", "data", "pictures", "launch", "reports", "training", "inspection"},
    "examples": {"models", "data", "pictures", "launch", "reports", "training", "inspection"},
    "benchmarks": {"models", "data", "pictures", "launch", "reports", "training", "inspection", "program"},
}
FILES = [path.relative_to(ROOT) for folder in MAY_IMPORT for path in ROOT.glob(f"{folder}/**/*.py")]
FILES += [path.relative_to(ROOT) for path in ROOT.glob("*.py")]
LAUNCH = [".".join(path.with_suffix("").parts) for path in FILES if path.parts[0] == "launch"]


def folder(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else "program"


def imports(path: Path) -> set[Path]:
    """Return our own files that a file imports, at its top or within its functions."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {file for alias in node.names if (file := file_of(alias.name.split(".")))}
        if isinstance(node, ast.ImportFrom):
            package = list(path.parts[: len(path.parts) - node.level]) if node.level else []
            module = package + (node.module.split(".") if node.module else [])
            for alias in node.names:
                if file := file_of([*module, alias.name]) or file_of(module):
                    found.add(file)
    return found - {path}


def file_of(parts: list[str]) -> Path | None:
    """Return the file of a dotted name, None for a library's and for a name that is no module."""
    for file in (Path(*parts).with_suffix(".py"), Path(*parts, "__init__.py")):
        if file in FILES:
            return file
    return None


def test_imports_finds_all_import_forms() -> None:
    assert {Path("launch/errors.py"), Path("reports/sweep_summary.py"), Path("training/run.py")} <= imports(
        Path("train.py")
    )
    assert Path("training/module.py") in imports(Path("training/callbacks/history.py").with_name("checkpoints.py"))
    assert Path("models/__init__.py") in imports(Path("launch/settings.py"))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_file_imports_only_its_own_folder_and_those_below(path: Path) -> None:
    for imported in imports(path):
        if folder(path) == folder(imported) != "program":
            continue
        assert folder(imported) in MAY_IMPORT[folder(path)], f"{path} imports {imported}"


def test_no_files_import_each_other() -> None:
    graph = {file: imports(file) - {file.with_name("__init__.py")} for file in FILES}  # which importing a file imports
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_launch_imports_no_torch_numpy_or_matplotlib() -> None:
    script = (
        f"import sys, {', '.join(LAUNCH)}\nprint(*{{'torch', 'numpy', 'matplotlib', 'lightning'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_folder_holds_more_than_a_quarter_of_the_lines() -> None:
    lines: Counter[str] = Counter()
    for path in FILES:
        lines[folder(path)] += len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert max(lines.values()) <= sum(lines.values()) / 4, lines
