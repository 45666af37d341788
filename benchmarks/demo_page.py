"""Measure the demo: seconds to the page, milliseconds of an answer, memory after many drawings, addresses asked for.

    uv run --extra demo --group browser python -m benchmarks.demo_page --drawings 500

It needs Chromium, which draws. The answers are measured without a browser.
"""

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

from inspection import networks
from inspection.page import Page
from models import cards
from training.machine import describe_machine

ROOT = Path(__file__).parents[1]
SAMPLES = sorted((ROOT / "samples" / "digits").glob("*"))
EVERY = 100  # drawings between two looks at the memory


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demo_page", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--drawings", type=int, default=500, metavar="N")
    drawings = parser.parse_args().drawings

    begin = time.perf_counter()
    server = subprocess.Popen([sys.executable, "demo.py"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        print(server.stdout.readline().strip(), f"after {time.perf_counter() - begin:.1f} s")
        address = server.stdout.readline().split()[3]
        print(f"the address after {time.perf_counter() - begin:.1f} s")
        draw_often(address, server.pid, drawings, begin)
    finally:
        server.kill()
        server.wait()
    torch.set_num_threads(1)  # as demo.py does
    measure_answers()
    print(describe_machine("cpu"))


def draw_often(address: str, server: int, drawings: int, begin: float) -> None:
    """Draw random lines in Chromium, each on a clear canvas; print the memory of the process `server` as it goes."""
    asked: set[str] = set()
    with sync_playwright() as library:
        browser = library.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda request: asked.add(request.url.split("/")[2] if "//" in request.url else ""))
        page.goto(address)
        page.locator("#canvas canvas").wait_for()
        print(f"the page after {time.perf_counter() - begin:.1f} s")
        box = page.locator("#canvas canvas").bounding_box()
        assert box is not None
        for drawing in range(1, drawings + 1):
            page.locator("#canvas button").click()
            page.locator("#seen .wrong").wait_for()
            page.mouse.move(box["x"] + random.randrange(60, 220), box["y"] + random.randrange(40, 100))
            page.mouse.down()
            page.mouse.move(box["x"] + random.randrange(60, 220), box["y"] + random.randrange(180, 240), steps=6)
            page.mouse.up()
            page.locator("#seen img").wait_for()
            page.wait_for_function("[...document.querySelectorAll('#answers .answer b')].length > 5")
            if drawing % EVERY == 0 or drawing == 20:
                print(f"{drawing:5} drawings: {memory(server):6.0f} MiB")
        browser.close()
    print("addresses asked for:", ", ".join(sorted(asked - {""})))


def memory(process: int) -> float:
    """Return the resident memory of a process in MiB."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def measure_answers() -> None:
    """Print the median and the quartiles of the milliseconds from a picture to the table of answers."""
    page = Page([networks.load(name) for name in cards.published()])
    chosen = page.best("mnist")
    live = networks.live(page.trained_on("mnist"))
    contents = [sample.read_bytes() for sample in SAMPLES]
    for what, only_live in ((f"the {len(live)} fastest networks", True), ("all networks", False)):
        times = []
        for content in contents * 3:
            begin = time.perf_counter()
            page.look(content, "mnist", chosen, only_live=only_live)
            times.append(1000 * (time.perf_counter() - begin))
        low, middle, high = statistics.quantiles(times, n=4)
        print(f"{what}: {middle:.0f} ms ({low:.0f} to {high:.0f}) a picture")


if __name__ == "__main__":
    main()
