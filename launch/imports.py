"""Import Lightning without what torchmetrics imports in passing wherever it is installed, and a training never uses.

With matplotlib, SciPy and torchvision installed, that would be a quarter of the time until the first batch.
"""

import contextlib
import sys
from collections.abc import Iterator

NOT_NEEDED = ("matplotlib", "scipy", "torchvision")


def import_lightning() -> None:
    """Import it where nothing has yet. Its own plots and metrics of pictures are missing in torchmetrics then."""
    if "lightning" not in sys.modules:
        with hidden({name for name in NOT_NEEDED if name not in sys.modules}):
            import lightning  # noqa: F401


@contextlib.contextmanager
def hidden(packages: set[str]) -> Iterator[None]:
    """Let these packages be missing, for `import` and for how Lightning and torchmetrics ask for them."""
    from importlib.metadata import PackageNotFoundError

    from lightning_utilities.core import imports

    names = imports.__dict__
    version = names.get("_version")
    if version is None:  # another release of it: they stay visible
        yield
        return

    def version_unless_hidden(package: str) -> str:
        if package in packages:
            raise PackageNotFoundError(package)
        return version(package)

    names["_version"] = version_unless_hidden
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type] # importing None fails
    try:
        yield
    finally:
        names["_version"] = version
        for package in packages:
            del sys.modules[package]
        imports.package_available.cache_clear()
        imports.module_available.cache_clear()
