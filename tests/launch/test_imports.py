"""Test that Lightning is imported without what torchmetrics would import in passing, which stays available."""

import subprocess
import sys

from conftest import ROOT

PROGRAM = """
import sys
from launch.imports import NOT_NEEDED, import_lightning

import_lightning()
import training.run, training.lr_finder
print({*NOT_NEEDED} & {*sys.modules})

from lightning_utilities.core.imports import RequirementCache, package_available
print(*(bool(RequirementCache(name)) and package_available(name) for name in ("matplotlib", "torchvision", "torch")))
import matplotlib, torchvision
"""


def test_training_imports_no_matplotlib_scipy_or_torchvision() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "set()\nTrue True True\n"), done.stderr
