"""Test predict.py: its output, its JSON, its exit statuses and its messages."""

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, Result, RunProgram
from PIL import Image

import models
import predict
from models.weights import serialize

CLASSES = [f"band {k}" for k in range(10)]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Write weights with known answers: class k for light in the k-th of ten bands, from left to right."""
    network = models.create("softmax_regression")
    columns = torch.arange(28) * 10 // 28
    with torch.no_grad():
        band = (columns == torch.arange(10)[:, None]).float()
        network.get_parameter("output.weight").copy_(0.05 * band.repeat(1, 28))
        network.get_parameter("output.bias").zero_()
    card = {
        "data": "own",
        "input": {"channels": 1, "mean": 0.0, "std": 1.0, "image_size": 28},
        "classes": CLASSES,
        "metrics": {},
        "training": {},
        "versions": {},
    }
    path = tmp_path / "bands.safetensors"
    path.write_bytes(serialize(network, "softmax_regression", {}, card))
    return path


@pytest.fixture
def run(weights: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunProgram:
    """Run `predict.py --weights <bands>` with these words in this process."""
    monkeypatch.chdir(weights.parent)

    def predicted(*words: str, weights: str = str(weights)) -> Result:
        monkeypatch.setattr(sys, "argv", ["predict.py", "--weights", weights, *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            predict.flags.run(predict.main)
        assert isinstance(ended.value.code, int)
        output, errors = capfd.readouterr()
        return Result(ended.value.code, output, errors)

    return predicted


def band(k: int, scale: int = 5) -> Image.Image:
    light = np.arange(28) * 10 // 28 == k
    return Image.fromarray(np.uint8(255) * np.tile(light.repeat(scale), (28 * scale, 1)))


def test_each_file_prints_one_line_of_classes(run: RunProgram) -> None:
    names = [f"{'long ' * (k == 3)}{k}.png" for k in range(10)]
    for k, name in enumerate(names):
        band(k).save(name)
    status, output, errors = run(*names)
    assert (status, errors) == (0, "")
    first, *lines = output.splitlines()
    assert first.endswith("bands.safetensors: softmax_regression, trained on own")
    for k, line in enumerate(lines):
        assert line.startswith(f"{names[k]:10}  band {k}  ")
        assert line.count("band") == 3  # --top 3
    assert len(run("0.png", "--top", "1").lines[0]) < 40
    assert run("0.png", "--top", "99").lines[0].count("band") == 10


def test_json_holds_the_results(run: RunProgram) -> None:
    band(4, scale=1).save("4.png")
    Path("text.png").write_text("hello")
    status, output, errors = run("4.png", "text.png", "--json", "-", "--top", "10")
    assert status == 3
    answer, failure = json.loads(output)
    assert (answer["file"], answer["label"], answer["class"]) == ("4.png", 4, "band 4")
    shares = [each["probability"] for each in answer["top"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    odds = np.exp(0.05 * 28 * 2)  # the weight, 28 rows, the two columns 12 and 13
    assert answer["probability"] == pytest.approx(odds / (odds + 9))
    assert failure.keys() == {"file", "error"}
    assert failure["error"] in errors
    assert run("4.png", "--json", "answers.json").lines[0].startswith("4.png")
    assert json.loads(Path("answers.json").read_text())[0]["label"] == 4
    assert json.loads(run("4.png", "--json").output)[0]["label"] == 4
    assert run("4.png", "--json", "answers.json", "--top", "2").status == 0  # earlier answers may be replaced
    assert len(json.loads(Path("answers.json").read_text())[0]["top"]) == 2


def test_json_overwrites_no_other_file(run: RunProgram) -> None:
    band(4).save("a.png")
    before = Path("a.png").read_bytes()
    Path("package.json").write_text('{"name": "mine"}')
    Path("index.json").write_text('[{"file": "a", "sha256": "b"}]')
    for words in (
        ("a.png", "--json", "a.png"),
        ("--json", "a.png", "b.png"),
        ("a.png", "--json", "package.json"),
        ("a.png", "--json", "index.json"),
    ):
        refused = run(*words)
        assert (refused.status, refused.output, refused.errors.count("\n")) == (2, "", 1)
        assert (
            f"--json {words[words.index('--json') + 1]} would replace a file that holds no results." in refused.errors
        )
    assert (Path("a.png").read_bytes(), Path("package.json").read_text()) == (before, '{"name": "mine"}')


@pytest.mark.slow
def test_closed_streams_and_unprintable_names_lose_no_result(weights: Path, tmp_path: Path) -> None:
    band(5).save(tmp_path / "fünf 五.png")
    words = ["predict.py", "--weights", str(weights), str(tmp_path / "fünf 五.png"), "-"]
    command = shlex.join([sys.executable, *words, "--json", str(tmp_path / "answers.json")])
    for streams in ("<&- >&-", "<&-"):
        shell = subprocess.run(
            ["bash", "-c", f"{command} {streams}"],
            cwd=ROOT,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
            capture_output=True,
            text=True,
        )
        assert (shell.returncode, shell.stderr.count("\n")) == (3, 1)
        assert "standard input is closed" in shell.stderr
        answer, failure = json.loads((tmp_path / "answers.json").read_text())
        assert (answer["class"], "error" in failure) == ("band 5", True)
    assert "f\\xfcnf \\u4e94.png  band 5" in shell.stdout


def test_images_of_another_data_set_are_inverted_only_by_the_polarity_flag(run: RunProgram) -> None:
    Image.eval(band(6), lambda level: 255 - level).save("6.png")
    assert "band 6" not in run("6.png", "--top", "1").lines[0]
    assert "band 6" in run("6.png", "--top", "1", "--polarity", "dark-on-light").lines[0]


def test_dash_reads_standard_input(run: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(encoded(band(7), "PNG"))))
    assert run("-").lines[0].startswith("-  band 7")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ((), 2, "no image file is named"),
        (("a.png", "--polarity", "dark"), 2, "there is no --polarity 'dark'"),
        (("a.png", "--device", "cdua"), 2, "did you mean 'cuda'?"),
        (("a.png", "--top", "0"), 2, "--top is 0, expected 1 or more"),
        (("a.png", "--top", "two"), 2, "--top"),
        (("-", "-"), 2, "- is named twice"),
        (("a.png", "--wieghts", "x"), 2, "unrecognized arguments"),
        (("a.png", "--weights", "nothing/there"), 4, "there are no weights at"),
        (("a.png", "--weights", ""), 2, "--weights is missing"),
    ],
)
def test_wrong_command_prints_a_one_line_error(run: RunProgram, words: tuple[str, ...], status: int, says: str):
    found = run(*words)
    assert (found.status, found.output) == (status, "")
    assert says in found.errors
    assert found.errors.count("\n") == 1


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def test_one_bad_file_is_named_and_the_others_classified(run: RunProgram, tmp_path: Path) -> None:
    band(2).save("2.png")
    os.mkfifo("pipe.png")
    (tmp_path / "folder.png").mkdir()
    Path("text.png").write_text("hello")
    strange = "new\nline \x1b[31mred\u202e.png"
    bad = ["missing.png", "pipe.png", "folder.png", "text.png", "null\0byte", "~no_such_user/a.png", strange]
    found = run("2.png", *bad, "./2.png")
    assert found.status == 3
    assert [line.split()[0] for line in found.lines] == ["2.png", "./2.png"]
    assert all("band 2" in line for line in found.lines)
    said = found.errors.splitlines()
    assert len(said) == len(bad)
    reasons = ["missing.png does not exist", "not a regular file", "a folder", "not an image", "null"]
    reasons += 2 * ["does not exist"]
    for line, says in zip(said, reasons, strict=True):
        assert line.startswith("refzoo: ")
        assert says in line
    assert r"new\nline \x1b[31mred\u202e.png" in said[-1]
    assert not set("\x1b\u202e") & set(found.errors)
    Path(strange).write_bytes(Path("2.png").read_bytes())
    assert run(strange).lines[0].startswith(r"new\nline \x1b[31mred\u202e.png  band 2")
    assert run("missing.png").status == 3


def test_file_without_read_permission_is_named(run: RunProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    band(2).save("2.png")

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *a, **b: (refuse if path.suffix == ".png" else opened)(path, *a, **b)
    )
    found = run("2.png")
    assert (found.status, found.errors.count("\n")) == (3, 1)
    assert "2.png cannot be read (Permission denied)" in found.errors


def test_first_picture_of_an_animation_is_classified(run: RunProgram) -> None:
    frames = [band(k).convert("P") for k in (1, 5, 8)]
    for name in ("moving.gif", "moving.png", "moving.webp", "pages.tiff"):
        frames[0].convert("RGB").save(name, save_all=True, append_images=frames[1:])
        found = run(name, "--top", "1")
        assert found.status == 0
        assert "band 1" in found.lines[0]
        assert found.errors == f"refzoo: {name} holds several pictures, only the first is classified.\n"


@pytest.mark.slow
def test_predict_imports_torch_late_and_never_lightning_or_hydra(weights: Path) -> None:
    band(3).save(weights.with_name("3.png"))
    script = (
        "import sys, predict\n"
        "before = 'torch' in sys.modules\n"
        "status = predict.main()\n"
        "print(status, before, sorted({'lightning', 'torchvision', 'hydra', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, "--weights", str(weights), str(weights.with_name("3.png"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "band 3" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 False []"
    assert not done.stderr
