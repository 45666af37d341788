"""Test what the page answers to each event, without a browser."""

import re
from pathlib import Path

import pytest
import torch
from conftest import ROOT, RunProgram
from PIL import Image

import predict
from data import load
from inspection import drawing, networks, page, views
from inspection.page import Page
from reports.page import png_address

DIGIT = ROOT / "samples" / "digits" / "2_ink.webp"
NAMES = ("softmax_regression-mnist", "lenet-mnist", "gru-mnist", "lenet-fashion_mnist")


@pytest.fixture(scope="module")
def zoo() -> Page:
    return Page([networks.load(name) for name in NAMES])


def canvas(box: tuple[int, int, int, int] | None = None) -> bytes:
    """Return the PNG of a white canvas with a black rectangle on it."""
    picture = Image.new("RGB", (280, 280), "white")
    if box:
        picture.paste("black", box)
    address = png_address(torch.tensor(list(picture.tobytes()), dtype=torch.uint8).view(280, 280, 3).numpy())
    return drawing.from_data_url(address)


def answers(table: str) -> list[str]:
    return re.findall(r"<b>(.+?)</b>", table)


def test_drawing_is_answered_by_the_networks_of_the_data_set(zoo: Page) -> None:
    shown, seen, table = zoo.look(canvas((130, 40, 150, 240)), "mnist", "lenet-mnist")
    assert answers(table) == ["1", "1", "1"]
    assert "3 of 3 networks answer 1." in table
    assert "data:image/png" in seen
    (pixels,) = shown.pixels.values()
    assert pixels.shape == (1, 28, 28)
    assert answers(zoo.table(shown, "mnist", "gru-mnist")) == ["1", "1", "1"]
    assert '"gru-mnist" class="chosen' in zoo.table(shown, "mnist", "gru-mnist")
    assert len(answers(zoo.look(canvas((130, 40, 150, 240)), "fashion_mnist", "lenet-fashion_mnist")[2])) == 1


def test_networks_that_differ_from_the_most_frequent_answer_are_marked(zoo: Page) -> None:
    three = zoo.trained_on("mnist")
    given = {each.source: networks.Answer(label, 0.5, 1.0) for each, label in zip(three, (4, 4, 9), strict=True)}
    rows = views.table(three, given, "lenet-mnist").split("<tr")[2:]
    assert ["differs" in row for row in rows] == [False, False, True]
    given["gru-mnist"] = networks.Answer(4, 0.5, 1.0)
    given["softmax_regression-mnist"] = networks.Answer(9, 0.5, 1.0)
    assert views.table(three, given, "lenet-mnist").count("differs") == 1
    del given["gru-mnist"]
    assert "differs" not in views.table(three, given, "lenet-mnist")  # one against one


def test_only_live_networks_answer_while_one_draws(zoo: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "live", lambda asked: asked[1:2])
    assert len(answers(zoo.look(canvas((130, 40, 150, 240)), "mnist", "lenet-mnist", only_live=True)[2])) == 1


def test_bad_pictures_get_the_line_of_predict(zoo: Page, tmp_path: Path, run_program: RunProgram) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_text("")
    (tmp_path / "blank.png").write_bytes(canvas())
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(100 << 20)
    for name in ("text.png", "empty.png", "blank.png", "huge.png"):
        shown, seen, table = zoo.open(str(tmp_path / name), "mnist", "lenet-mnist")
        line = run_program(predict, "--weights", "lenet-mnist", tmp_path / name).errors
        assert views.reason(line.strip().removeprefix("refzoo: ").replace(f"{tmp_path}/", "")) == seen
        assert (shown.pixels, answers(table)) == ({}, [])
    assert "the canvas shows nothing" in zoo.look(canvas(), "mnist", "lenet-mnist")[1]


def test_picture_of_a_file_is_seen_for_another_data_set_when_the_file_is_gone(zoo: Page, tmp_path: Path) -> None:
    copy = tmp_path / "two.webp"
    copy.write_bytes(DIGIT.read_bytes())
    shown, seen, _ = zoo.open(str(copy), "mnist", "lenet-mnist")
    assert "networks see of two.webp" in seen
    copy.unlink()
    other, _, table = zoo.look(shown.content, "fashion_mnist", "lenet-fashion_mnist", shown.name)
    assert len(answers(table)) == 1
    assert next(iter(other.pixels)).data == "fashion_mnist"


