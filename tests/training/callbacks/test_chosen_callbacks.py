"""Test callbacks that the configuration chooses: they end runs, are resumed exactly, and may be the user's own."""

import csv
import os
import signal
from pathlib import Path

import pytest
from conftest import RunTrain
from safetensors.torch import load_file

import models
import training.run
from training.callbacks.interruption import Interruption

# On 300 images at this learning rate the validation loss soon stops to fall.
SETTINGS = ("model=softmax_regression", "scheduler=constant", "optimizer.lr=0.05", "data.train_size=300")
EARLY = (*SETTINGS, "epochs=20", "callbacks=early_stopping", "callbacks.early_stopping.patience=2", "report=true")


def test_early_stopping_ends_the_run_and_every_record_says_when(run_train: RunTrain, resume: RunTrain) -> None:
    run = run_train(*EARLY)
    assert run.status == 0, run.errors
    losses = [float(row["val_loss"]) for row in run.rows]
    reached = len(losses)
    assert 3 <= reached < 20
    assert min(losses) == losses[-3]  # and two epochs without an improvement
    assert (run.metrics["epochs"], run.metrics["epoch"], run.metrics["ended_early"]) == (reached, reached, True)
    card = models.card(run.folder)
    assert (card["training"]["epochs"], card["training"]["epoch"]) == (reached, reached)
    assert f", {reached} of 20 epochs in " in run.output.splitlines()[-1]
    assert f"<dd>{reached}<small>of" in (run.folder / "report.html").read_text()
    again = resume()
    assert (again.status, again.output) == (
        0,
        f"{run.folder} has finished its {reached} of 20 epochs: test accuracy {run.metrics['test']['accuracy']:.4f}.\n",
    )


@pytest.mark.slow
def test_run_that_is_resumed_stops_at_the_same_epoch(run_train: RunTrain, resume: RunTrain, monkeypatch) -> None:
    whole = run_train(*EARLY, folder="whole")
    reached = len(whole.rows)
    for epoch, moment in (
        (reached - 1, "on_train_batch_start"),
        (reached - 1, "on_validation_start"),
        (reached, "on_validation_start"),
        (reached, "tested"),
    ):

        def stop(callback, trainer, *_, epoch: int = epoch) -> None:
            if trainer.current_epoch + 1 == epoch:
                os.kill(os.getpid(), signal.SIGINT)

        with monkeypatch.context() as patch:
            if moment == "tested":
                patch.setattr(training.run, "measure", lambda *_: os.kill(os.getpid(), signal.SIGINT))
            else:
                patch.setattr(Interruption, moment, stop, raising=False)
            stopped = run_train(*EARLY, folder=f"{epoch}{moment}")
        assert stopped.status == 130, (epoch, moment)
        resumed = resume(folder=f"{epoch}{moment}")
        assert resumed.status == 0, resumed.errors
        assert [row["val_loss"] for row in resumed.rows] == [row["val_loss"] for row in whole.rows], (epoch, moment)
        expected, found = (load_file(run.folder / "weights.safetensors") for run in (whole, resumed))
        assert all((expected[key] == found[key]).all() for key in expected)


def test_timer_ends_the_run_with_the_epoch_in_progress(run_train: RunTrain) -> None:
    run = run_train(*SETTINGS, "epochs=200", "callbacks=timer", "callbacks.timer.duration='00:00:00:01'")
    assert run.status == 0, run.errors
    assert 1 <= run.metrics["epochs"] < 200


