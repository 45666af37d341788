"""Test own data through the programs: train, stop, resume, evaluate, predict, export, load, fine-tune."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, Run, RunProgram, RunTrain
from PIL import Image

import evaluate
import export
import models
import predict
from training.callbacks.interruption import Interruption

RANDOM = np.random.default_rng(0)
SIZES = ("data.train_size=null", "data.val_size=null", "batch_size=16")  # in place of those of run_train


def image_of(label: int, *shape: int) -> np.ndarray:
    """Return noise with a bright band whose height shows the label, uint8."""
    image = RANDOM.integers(0, 100, shape)
    image[3 * label : 3 * label + 6] += 150
    return image.astype(np.uint8)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of 32 x 32 images in colour, one of grey 20 x 30 images, and an array of 300 classes."""
    root = tmp_path_factory.mktemp("sets")
    for name, classes, shape in (("colour", "abcde", (32, 32, 3)), ("grey", ["cat", "dog"], (20, 30))):
        for label, of_class in enumerate(classes):
            folder = root / name / of_class
            folder.mkdir(parents=True)
            for index in range(40):
                Image.fromarray(image_of(label, *shape)).save(folder / f"{index}.png")
    images = np.stack([image_of(index % 300 % 8, 28, 28) for index in range(1200)])
    np.savez(root / "many.npz", images=images, labels=np.arange(1200) % 300)
    return root


def settings(sets: Path, name: str) -> tuple[str, ...]:
    kind = "arrays" if name.endswith("npz") else "folder"
    return (f"data={kind}", f"data.root={sets / name}", *SIZES)


