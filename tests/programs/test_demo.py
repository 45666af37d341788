"""Test demo.py: its flags, its errors, that it listens on this machine alone, and asks no other for anything."""

import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ROOT, RunProgram

import demo

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ANSWERED = """wanted => {
    const found = [...document.querySelectorAll("#answers .answer b")].map(each => each.innerText);
    return found.join() == wanted.join();
}"""
INK = """(() => {
    const canvas = document.querySelector("#canvas canvas");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.reduce((sum, value) => sum + 255 - value, 0);
})()"""
WATCHED = """
import runpy, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.bind") and isinstance(arguments[1], tuple):
        print(event, arguments[1][0], file=sys.stderr, flush=True)
    if event == "socket.getaddrinfo":
        print(event, arguments[0], file=sys.stderr, flush=True)
sys.addaudithook(watch)
sys.argv = ["demo.py", *sys.argv[1:]]
runpy.run_path("demo.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["--weights", "lenet-mnits"], 4, "there are no published weights 'lenet-mnits'"),
        (["--weights", "no/such/run"], 4, "there are no weights at no/such/run."),
        (["--port", "99999"], 2, "--port is 99999, expected 1 to 65535."),
        (["--device", "gpu"], 2, "there is no --device 'gpu'"),
        (["lenet-mnist"], 2, "unrecognized arguments: lenet-mnist."),
    ],
)
def test_wrong_command_is_answered_in_one_line(
    run_program: RunProgram, arguments: list[str], status: int, line: str
) -> None:
    result = run_program(demo, *arguments)
    assert result.status == status
    assert result.errors.startswith(f"refzoo: {line}")
    assert result.errors.count("\n") == 1


def test_missing_gradio_is_answered_with_the_command_that_installs_it(
    run_program: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda _: None)
    result = run_program(demo, "--weights", "lenet-mnist")
    assert (result.status, result.errors) == (
        5,
        "refzoo: the demo needs gradio. Run it with: uv run --extra demo demo.py\n",
    )


def test_help_and_wrong_flags_import_neither_torch_nor_gradio() -> None:
    script = "import sys, demo\nsys.argv = ['demo.py', '--port', '0']\n"
    script += "try:\n demo.main()\nexcept Exception: print(*{'torch', 'gradio', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_address_that_is_taken_or_not_of_this_machine_is_answered_at_once(run_program: RunProgram) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_program(demo, "--port", str(port))
    assert result.status == 5
    assert result.errors == f"refzoo: 127.0.0.1, port {port}, is not free (Address already in use). Name others.\n"
    assert run_program(demo, "--host", "192.0.2.1").status == 5  # RFC 5737: an address for documentation


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start demo.py with three networks at a free port; yield its address. In the end, stop it by Ctrl-C.

    Then nothing of it is left, and it has asked no other machine for anything.
    """
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("demo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    weights = [f"--weights={name}" for name in ("lenet-mnist", "gru-mnist", "lenet-fashion_mnist")]
    command = [sys.executable, "-c", WATCHED, *weights, f"--port={port}"]
    environment = {**os.environ, "TMPDIR": str(folder), "http_proxy": "http://127.0.0.1:9"}  # which does not answer
    with (folder / "stderr").open("w") as errors:  # a pipe that nobody reads would fill up
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "loading 3 networks ...\n"
        yield process.stdout.readline().split()[3]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.communicate()
    lines = (folder / "stderr").read_text().splitlines()
    assert lines[-1] == "refzoo: stopped by SIGINT."
    assert {line.split(maxsplit=1)[1] for line in lines if line.startswith("socket.")} <= {
        "127.0.0.1",
        "localhost",
        "::1",
    }
    assert [path.name for path in folder.iterdir()] == ["stderr"]  # no upload, no folder for uploads


@pytest.mark.slow
def test_page_is_served_on_this_machine_alone_and_names_no_other(address: str) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    with urllib.request.urlopen(address, timeout=60) as page:
        html = page.read().decode()
    assert "refzoo: draw a digit" in html
    assert not re.findall(r'(?:src|href)="https?://(?!127\.0\.0\.1)', html)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_page_in_a_browser(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as library:
        browser = library.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, scheme in ((1280, "light"), (390, "dark")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.set_default_timeout(60_000)
            asked: list[str] = []
            wrong: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
            page.goto(address)
            draw(page, [(150, 40), (130, 240)], lift=False)
            while not page.evaluate(ANSWERED, ["1", "1"]):  # before the pen is lifted
                draw_on(page, (130, 240))
                page.wait_for_timeout(200)
            page.mouse.up()
            if scheme == "light":
                use_everything(page)
            page.get_by_label("fashion_mnist").click()
            page.wait_for_function("document.querySelectorAll('#answers .answer b').length == 1")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
            assert wrong == []
            assert {url.split("/")[2] for url in asked if not url.startswith(("data:", "blob:"))} == {
                address.split("/")[2]
            }
            page.close()
        browser.close()


def use_everything(page: Any) -> None:
    """Clear, draw, upload, look inside a network, and go on drawing at an image that it takes for another digit."""
    page.locator("#canvas button").click()
    page.locator("#seen .wrong", has_text="the canvas shows nothing").wait_for()
    draw(
        page,
        [(140 + round(70 * math.sin(turn / 5)), 140 - round(90 * math.cos(turn / 5))) for turn in range(33)],
    )
    page.wait_for_function(ANSWERED, arg=["0", "0"])
    page.locator("#file input").set_input_files(ROOT / "samples" / "digits" / "2_ink.webp")
    page.wait_for_function(ANSWERED, arg=["2", "2"])
    page.locator("#file input").set_input_files(ROOT / "samples" / "digits" / "4_chalk.jpg")
    page.wait_for_function(ANSWERED, arg=["4", "4"])
    page.locator("#answers button", has_text="gru").click()
    page.locator("#inside figure", has_text="Probabilities after each row").wait_for()
    page.locator("#inside figure", has_text="recurrent").wait_for()
    page.get_by_role("tab", name="Mistakes").click()
    page.locator("#find").click()
    page.locator("#mistakes p", has_text="of 10000 test images wrong").wait_for()
    ink = page.evaluate(INK)
    page.locator("#mistakes button").first.click()
    page.wait_for_function(f"{INK} != {ink}")
    page.wait_for_function("document.querySelector('#canvas canvas').getBoundingClientRect().top > -2")
    ink = page.evaluate(INK)
    draw(page, [(20, 20), (250, 20)])
    page.wait_for_function(f"{INK} > {ink}")
    page.locator("#mistakes button").first.click()
    page.wait_for_function(f"{INK} == {ink}")


def draw(page: Any, points: list[tuple[int, int]], lift: bool = True) -> None:
    """Draw a line through points of the canvas with the mouse."""
    draw_on(page, points[0])
    page.mouse.down()
    for point in points[1:]:
        draw_on(page, point)
    if lift:
        page.mouse.up()


def draw_on(page: Any, point: tuple[int, int]) -> None:
    box = page.locator("#canvas canvas").bounding_box()
    page.mouse.move(box["x"] + point[0], box["y"] + point[1], steps=4)
