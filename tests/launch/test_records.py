"""Test that a folder from elsewhere, run, sweep or weights, names no code: all of it is data."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from conftest import CARD, ROOT

import models
import train
from launch import overrides
from models import WeightsError
from models.weights import serialize

FOREIGN = [  # payload.py lies in the current folder, from which a user's own modules are imported
    "model._target_=payload.run",
    "data._target_='payload.run'",
    "loss._target_=payload.run",
    "optimizer._target_=payload.run",
    "scheduler._target_=payload.run",
    "trainer._target_=payload.run",
    "+logger._target_=payload.run",
    "loss._target_=training.losses.Focal,payload.run",
    "loss._target_=choice('payload.run',training.losses.Focal)",
    "+model.x._target_=payload.run",
    "+model.x={_target_: payload.run}",
    "+model.x=[1, [{a: {_target_: payload.run}}]]",
    "+model.x=choice({_target_: 'payload.run'}, 2)",
    "model={_target_: payload.run}",
    "model.activation='${oc.create:\"{_target_: payload.run}\"}'",
    "model._target_='${model.activation}'",
    "model=../../payload",
    "model=/payload",
    "model=payload",
    "recipe=payload",
    "model@hydra.launcher=lenet",
    "+callbacks.x._target_=payload.run",
    "+callbacks.x._target_=training.loggers.CSVLogger",
    "logger.csv.save_dir=/elsewhere",
    "+logger.csv={_target_: training.loggers.CSVLogger, save_dir: /elsewhere}",
    "logger.mlflow.tracking_uri=https://elsewhere",
    "+logger.wandb.settings.base_url=https://elsewhere",
    "+payload=1",
    "+defaults=[payload]",
    "+hydra.callbacks.x._target_=payload.run",
    "hydra/callbacks=payload",
    "hydra/launcher=submitit_local",
    "+hydra.launcher._target_=payload.run",
    "hydra.sweeper._target_=payload.run",
    "hydra/job_logging=default",
    "+hydra.job_logging.handlers.x.class=payload.Handler",
    "+hydra.hydra_logging.handlers.x.class=payload.Handler",
    "hydra.searchpath=[file://.]",
    "+hydra.job.env_set.PYTHONSTARTUP=payload.py",
    "hydra.output_subdir=..",
    "~hydra.help",
]


@pytest.fixture(autouse=True)
def payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write code that says so in a file when it is imported, and options that name it; return that file."""
    mark = tmp_path / "imported"
    (tmp_path / "payload.py").write_text(f"open({str(mark)!r}, 'w')\ndef run(*_, **__): pass\nHandler = run\n")
    (tmp_path / "payload.yaml").write_text("_target_: payload.run\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return mark


def make_run(folder: Path, recorded: list) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(recorded))
    (folder / "config.yaml").write_text("{}\n")
    return folder


def make_sweep(folder: Path, recorded: list) -> Path:
    folder.mkdir()
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"overrides": recorded, "named_by": ["seed"]}))
    return folder


