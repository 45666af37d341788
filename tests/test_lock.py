"""Compare the versions in requirements.lock, in pyproject.toml and of the installed packages."""

import re
import tomllib
from importlib.metadata import distributions

from conftest import ROOT


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_lock_file_and_pins_agree() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock, re.MULTILINE))
    pins = dict(
        pin.split("==")
        for pin in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    )
    assert len(locked) > 50
    assert locked.items() <= pins.items()
    assert lock.count("--hash=sha256:") >= len(locked)
    assert "://" not in lock


def test_installed_versions_equal_the_pins() -> None:
    pins = dict(
        pin.split("==")
        for pin in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    )
    installed = {normal(d.metadata["Name"]): d.version.partition("+")[0] for d in distributions()}
    shared = pins.keys() & installed.keys()
    assert len(shared) > 40
    assert {name: installed[name] for name in shared} == {name: pins[name] for name in shared}
