"""Test the checks of the configuration: one line, the nearest valid name, exit status 2, without torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from launch import settings
from launch.errors import SettingsError
from launch.overrides import quote

NEEDED = {  # by options that are for what is the user's own
    "model=own": ["model._target_=my_networks.Tiny", "model.name=Tiny"],
    "data=own": ["data._target_=my_data.load", "data.name=my_data"],
    "loss=own": ["loss._target_=my_losses.Hinge"],
    **{f"data={option}": ["data.root=flowers", "data.name=flowers"] for option in ("folder", "arrays")},
}


def check(*overrides: str) -> None:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("train", list(overrides))
    settings.check(OmegaConf.to_container(config, resolve=True))


def test_default_configuration_is_valid() -> None:
    check()


@pytest.mark.parametrize("group", ["model", "data", "loss", "optimizer", "scheduler", "trainer", "recipe"])
def test_every_option_of_every_group_is_valid(group: str) -> None:
    options = sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))
    assert options
    for option in options:
        check(f"{group}={option}", *NEEDED.get(f"{group}={option}", []))


@pytest.mark.parametrize(
    "override",
    ["model.activation=tanh", "model.padding=2", "optimizer.lr=1", "optimizer.betas=[0.8,0.9]", "run_dir=a b"],
)
def test_valid_override_is_accepted(override: str) -> None:
    check(override)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["epochs=0"], "epochs=0 is not valid, it should be greater than or equal to 1."),
        (["epochs=abc"], "epochs=abc is not valid, it should be a valid integer."),
        (["epochs=2.5"], "epochs=2.5 is not valid"),
        (["epochs=true"], "epochs=True is not valid"),
        (["epochs="], "epochs= is not valid"),
        (["seed=null"], "seed=null is not valid"),
        (["seed=-1"], "seed=-1 is not valid"),
        (["batch_size=0"], "batch_size=0 is not valid"),
        (["batch_size=55001"], "batch_size=55001 is more than the 55000 training images"),
        (["batch_size=101", "data.train_size=100"], "batch_size=101 is more than the 100 training images"),
        (["data.train_size=55001"], "data.train_size=55001 is more than the 55000 images there are"),
        (["data.val_size=60000"], "of 60000 images none is left for training"),
        (["data.val_size=-1"], "data.val_size=-1 is not valid"),
        (["data.name=mnits"], "there is no data set 'mnits', did you mean 'mnist'?"),
        (["precision=bf16-mixd"], "did you mean 'bf16-mixed'?"),
        (["optimizer.lr=0"], "optimizer.lr=0 is not valid"),
        (["optimizer.lr=nan"], "optimizer.lr=nan is not valid"),
        (["optimizer.weight_decay=-1"], "optimizer.weight_decay=-1 is not valid"),
        (["optimizer=rmsprop", "optimizer.alpha=1.5"], "optimizer.alpha=1.5 is not valid"),
        (["optimizer=adadelta", "optimizer.rho=1"], "optimizer.rho=1 is not valid, it should be less than 1"),
        (["scheduler=step", "scheduler.every=10"], "scheduler.every=10 is not reached before the end of epochs=10"),
        (["loss.l1=-1"], "loss.l1=-1 is not valid"),
        (["report=maybe"], "report=maybe is not valid, it should be a valid boolean."),
        (["ema=1"], "ema=1 is not valid, it should be less than 1"),
        (["select=bset"], "select=bset is not valid, did you mean 'best'?"),
        (["select=best", "data.val_size=0"], "select=best needs validation"),
        (["data.augment=null"], "data.augment=null is not valid"),
        (["trainer.devices=0"], "trainer.devices=0 is not valid"),
        (["trainer.devices=2"], "trainer.devices=2 needs several processes. Take trainer=ddp."),
        (["trainer=ddp", "trainer.devices=3"], "batch_size=128 cannot be divided equally among 3 processes. Take 129."),
        (["trainer=ddp", "trainer.num_nodes=2"], "trainer.num_nodes=2 needs torchrun"),
        (["trainer=ddp", "data.val_size=1"], "data.val_size=1 is less than one image for each process"),
        (["+sed=1"], "there is no key 'sed', did you mean 'seed'?"),
        (["+data.vall_size=1"], "there is no key 'data.vall_size', did you mean 'val_size'?"),
        (["model.in_channels=3"], "model.in_channels=3 does not fit the data, which have 1"),
        (["model.num_classes=5"], "model.num_classes=5 does not fit the data, which have 10"),
        (["model=alexnet", "~model.image_size"], "model.image_size is missing"),
        (["data.num_classes=5"], "data.num_classes=5 is not valid: mnist has 10"),
        (["model.name=3"], "there is no network '3'"),
        (["optimizer._target_=os.system"], "optimizer._target_=os.system is not valid"),
        (["model._target_=Tiny"], "model._target_=Tiny is not valid, it should be a class such as my_networks.Tiny."),
        (["+trainer.max_epochs=7"], "there is no key 'trainer.max_epochs'"),
        (["optimizer.betas=[2,3]"], "optimizer.betas.0=2 is not valid"),
        (["model.name=lent"], "there is no network 'lent', did you mean 'lenet'?"),
    ],
)
def test_invalid_configuration_is_refused(overrides: list[str], says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check(*overrides)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["model=lente"], "there is no model=lente, did you mean 'lenet'? Valid: "),
        (["epoch=3"], "there is no key 'epoch', did you mean 'epochs'? Valid: "),
        (
            ["optimizer.weight_deacy=1"],
            "there is no key 'optimizer.weight_deacy', did you mean 'weight_decay'? Valid: ",
        ),
        (["model.activaton=relu"], "there is no key 'model.activaton', did you mean 'activation'? Valid: name, "),
        (["lr=0.1"], "there is no key 'lr', did you mean 'optimizer.lr'?"),
        (["modle=lenet"], "there is no key 'modle', did you mean 'model'? Valid: "),
        (["model=lenet,mlp"], "several values make a sweep, which needs -m."),
        (["epochs=[1"], "'epochs=[1' cannot be read"),
        (["model=GRU"], "there is no model=GRU, did you mean 'gru'?"),
        (["optimizer=sgd", "optimizer.betas=1"], "there is no key 'optimizer.betas'. Valid: lr, weight_decay"),
        (["model=null"], "override must be a string or a list"),
        (["epochs=-5"], "epochs=-5 is not valid"),
        (["--epochs=3"], "unrecognized arguments: --epochs=3. Write key=value"),
        (["--cfg"], "argument --cfg/-c: expected one argument"),
        (["model=lenet", "--epochs", "3"], "unrecognized arguments: --epochs 3. Write key=value"),
    ],
)
def test_wrong_command_prints_a_one_line_error_without_importing_torch(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['train.py', *{arguments!r}]\n"
        "import train; status = train.main()\n"
        "assert not {'torch', 'lightning', 'numpy'} & set(sys.modules)\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("refzoo: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_help_does_not_import_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "train.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "model: " in done.stdout
    assert "lenet" in done.stdout
    assert " torch" not in done.stderr
    assert " hydra" in done.stderr  # the list of imports was printed


@pytest.mark.parametrize(
    "path",
    [
        "C:\\Users\\x y",
        "\\\\server\\share\\",
        "/tmp/a\\b",
        "it's",
        "a\\'b",
        "plain",
        "/a/b-1.5",
        "/1",
        "123",
        "1e3",
        "NULL",
        "nan",
    ],
)
def test_quoted_path_is_read_back_by_hydra(path: str) -> None:
    assert OverridesParser.create().parse_override(f"run_dir={quote(path)}").value() == path
