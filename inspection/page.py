"""Build the page of demo.py: a canvas, the answers of all networks, and what lies inside the chosen one."""

import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import torch

from data import DATASETS, DataError, load
from data.decode import read_file
from models import WeightsError
from pictures import decode_picture, printable

from . import drawing, views
from .mistakes import find_mistakes, read_test_images
from .networks import Form, Trained, ask, live

HERE = Path(__file__).parent
STYLE = HERE / "style.css"
TITLE = "<h1>refzoo</h1><p>Draw, and see what each network of the zoo answers. Click one to look inside it.</p>"
CANVAS = '<canvas width="280" height="280"></canvas><button>Clear</button>'
CHOOSE = """element.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-choose]");
  if (chosen) trigger("choose", { chosen: chosen.dataset.choose });
});"""
REPORT_EVERY = 0.5  # seconds, while mistakes are looked for


class Shown(NamedTuple):
    """Hold the picture that the networks look at."""

    source: bytes | str  # the PNG of the canvas, or the path of a file
    pixels: dict[Form, np.ndarray]  # uint8 (C, H, W); empty if nothing can be seen


Looked = tuple[Shown | None, str, str]  # the picture, what is seen of it, the table of answers


class Page:
    """Answer the events of the page. `data` is the name of a data set, `chosen` the source of a network."""

    def __init__(self, networks: Sequence[Trained]) -> None:
        self.networks = {trained.source: trained for trained in networks}
        named = {trained.card["data"] for trained in networks}
        self.data_sets = [name for name in DATASETS if name in named] + sorted(named - DATASETS.keys())
        self.read_splits = functools.cache(load)
        self.searches: dict[str, object] = {}  # for mistakes, by session

    def trained_on(self, data: str) -> list[Trained]:
        return [trained for trained in self.networks.values() if trained.card["data"] == data]

    def best(self, data: str) -> str:
        """Return the most accurate of the networks that answer while one draws."""
        return max(live(self.trained_on(data)), key=lambda trained: trained.accuracy).source

    def look(self, source: bytes | str, data: str, chosen: str, only_live: bool = False) -> Looked:
        """Make a picture into what the networks of a data set see, and let them answer."""
        on_canvas = isinstance(source, bytes)
        forms = dict.fromkeys(trained.form for trained in self.trained_on(data))
        try:
            content = source if isinstance(source, bytes) else read_file(source)
            polarity = "dark-on-light" if on_canvas else "auto"
            pixels = {form: decode_picture(content, form.data, polarity, *form[1:]).pixels for form in forms}
            seen = views.seen(list(pixels.values()))
        except DataError as error:
            pixels = {}
            seen = views.reason(f"{'the canvas' if on_canvas else printable(Path(source).name)} {error}")
        shown = Shown(source, pixels)
        return shown, seen, self.table(shown, data, chosen, only_live)

    def table(self, shown: Shown | None, data: str, chosen: str, only_live: bool = False) -> str:
        """Let the networks of a data set answer: all, or those that are fast enough while one draws."""
        networks = self.trained_on(data)
        pixels = shown.pixels if shown else {}
        asked = [trained for trained in (live(networks) if only_live else networks) if trained.form in pixels]
        return views.table(networks, {trained.source: ask(trained, pixels[trained.form]) for trained in asked}, chosen)

    def inside(self, shown: Shown | None, chosen: str) -> Iterator[str]:
        """Yield what lies inside the chosen network, then that with the occlusion map, which takes longer."""
        trained = self.networks[chosen]
        pixels = shown and shown.pixels.get(trained.form)
        images = None if pixels is None else torch.from_numpy(pixels)[None]
        yield (html := views.inside(trained, images))
        if images is not None:
            yield html + views.occlusion(trained, images)

    def mistakes(self, chosen: str, session: str) -> Iterator[str]:
        """Yield the mistakes of the chosen network on its test images, as far as they are found.

        A session has one search: the next one, and `stop_search`, end this.
        """
        trained = self.networks[chosen]
        search = self.searches[session] = object()
        try:
            test = read_test_images(trained, self.read_splits)
        except (DataError, WeightsError) as error:
            yield views.reason(error)
            return
        reported = time.monotonic()
        for looked_at, found in find_mistakes(trained, test):
            if self.searches.get(session) is not search:
                return
            if looked_at == len(test.labels) or time.monotonic() > reported + REPORT_EVERY:
                yield views.mistakes(trained, test.images, found, looked_at)
                reported = time.monotonic()
        self.stop_search(session)

    def stop_search(self, session: str) -> None:
        self.searches.pop(session, None)

    def load_mistake(self, choice: str) -> tuple[*Looked, str, str, str]:
        """Let the networks answer for a test image, pixel by pixel. `choice` is its index and a network's source.

        Return what they answer, the picture for the canvas, dark on light, and the data set and source of the network.
        """
        index, _, source = choice.partition(" ")
        chosen = self.networks[source]
        pixels = read_test_images(chosen, self.read_splits).images[int(index)].numpy()
        on_canvas = drawing.data_url(drawing.as_image(255 - pixels))
        shown = Shown(drawing.from_data_url(on_canvas), {chosen.form: pixels})
        data = chosen.card["data"]
        return shown, views.seen([pixels]), self.table(shown, data, source), on_canvas, data, source


