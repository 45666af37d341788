"""Import Lightning without what torchmetrics imports in passing wherever it is installed, and a training never uses.

With matplotlib, SciPy and torchvision that takes a third of the time until the first batch.
"""

import contextlib
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

NOT_NEEDED = ("matplotlib", "scipy", "torchvision")


def import_lightning() -> None:
    """Import it where nothing has yet. Its own plots and metrics of pictures are missing in torchmetrics then."""
    if "lightning" not in sys.modules:
        with hidden({name for name in NOT_NEEDED if name not in sys.modules}):
            import lightning  # noqa: F401


@contextlib.contextmanager
def hidden(packages: set[str]) -> Iterator[None]:
    """Let these packages be missing, for `import` and for how Lightning and torchmetrics ask for them."""
    from lightning_utilities.core import imports

    version = imports._version

    def version_unless_hidden(package: str) -> str:
        if package in packages:
            raise PackageNotFoundError(package)
        return version(package)

    imports._version = version_unless_hidden
    sys.modules.update(dict.fromkeys(packages))  # None: importing it fails
    try:
        yield
    finally:
        imports._version = version
        for package in packages:
            del sys.modules[package]
        imports.package_available.cache_clear()
        imports.module_available.cache_clear()