CASES = {  # of each set: the settings of a run, its images (C, H, W), and its classes
    "colour": (("model=mlp", "epochs=4", "optimizer.lr=1e-3"), (3, 32, 32), 5),
    "grey": (("model=rnn", "model.hidden_size=16", "epochs=20", "optimizer.lr=1e-2"), (1, 20, 30), 2),
    "many.npz": (("model=lenet", "epochs=1"), (1, 28, 28), 300),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_own_data_pass_through_every_program(
    sets: Path, name: str, run_train: RunTrain, run_program: RunProgram, tmp_path: Path
) -> None:
    words, shape, classes = CASES[name]
    run = run_train(*settings(sets, name), *words, "report=true")
    assert run.status == 0, run.errors
    assert run.metrics["data"] == Path(name).stem
    assert "data:image/png" in (run.folder / "report.html").read_text() or run.metrics["test"]["accuracy"] == 1
    card, network = models.card(run.folder), models.load(run.folder)
    assert (card["input"]["channels"], len(card["classes"])) == (shape[0], classes)
    assert network(torch.randn(2, *shape)).shape == (2, classes)

    measured = run_program(evaluate, "--weights", run.folder, "--json", tmp_path / "measured")
    assert measured.status == 0, measured.errors
    found = json.loads((tmp_path / "measured").read_text())
    assert {key: found[key] for key in run.metrics["test"]} == run.metrics["test"]
    assert found["as_recorded"]
    elsewhere = tmp_path / f"elsewhere{Path(name).suffix}"
    elsewhere.symlink_to(sets / name)
    moved = run_program(evaluate, "--weights", run.folder, "--data", elsewhere)
    assert f"elsewhere: test accuracy {found['accuracy']:.4f}" in moved.output

    if name != "many.npz":
        assert run.metrics["test"]["accuracy"] > 0.8
        pictures = [sets / name / of_class / "0.png" for of_class in card["classes"]]
        predicted = run_program(predict, "--weights", run.folder, "--json", tmp_path / "predicted", *pictures)
        assert predicted.status == 0, predicted.errors
        answers = json.loads((tmp_path / "predicted").read_text())
        assert (
            sum(answer["class"] == path.parent.name for answer, path in zip(answers, pictures, strict=True))
            > 0.6 * classes
        )
    exported = run_program(export, "--weights", run.folder, "--output", tmp_path / "own.onnx")
    assert exported.status == 0, exported.errors


@pytest.mark.slow
def test_all_augmentation_acts_on_colour(sets: Path, run_train: RunTrain) -> None:
    augment = {"shift": 2, "horizontal_flip": 0.5, "rotation": 10, "scale": 0.1, "erasing": 0.5, "cutout": 6}
    words = [f"data.augment.{key}={value}" for key, value in augment.items()]
    run = run_train(*settings(sets, "colour"), "model=mlp", "epochs=1", *words)
    assert run.status == 0, run.errors


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["colour", "grey"])
def test_stopped_run_resumes_to_the_same_weights(
    sets: Path, folder: str, run_train: RunTrain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = (*settings(sets, folder), "model=mlp", "model.dropout=0.5", "data.augment.shift=1")
    whole = run_train(*words, folder="whole")
    assert whole.status == 0, whole.errors

    def stop(self: Interruption, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "on_train_batch_start", stop)
        stopped = run_train(*words, folder="stopped")
    assert stopped.status == 130
    monkeypatch.setattr(sys, "argv", ["train.py", f"resume={stopped.folder}"])
    import train

    assert train.main() == 0
    assert Run(0, "", "", stopped.folder).metrics["weights_sha256"] == whole.metrics["weights_sha256"]


COLOUR, GREY = (("data=folder", f"data.root=SETS/{name}", *SIZES) for name in ("colour", "grey"))


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["data=folder"], 2, "data.root"),
        (["data=folder", "data.root=no/such/folder"], 3, "there is no folder"),
        (["data=arrays", "data.root=no/such.npz"], 3, "there is no file"),
        (
            [*COLOUR, "data.val_size=5000"],
            2,
            "data.val_size=5000 is more than the 160",
        ),
        (
            [*COLOUR, "batch_size=999"],
            2,
            "batch_size=999 is more than the 144 training",
        ),
        (
            [*COLOUR, "model.in_channels=1"],
            2,
            "model.in_channels=1 does not fit the data",
        ),
        ([*GREY], 2, "LeNet reads 28 x 28 or 32 x 32 images, got 20 x 30"),
        (
            [*COLOUR, "data.val_size=1.5"],
            2,
            "a number of images such as 500, or a share",
        ),
        ([*COLOUR, "image_size=[1,2,3]"], 2, "image_size"),
    ],
)
def test_own_data_that_do_not_fit_are_refused_before_a_folder_exists(
    sets: Path, run_train: RunTrain, words: list[str], status: int, says: str
) -> None:
    run = run_train(*(word.replace("SETS", str(sets)) for word in words))
    assert (run.status, run.errors.count("\n")) == (status, 1), run.errors
    assert says in run.errors
    assert not run.folder.exists()


@pytest.mark.slow
def test_fine_tuning_says_what_it_starts_from_and_freezes_stages(sets: Path, run_train: RunTrain) -> None:
    run = run_train(
        *settings(sets, "colour"), "weights=lenet_relu-fashion_mnist", "freeze=[c1,c3]", "epochs=2", "select=last"
    )
    assert run.status == 0, run.errors
    first = run.output.splitlines()[0]
    assert first.startswith(
        "starts from lenet_relu-fashion_mnist; left fresh: output (5 in place of 10 classes); adapted"
    )
    assert first.endswith("frozen: c1, c3")
    before, after = models.load("lenet_relu-fashion_mnist").state_dict(), models.load(run.folder).state_dict()
    assert torch.equal(after["c3.0.weight"], before["c3.0.weight"])
    assert torch.allclose(after["c1.0.weight"], before["c1.0.weight"].expand(-1, 3, -1, -1) / 3)
    assert not torch.equal(after["f6.0.weight"], before["f6.0.weight"])
    assert models.card(run.folder)["training"]["freeze"] == ["c1", "c3"]


