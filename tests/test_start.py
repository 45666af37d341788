"""The benchmark of starts: what it counts."""

from benchmarks import start


def test_imports_are_counted_with_what_they_import() -> None:
    found = start.import_seconds(["-c", "import hydra.version"])
    assert {"all", "hydra"} == found.keys()
    assert 0 < found["hydra"] < found["all"]