def start(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    return train.main()


@pytest.mark.parametrize("make", [make_run, make_sweep])
@pytest.mark.parametrize("override", FOREIGN)
def test_record_that_names_other_code_is_refused(
    override: str, make, tmp_path: Path, payload: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    folder = make(tmp_path / "from elsewhere", ["model=mlp", "seed=1,2" if make is make_sweep else "seed=1", override])
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert start(monkeypatch, f"resume={overrides.quote(folder)}") == 4
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("refzoo: ")
    assert f" holds {override}, which is not part of this project. If you trust it, give " in line
    assert not payload.exists()
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("recorded", [[3], [None], [["model=mlp"]], ["no override"], ["model=interval(1,2)"], [{}]])
def test_record_without_overrides_is_called_damaged(
    recorded: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    assert start(monkeypatch, f"resume={make_run(tmp_path / 'run', recorded)}") == 4
    assert "is damaged" in capfd.readouterr().err


@pytest.mark.parametrize(
    "content", ["a: !!python/object/apply:payload.run []", "model: {_target_: payload.run}\nloss: {l1: 0}", "[1]"]
)
def test_configuration_of_a_record_is_data(
    content: str, tmp_path: Path, payload: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    folder = make_run(tmp_path / "run", ["model=mlp"])
    (folder / "config.yaml").write_text(content)
    assert start(monkeypatch, f"resume={folder}") in (2, 4)
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert not payload.exists()


@pytest.mark.parametrize(
    "arguments", [{"_target_": "payload.run"}, {"x": "${oc.create:'{_target_: payload.run}'}"}, {"x=1 hydra.y": 2}]
)
def test_weights_name_no_other_code(
    arguments: dict, tmp_path: Path, payload: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    shape = {"image_size": 28, "in_channels": 1, "num_classes": 10}
    network = models.create("softmax_regression", **shape)
    (tmp_path / "w.safetensors").write_bytes(serialize(network, "softmax_regression", shape | arguments, CARD))
    assert start(monkeypatch, "weights=w.safetensors", "epochs=1", "data=mnist") == 4
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert not payload.exists()


def test_data_of_weights_are_an_option_of_this_project(tmp_path: Path) -> None:
    shape = {"image_size": 28, "in_channels": 1, "num_classes": 10}
    training = {"format": "../../payload", "root": "x", "split_seed": 0, "train_size": 1, "val_size": 1, "test_size": 1}
    content = serialize(
        models.create("softmax_regression", **shape), "softmax_regression", shape, CARD | {"training": training}
    )
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"holds data=\.\./\.\./payload, which is not part of this project"):
        overrides.complete(["weights=w.safetensors"], tmp_path)


@pytest.mark.parametrize("override", ["model._target_=payload.run", "loss._target_=payload.run"])
def test_other_code_that_is_given_again_goes_on(override: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", ["model=mlp", "+model.width=3", override])
    completed, _ = overrides.complete([f"resume={folder}", override], tmp_path)
    assert completed == ["model=mlp", "+model.width=3", override, f"resume={folder}"]


def test_everything_that_a_run_may_record_goes_on(tmp_path: Path) -> None:
    options = [path.relative_to(ROOT / "configs").with_suffix("") for path in (ROOT / "configs").glob("*/**/*.yaml")]
    chosen = [f"{path.parts[0]}={'/'.join(path.parts[1:])}" for path in options]
    keys = yaml.safe_load((ROOT / "configs/train.yaml").read_text())
    others = {"defaults", "hydra", "run_dir", "resume"}
    set_keys = [
        f"{key}={json.dumps(value)}"
        for key, value in keys.items()
        if key not in others and not isinstance(value, dict) and "$" not in str(value)
    ]
    values = [
        "model.activation=relu",
        "+model.width=3",
        "data.augment.shift=2",
        "~freeze",
        "data.root='/a b/c'",
        "recipe=null",
    ]
    recorded = [*chosen, *set_keys, *values, "model.hidden_sizes=[3,4]", "optimizer._target_=torch.optim.SGD"]
    folder = make_run(tmp_path / "run", recorded)
    completed, _ = overrides.complete([f"resume={folder}"], tmp_path)
    assert completed == [*recorded, f"resume={folder}"]
    swept = ["model=mlp,'lenet'", "seed=range(1,4)", "optimizer.lr=choice(0.1,0.2)", "recipe=glob(lenet*)"]
    _, sweep = overrides.complete([f"resume={make_sweep(tmp_path / 'sweep', swept)}"], tmp_path)
    assert sweep
    assert sweep.overrides == swept


def test_launcher_of_a_sweep_is_not_recorded(tmp_path: Path) -> None:
    words = ["-m", "model=mlp", "seed=1,2", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=3"]
    _, sweep = overrides.complete([*words, f"run_dir={tmp_path / 'sweep'}"], tmp_path)
    assert sweep
    assert sweep.overrides == words[1:]
    _, resumed = overrides.complete([f"resume={tmp_path / 'sweep'}"], tmp_path)
    assert resumed
    assert resumed.overrides == words[1:3]