@pytest.mark.slow
def test_weights_keep_the_data_of_their_training(run_train: RunTrain, sets: Path) -> None:
    first = run_train(*settings(sets, "grey"), "model=mlp", "epochs=1", folder="first")
    for weights, data in (("softmax_regression-fashion_mnist", "fashion_mnist"), (str(first.folder), "grey")):
        run = run_train(f"weights={weights}", *SIZES, "data.train_size=32", "data.val_size=16", "epochs=1", folder=data)
        assert run.status == 0, run.errors
        assert run.metrics["data"] == data


@pytest.mark.slow
@pytest.mark.thorough
def test_documented_network_data_and_loss_of_the_users_own_are_found_from_the_current_folder(tmp_path: Path) -> None:
    guide = (ROOT / "docs/adding.md").read_text()
    for name in ("my_networks.py", "my_data.py", "my_losses.py"):
        (tmp_path / name).write_text(guide.partition(f"```python\n# {name}\n")[2].partition("```")[0])
    words = ["model._target_=my_networks.Tiny", "+model.width=4", "data._target_=my_data.load", "+data.count=500"]
    words += ["loss._target_=my_losses.Hinge", "+loss.margin=2.0", "optimizer.lr=0.1", "batch_size=16"]
    words += ["epochs=3", "trainer=cpu", "run_dir=run"]
    subprocess.run([sys.executable, str(ROOT / "train.py"), *words], cwd=tmp_path, check=True)
    card = models.card(tmp_path / "run")
    assert card["network"] == "my_networks.Tiny"
    assert card["arguments"] == {"image_size": 28, "in_channels": 3, "num_classes": 2, "width": 4}
    assert (card["data"], card["metrics"]["test"]["images"]) == ("my_data", 100)
    assert card["training"]["loss"] == {"_target_": "my_losses.Hinge", "margin": 2.0, "l1": 0.0}
    assert card["metrics"]["test"]["accuracy"] > 0.9  # the two classes differ in their mean colour
    code = "import models, my_networks; print(type(models.load('run', network=my_networks.Tiny)).__name__)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "Tiny\n", done.stderr
    refused = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "weights=run", words[0]], cwd=tmp_path, capture_output=True, text=True
    )
    assert "was trained on 'my_data', which is not available. Name data with data=." in refused.stderr
    unnamed = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "weights=run"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "holds a network of your own. Name it: model._target_=my_networks.Tiny." in unnamed.stderr
    named = [words[0], words[2], words[4]]
    for again, status, told in (([], 4, "If you trust it"), (named, 0, "has finished its 3 epochs")):
        resumed = subprocess.run(
            [sys.executable, str(ROOT / "train.py"), "resume=run", *again], cwd=tmp_path, capture_output=True, text=True
        )
        assert (resumed.returncode, told in resumed.stdout + resumed.stderr) == (status, True), resumed.stderr


