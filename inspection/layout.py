"""Lay out the page of demo.py with gradio: a canvas, the answers of all networks, what lies inside the chosen one."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from . import drawing, views
from .networks import Trained
from .page import Looked, Page, Shown

HERE = Path(__file__).parent
STYLE = HERE / "style.css"
TITLE = "<h1>refzoo</h1><p>Draw, and see what each network of the zoo answers. Click one to look inside it.</p>"
CANVAS = '<canvas width="280" height="280" role="img" aria-label="Draw here"></canvas><button>Clear</button>'
MOST_WAITING = 100  # requests
CHOOSE = """element.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-choose]");
  if (chosen) trigger("choose", { chosen: chosen.dataset.choose });
});"""


def build(networks: Sequence[Trained]) -> gr.Blocks:
    """Lay out the page and connect its events.

    One picture is decoded and answered at a time, the others wait; beside it one network is looked into, and two are
    searched for mistakes.
    """
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
            with gr.Column(scale=3, min_width=340):
                answers = part(page.table(None, first, best), js_on_load=CHOOSE, elem_id="answers")
                file = gr.File(label="Or drop a picture", height=120, elem_id="file")
        with gr.Tab("Look inside"):
            inside = part(next(page.inside(None, best)), elem_id="inside")
        with gr.Tab("Mistakes"):
            find = gr.Button("Find the mistakes of the chosen network on its test images", elem_id="find")
            mistakes = part(js_on_load=CHOOSE, elem_id="mistakes")

        def draw(data: str, chosen: str, event: gr.EventData) -> Looked:
            return page.look(drawing.from_data_url(event.image), data, chosen, only_live=True)

        def lift(data: str, chosen: str, event: gr.EventData) -> Looked:
            return page.look(drawing.from_data_url(event.image), data, chosen)

        def drop(path: str, data: str, chosen: str) -> tuple[*Looked, None]:
            return *page.open(path, data, chosen), None  # the next one can be dropped

        def change_data(
            picture: Shown | None, data: str, request: gr.Request
        ) -> tuple[Shown | None, str, str, str, str]:
            page.stop_search(str(request.session_hash))
            best = page.best(data)
            if picture is None:
                return None, views.EMPTY, page.table(None, data, best), best, ""
            return *page.look(picture.content, data, best, picture.name), best, ""

        def choose(picture: Shown | None, data: str, event: gr.EventData, request: gr.Request) -> tuple[str, str, str]:
            page.stop_search(str(request.session_hash))
            return page.table(picture, data, event.chosen), event.chosen, ""

        def find_mistakes(chosen: str, request: gr.Request) -> Iterator[Any]:
            yield from page.mistakes(chosen, str(request.session_hash))
            yield gr.skip()  # gradio sends the last one again at the end, when the page may show something else

        def load_mistake(event: gr.EventData) -> tuple[*Looked, str, str, str]:
            return page.load_mistake(event.chosen)

        settings: Any = {"concurrency_id": "networks", "concurrency_limit": 1, "trigger_mode": "multiple"}
        settings |= {"show_progress": "hidden", "api_visibility": "private"}
        looked = [shown, seen, answers]
        canvas.draw(draw, [data, chosen], looked, **settings | {"trigger_mode": "once"})  # at the pace of the answers
        for event in (
            canvas.lift(lift, [data, chosen], looked, **settings),
            file.upload(drop, [file, data, chosen], [*looked, file], **settings),
            data.input(change_data, [shown, data], [*looked, chosen, mistakes], **settings),
            answers.choose(choose, [shown, data], [answers, chosen, mistakes], **settings),
            mistakes.choose(load_mistake, [], [*looked, canvas, data, chosen], **settings),
        ):
            event.then(page.inside, [shown, chosen], inside, **settings | {"concurrency_id": "inside"})
        settings |= {"concurrency_id": "mistakes", "concurrency_limit": 2}  # the next one ends the last
        find.click(find_mistakes, chosen, mistakes, **settings)
    return blocks.queue(max_size=MOST_WAITING)
