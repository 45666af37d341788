"""Answer the events of the page of demo.py. `layout` says which event calls what."""

import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data import DATASETS, DataError, load
from data.decode import read_file
from models import WeightsError
from pictures import decode_picture, printable
from reports.page import png_address

from . import drawing, views
from .mistakes import find_mistakes, read_test_images
from .networks import Form, Trained, ask, live

REPORT_EVERY = 0.5  # seconds, while mistakes are looked for


class Shown(NamedTuple):
    """Hold the picture that the networks look at."""

    content: bytes  # of the image file
    name: str  # of the file; empty for the canvas, whose picture is dark on light
    pixels: dict[Form, np.ndarray]  # uint8 (C, H, W); empty if nothing can be seen


Looked = tuple[Shown, str, str]  # the picture, what is seen of it, the table of answers


class Page:
    """Answer the events of the page. `data` is the name of a data set, `chosen` the source of a network."""

    def __init__(self, networks: Sequence[Trained]) -> None:
        self.networks = {trained.source: trained for trained in networks}
        named = {trained.data for trained in networks}
        self.data_sets = [name for name in DATASETS if name in named] + sorted(named - DATASETS.keys())
        self.read_splits = functools.cache(load)
        self.searches: dict[str, object] = {}  # for mistakes, by session

    def trained_on(self, data: str) -> list[Trained]:
        return [trained for trained in self.networks.values() if trained.data == data]

    def best(self, data: str) -> str:
        """Return the most accurate of the networks that answer while one draws."""
        return max(live(self.trained_on(data)), key=lambda trained: trained.accuracy).source

    def open(self, path: str, data: str, chosen: str) -> Looked:
        """Look at the picture in a file."""
        name = printable(Path(path).name)
        try:
            content = read_file(path)
        except DataError as error:
            return Shown(b"", name, {}), views.reason(f"{name} {error}"), self.table(None, data, chosen)
        return self.look(content, data, chosen, name)

    def look(self, content: bytes, data: str, chosen: str, name: str = "", only_live: bool = False) -> Looked:
        """Make a picture into what the networks of a data set see, and let them answer."""
        forms = dict.fromkeys(trained.form for trained in self.trained_on(data))
        polarity = "auto" if name else "dark-on-light"
        try:
            pictures = {form: decode_picture(content, form.data, polarity, *form[1:]) for form in forms}
        except DataError as error:
            why = views.reason(f"{name or 'the canvas'} {error}")
            return Shown(content, name, {}), why, self.table(None, data, chosen)
        pixels = {form: picture.pixels for form, picture in pictures.items()}
        seen = views.seen(list(pixels.values()), name, any(picture.one_of_several for picture in pictures.values()))
        shown = Shown(content, name, pixels)
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
        try:
            for looked_at, found in find_mistakes(trained, test):
                if self.searches.get(session) is not search:
                    return
                if looked_at == len(test.labels) or time.monotonic() > reported + REPORT_EVERY:
                    yield views.mistakes(trained, test.images, found, looked_at)
                    reported = time.monotonic()
        finally:
            if self.searches.get(session) is search:
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
        on_canvas = png_address(drawing.as_image(255 - pixels))
        shown = Shown(drawing.from_data_url(on_canvas), "", {chosen.form: pixels})
        on_canvas += f"#{time.monotonic_ns()}"  # or the same one is not drawn again
        return shown, views.seen([pixels]), self.table(shown, chosen.data, source), on_canvas, chosen.data, source