def test_of_an_animation_the_first_picture_is_said_to_be_seen(zoo: Page, tmp_path: Path) -> None:
    frames = [Image.open(DIGIT).convert("L"), Image.new("L", (90, 90))]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert "holds several pictures" in zoo.open(str(tmp_path / "two.gif"), "mnist", "lenet-mnist")[1]


def test_names_of_files_are_escaped(zoo: Page, tmp_path: Path) -> None:
    (tmp_path / "<img src=x>.png").write_text("hello")
    assert (
        "&lt;img src=x&gt;.png is not an image"
        in zoo.open(str(tmp_path / "<img src=x>.png"), "mnist", "lenet-mnist")[1]
    )


def test_inside_shows_weights_at_once_then_each_stage_then_the_occlusion_map(zoo: Page) -> None:
    (without,) = zoo.inside(None, "lenet-mnist")
    assert re.findall(r"<b>(.+?)</b>", without) == ["Weights of the first layer"]
    shown, *_ = zoo.open(str(DIGIT), "mnist", "lenet-mnist")
    *_, last = zoo.inside(shown, "lenet-mnist")
    stages = ["c1", "s2", "c3", "s4", "flatten", "c5", "f6", "output"]
    assert re.findall(r"<b>(.+?)</b>", last) == [*stages, "Weights of the first layer", "Occlusion map"]
    *_, recurrent = zoo.inside(shown, "gru-mnist")
    assert re.findall(r"<b>(.+?)</b>", recurrent)[0] == "Probabilities after each row"


def test_mistake_is_loaded_pixel_by_pixel_and_can_be_changed_on_the_canvas(zoo: Page) -> None:
    *_, html = zoo.mistakes("lenet-mnist", "one session")
    choice = re.findall(r'data-choose="(.+?)"', html)[0]
    shown, _, table, on_canvas, data, source = zoo.load_mistake(choice)
    index = int(choice.split()[0])
    assert (data, source) == ("mnist", "lenet-mnist")
    assert torch.equal(torch.from_numpy(*shown.pixels.values()), load("mnist").test.images[index])
    answer, label = re.findall(r"<b>(.+?)</b> \d+ %<br>is (.+?)</button>", html)[0]
    assert answers(table)[1] == answer != label
    redrawn, *_ = zoo.look(
        drawing.from_data_url(on_canvas.partition("#")[0]), data, source
    )  # dark on light: almost the same picture
    difference = torch.from_numpy(*shown.pixels.values()).float() - torch.from_numpy(*redrawn.pixels.values()).float()
    assert difference.abs().mean() < 20


def test_next_search_for_mistakes_ends_the_last_one_of_its_session(zoo: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "REPORT_EVERY", -1)
    first, other = zoo.mistakes("lenet-mnist", "a"), zoo.mistakes("lenet-mnist", "b")
    assert "lenet-mnist" in next(first)
    assert "lenet-mnist" in next(other)
    second = zoo.mistakes("gru-mnist", "a")
    assert "gru-mnist" in next(second)
    assert list(first) == []
    assert "lenet-mnist" in next(other)
    zoo.stop_search("b")
    assert list(other) == []
    assert "gru-mnist" in next(second)
    del second  # the tab was closed
    assert zoo.searches == {}


def test_networks_of_own_data_have_their_own_pictures(own_run: Path, tmp_path: Path) -> None:
    own = Page([networks.load(str(own_run)), networks.load("lenet-mnist")])
    assert own.data_sets == ["mnist", "colours (0, 1)"]
    Image.new("RGB", (40, 40), (200, 0, 0)).save(tmp_path / "red.png")
    shown, _, table = own.open(str(tmp_path / "red.png"), "colours (0, 1)", str(own_run))
    assert [each.shape for each in shown.pixels.values()] == [(3, 12, 10)]
    assert answers(table) == ["0"]
    *_, inside = own.inside(shown, str(own_run))
    assert "Occlusion map" in inside
    (Path(own.networks[str(own_run)].card["training"]["root"])).unlink()
    assert "colours.npz" in next(own.mistakes(str(own_run), "a"))
