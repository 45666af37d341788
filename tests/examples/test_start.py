"""Test what begins every example: its flags, a missing package, an error in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

EXAMPLE = '''"""Show nothing."""
from start import read_flags
options = read_flags("show", __doc__, "json", NEEDS)
import models
print(options.size, options.folder, len(models.names()))
'''


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--quick", "--output", "here/plots"], 0, "quick here/plots 12"),
        (["--full", "--output", "here"], 0, "full here 12"),
        (["--help"], 0, "Show nothing."),
        (["--quik"], 2, "refzoo: unrecognized arguments: --quik. --help shows the flags."),
        (
            ["--quick", "--full"],
            2,
            "refzoo: argument --full: not allowed with argument --quick. --help shows the flags.",
        ),
        (["--output", "file"], 5, "refzoo: file cannot be made (File exists). Name another folder."),
    ],
)
def test_example_reads_its_flags_from_any_folder(tmp_path: Path, arguments: list[str], status: int, told: str) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path, arguments, needs="'argparse'")
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    assert told in done.stdout + done.stderr


def test_missing_package_is_answered_with_the_command_that_installs_it(tmp_path: Path) -> None:
    done = run(tmp_path, [], needs="'no_such_package'")
    expected = "refzoo: show needs no_such_package. Run it with: uv run --extra examples examples/show.py\n"
    assert (done.returncode, done.stderr) == (5, expected)


def test_notebook_takes_the_defaults_whatever_its_own_flags_are(tmp_path: Path) -> None:
    (tmp_path / "ipykernel.py").write_text("")
    code = 'import ipykernel\nfrom start import read_flags\nprint(read_flags("lesson", None))'
    environment = {"PYTHONPATH": str(ROOT / "examples"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code, "-f", "kernel.json"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    folder = ROOT / "runs" / "examples" / "lesson"
    assert done.stdout == f"Options(size='default', folder={folder!r})\n", done.stderr
    folder.rmdir()


def test_reader_that_stops_ends_an_example_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "show.py").write_text(
        "from start import read_flags\nread_flags('show', None)\nfor _ in range(100_000): print('a line of a table')\n"
    )
    command = f"{sys.executable} show.py --output here | head -1"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "examples")}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("a line of a table\n", "")


def run(folder: Path, arguments: list[str], needs: str) -> subprocess.CompletedProcess[str]:
    (folder / "show.py").write_text(EXAMPLE.replace("NEEDS", needs))
    environment = {"PYTHONPATH": str(ROOT / "examples"), "PATH": ""}
    return subprocess.run(
        [sys.executable, "show.py", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