@pytest.mark.slow
def test_own_data_may_have_the_name_of_a_bundled_set_and_may_move_but_not_change_before_resuming(
    sets: Path, run_train: RunTrain, run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "mnist"
    shutil.copytree(sets / "colour", root)
    run = run_train("data=folder", f"data.root={root}", *SIZES, "model=mlp", "epochs=1", "scheduler=constant")
    assert run.status == 0, run.errors
    assert run.metrics["data"] == "mnist"
    predicted = run_program(predict, "--weights", run.folder, root / "a/0.png")
    assert predicted.status == 0, predicted.errors
    unchanged = run_program(evaluate, "--weights", run.folder)
    assert ", as recorded" in unchanged.output
    import train

    moved = root.rename(tmp_path / "moved")  # the same images, elsewhere
    monkeypatch.setattr(sys, "argv", ["train.py", f"resume={run.folder}", f"data.root={moved}", "epochs=2"])
    assert train.main() == 0
    (moved / "e" / "0.png").unlink()
    changed = run_program(evaluate, "--weights", run.folder)
    assert changed.status == 0
    assert "mnist was changed since the training" in changed.errors
    assert "recorded" not in changed.output
    monkeypatch.setattr(sys, "argv", ["train.py", f"resume={run.folder}", "epochs=3"])
    assert train.main() == 2


@pytest.mark.slow
def test_other_images_are_matched_by_the_names_of_their_classes(
    sets: Path, run_train: RunTrain, run_program: RunProgram, tmp_path: Path
) -> None:
    run = run_train(*settings(sets, "colour"), *CASES["colour"][0])
    assert run.metrics["test"]["accuracy"] > 0.8
    for name, classes in (("fewer", "be"), ("others", "bz")):
        for of_class in classes:
            shutil.copytree(sets / "colour" / ("b" if of_class == "z" else of_class), tmp_path / name / of_class)
    fewer = run_program(evaluate, "--weights", run.folder, "--data", tmp_path / "fewer", "--json", tmp_path / "found")
    assert fewer.status == 0, fewer.errors
    assert json.loads((tmp_path / "found").read_text())["accuracy"] > 0.8
    refused = run_program(evaluate, "--weights", run.folder, "--data", tmp_path / "others")
    assert (refused.status, refused.errors.count("\n")) == (3, 1)
    assert "others has a class 'z', the network knows a, b, c, d, e." in refused.errors


@pytest.mark.slow
def test_weights_go_on_with_the_splits_of_their_training(sets: Path, run_train: RunTrain) -> None:
    sizes = ("data.test_size=0.05", "data.val_size=0", "batch_size=16", "epochs=1", "data.train_size=null")
    first = run_train("data=folder", f"data.root={sets / 'grey'}", "model=mlp", *sizes, folder="first")
    assert first.metrics["test"]["images"] == 4
    import train

    folder = first.folder.parent / "second"
    words = [f"weights={first.folder}", "epochs=1", "batch_size=16", f"run_dir={folder}", "report=false"]
    sys.argv = ["train.py", *words]
    assert train.main() == 0
    assert models.card(folder)["training"]["sha256"] == models.card(first.folder)["training"]["sha256"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        ("def load(**_): return None", ["data._target_=mine.load"], "gives NoneType, expected data.splits.Splits"),
        ("def load(**_): exit(3)", ["data._target_=mine.load"], "data._target_=mine.load exits with 3"),
        ("def load(name): pass", ["data._target_=mine.load"], "unexpected keyword argument 'root'"),
        (
            "import data\ndef load(**_):\n s = data.load('mnist')\n return s._replace(test=s.test.part(0, 0))",
            ["data._target_=mine.load"],
            "has no test images",
        ),
        (
            "import data\ndef load(**_):\n s = data.load('mnist')\n"
            " return s._replace(train=s.train._replace(images=s.train.images / 255))",
            ["data._target_=mine.load"],
            "has train images torch.float32 (55000, 1, 28, 28), expected torch.uint8",
        ),
        (
            "import data\ndef load(**_):\n s = data.load('mnist')\n"
            " return s._replace(val=s.val._replace(labels=s.val.labels + 1))",
            ["data._target_=mine.load"],
            "has val labels that are not int64 (N,) from 0 to 9",
        ),
        (
            "from torch import nn\ndef net(**_): return nn.Sequential(nn.Flatten(), nn.Linear(784, 7))",
            ["model._target_=mine.net"],
            "gives outputs (2, 7) for two images, expected logits (2, 10)",
        ),
        ("def net(**_): return 3", ["model._target_=mine.net"], "gives no torch.nn.Module"),
        (
            "from torch import nn\ndef net(**_): return nn.Linear(3, 3)",
            ["model._target_=mine.net"],
            "model._target_=mine.net fails: addmm: mat1 and mat2",
        ),
        ("def loss(*_): assert 0", ["loss._target_=mine.loss", "+loss._partial_=true"], "fails: AssertionError."),
    ],
)
def test_wrong_code_of_the_user_is_refused_before_a_folder_exists(
    tmp_path: Path, run_train: RunTrain, monkeypatch: pytest.MonkeyPatch, code: str, words: list[str], says: str
) -> None:
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    refused = run_train(*words, "data.train_size=null", "data.val_size=null", "data.test_size=null")
    assert (refused.status, refused.errors.count("\n")) == (2, 1), refused.errors
    assert says in refused.errors
    assert not refused.folder.exists()