def test_callback_of_the_users_own_is_called_and_several_are_chosen(
    run_train: RunTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_callbacks.py").write_text(
        "from pathlib import Path\n"
        "from lightning.pytorch.callbacks import Callback\n"
        "class Count(Callback):\n"
        "    def __init__(self, file): self.file, self.steps = file, 0\n"
        "    def on_before_optimizer_step(self, *_): self.steps += 1\n"
        "    def on_train_end(self, *_): Path(self.file).write_text(str(self.steps))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["+callbacks.count._target_=my_callbacks.Count", f"+callbacks.count.file={tmp_path / 'steps'}"]
    run = run_train(*SETTINGS, "epochs=2", "callbacks=[timer,learning_rate_monitor]", "logger=csv", *words)
    assert run.status == 0, run.errors
    assert (tmp_path / "steps").read_text() == str(2 * (300 // 64))


def test_callback_of_the_users_own_may_log_in_a_step(
    run_train: RunTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_logging_callback.py").write_text(
        "from lightning.pytorch.callbacks import Callback\n"
        "class Losses(Callback):\n"
        "    def on_train_batch_end(self, trainer, module, outputs, *_): self.log('mine', outputs['loss'])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ("epochs=1", "logger=csv", "data.train_size=3400", "+callbacks.x._target_=my_logging_callback.Losses")
    run = run_train(*SETTINGS, *words)
    assert run.status == 0, run.errors
    with (run.folder / "csv" / "metrics.csv").open(newline="") as table:
        assert [row["mine"] for row in csv.DictReader(table) if row["mine"]] != []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["+callbacks.x._target_=no_such_module.X"],
            "callbacks.x._target_=no_such_module.X cannot be imported: No mod",
        ),
        (["+callbacks.x._target_=torch.nn.Identity"], "gives no lightning.pytorch.callbacks.Callback."),
        (["+callbacks.x._target_=lightning.pytorch.callbacks.ModelCheckpoint"], "ModelCheckpoint does not fit beside"),
        (["+callbacks.x._target_=X"], "callbacks.x._target_=X is not valid, it should be a module and a name in it"),
        (["+callbacks.x.y=1"], "callbacks.x._target_ is missing."),
        (["callbacks=early_stopping", "+callbacks.early_stopping.z=1"], "unexpected keyword argument 'z'"),
        (["callbacks=early_stopping", "callbacks.early_stopping.mode=up"], "`mode` can be min, max, got up"),
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.monitor=val_loss"],
            "callbacks.early_stopping.monitor=val_loss is not valid, did you mean 'val/loss'?",
        ),
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/accuracy"],
            "callbacks.early_stopping.mode=min would end the training as val/accuracy gets better. Take mode=max.",
        ),
        (
            [
                "+callbacks.x._target_=lightning.pytorch.callbacks.EarlyStopping",  # whose own mode is min
                "+callbacks.x.monitor=val/accuracy",
            ],
            "callbacks.x.mode=min would end the training as val/accuracy gets better. Take mode=max.",
        ),
        (["callbacks=timer", "callbacks.timer.duration=5"], "refzoo: callbacks.timer: 'int' object has no attribute"),
        (["+callbacks.x._target_=csv.NoSuchName"], "refzoo: callbacks.x._target_=csv.NoSuchName cannot be imported"),
        (
            ["callbacks=early_stopping", "data.val_size=0"],
            "callbacks.early_stopping needs validation, and data.val_size=0",
        ),
        (["callbacks=early_stoping"], "there is no callbacks=early_stoping, did you mean 'early_stopping'?"),
        (["callbacks.timer.duration=1"], "there is no key 'callbacks.timer' without callbacks=timer. Add that."),
        (["callbacks=learning_rate_monitor"], "needs a logger to write to. Add one, such as logger=csv."),
        (["logger=[csv,wand]"], "there is no logger=wand, did you mean 'wandb'?"),
        (["trainer.max_time=3"], "there is no key 'trainer.max_time': callbacks=timer "),
        (["+trainer.accumulate_grad_batches=2"], "there is no key 'trainer.accumulate_grad_batches': batch_size= is"),
    ],
)
def test_wrong_choice_is_answered_in_one_line(run_train: RunTrain, arguments: list[str], told: str) -> None:
    run = run_train("model=softmax_regression", *arguments)
    assert run.status == 2
    assert told in run.errors
    assert len(run.errors.splitlines()) == 1
    assert not run.folder.exists()
