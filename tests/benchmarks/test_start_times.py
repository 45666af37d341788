"""Test the benchmark of start-up times."""

from benchmarks import start


def test_import_times_include_nested_imports() -> None:
    found = start.import_seconds(["-c", "import hydra.version"])
    assert {"all", "hydra"} == found.keys()
    assert 0 < found["hydra"] < found["all"]