def build(networks: Sequence[Trained]) -> gr.Blocks:
    """Lay out the page and connect its events. One request is answered at a time, the others wait."""
    page = Page(networks)
    first = page.data_sets[0]
    best = page.best(first)
    part: Any = functools.partial(gr.HTML, apply_default_css=False)
    with gr.Blocks(title="refzoo: draw a digit", analytics_enabled=False, delete_cache=(600, 600)) as blocks:
        gr.HTML(TITLE)
        shown, chosen = gr.State(None), gr.State(best)
        data = gr.Radio(page.data_sets, value=first, label="Networks trained on", visible=len(page.data_sets) > 1)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                script = (HERE / "canvas.js").read_text(encoding="utf-8")
                canvas = part(html_template=CANVAS, js_on_load=script, elem_id="canvas")
                seen = part(views.EMPTY, elem_id="seen")
                file = gr.File(label="Or drop a picture", height=120, elem_id="file")
            with gr.Column(scale=3, min_width=340):
                answers = part(page.table(None, first, best), js_on_load=CHOOSE, elem_id="answers")
        with gr.Tab("Look inside"):
            inside = part(next(page.inside(None, best)), elem_id="inside")
        with gr.Tab("Mistakes"):
            find = gr.Button("Find the mistakes of the chosen network on its test images", elem_id="find")
            mistakes = part(js_on_load=CHOOSE, elem_id="mistakes")

        def draw(data: str, chosen: str, event: gr.EventData) -> Looked:
            return page.look(drawing.from_data_url(event.image), data, chosen, only_live=True)

        def lift(data: str, chosen: str, event: gr.EventData) -> Looked:
            return page.look(drawing.from_data_url(event.image), data, chosen)

        def change_data(picture: Shown | None, data: str, request: gr.Request) -> tuple[*Looked, str, str]:
            page.stop_search(str(request.session_hash))
            best = page.best(data)
            if picture is None:
                return None, views.EMPTY, page.table(None, data, best), best, ""
            return *page.look(picture.source, data, best), best, ""

        def choose(picture: Shown | None, data: str, event: gr.EventData, request: gr.Request) -> tuple[str, str, str]:
            page.stop_search(str(request.session_hash))
            return page.table(picture, data, event.chosen), event.chosen, ""

        def find_mistakes(chosen: str, request: gr.Request) -> Iterator[str]:
            yield from page.mistakes(chosen, str(request.session_hash))

        def load_mistake(event: gr.EventData) -> tuple[*Looked, str, str, str]:
            return page.load_mistake(event.chosen)

        settings: Any = {"concurrency_id": "networks", "concurrency_limit": 1, "trigger_mode": "always_last"}
        settings |= {"show_progress": "hidden", "api_visibility": "private"}
        looked = [shown, seen, answers]
        canvas.draw(draw, [data, chosen], looked, **settings)
        for event in (
            canvas.lift(lift, [data, chosen], looked, **settings),
            file.upload(page.look, [file, data, chosen], looked, **settings),
            data.input(change_data, [shown, data], [*looked, chosen, mistakes], **settings),
            answers.choose(choose, [shown, data], [answers, chosen, mistakes], **settings),
            mistakes.choose(load_mistake, [], [*looked, canvas, data, chosen], **settings),
        ):
            event.then(page.inside, [shown, chosen], inside, **settings)
        settings |= {"concurrency_id": "mistakes", "concurrency_limit": 2}  # beside the drawing; the next ends the last
        find.click(find_mistakes, chosen, mistakes, **settings)
    return blocks
