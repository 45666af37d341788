"""Write the parts of the page as HTML: the picture, the table of answers, the inside of a network, its mistakes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from torch import Tensor

from reports.page import png_address, read_template

from . import drawing
from .mistakes import Mistake
from .networks import Answer, Trained
from .occlusion import occlusion_map
from .stages import first_weights, probabilities_after_rows, stage_outputs

PARTS: Any = read_template(Path(__file__).with_name("parts.html.j2")).module
EMPTY = PARTS.hint("Draw something, or drop a picture of it.")
MOST_MISTAKES = 48  # that are shown
FINE, COARSE = 2, 4  # pixels between two patches of the occlusion map
FAST = 4  # ms; a network that takes longer gets the coarse map
ALONE = 6  # times as large is an image that is shown alone


def reason(why: object) -> str:
    return PARTS.reason(str(why))


def seen(pixels: Sequence[np.ndarray], name: str = "", one_of_several: bool = False) -> str:
    """Show what the networks see, each different array once, and the name of the file."""
    different = {each.tobytes(): each for each in pixels}.values()
    return PARTS.seen([png_address(drawing.as_image(each)) for each in different], name, one_of_several)


def table(networks: Sequence[Trained], answers: Mapping[str, Answer], chosen: str) -> str:
    """List the networks with their answers, by source; marked are those that differ from the most frequent answer."""
    named = {each.source: each.classes[answers[each.source].label] for each in networks if each.source in answers}
    (frequent, count), (_, second) = (*Counter(named.values()).most_common(2), ("", 0), ("", 0))[:2]
    rows = []
    for trained in networks:
        row = {"source": trained.source, "name": trained.name, "accuracy": trained.accuracy}
        row |= {"chosen": trained.source == chosen, "answer": named.get(trained.source), "differs": False}
        if answer := answers.get(trained.source):
            percent = f"{100 * answer.probability:.1f}"
            row |= {
                "percent": percent,
                "milliseconds": answer.milliseconds,
                "differs": row["answer"] != frequent and count > second,
            }
        rows.append(row)
    return PARTS.table(rows, f"{count} of {len(named)} networks answer {frequent}." if len(named) > 1 else "")


def inside(trained: Trained, images: Tensor | None) -> str:
    """Show the weights of the first layer and, of one uint8 image (1, C, H, W), each stage and each row's answer."""
    shown = [PARTS.heading(trained.source)]
    if images is not None:
        if (after := probabilities_after_rows(trained, images)) is not None:
            what = f"of {', '.join(trained.classes)} (from left to right), from the first to the last row"
            shown.append(
                _drawing(
                    "Probabilities after each row", what, drawing.enlarged(drawing.coloured(after.numpy()), 2 * ALONE)
                )
            )
        for stage, output in stage_outputs(trained, images).items():
            shown.append(_drawing(stage, drawing.described(output), drawing.stage_image(output)))
    if (weights := first_weights(trained)) is not None:
        what = "red is positive, blue negative" + (", of the first channel" if weights.shape[1] > 1 else "")
        shown.append(_drawing("Weights of the first layer", what, drawing.grid(weights[:, 0], signed=True)))
    return Markup("").join(shown)


def occlusion(trained: Trained, images: Tensor) -> str:
    """Show which parts of one uint8 image (1, C, H, W) the answer needs."""
    label = int(trained.probabilities(images)[0].argmax())
    stride = (FINE if trained.milliseconds < FAST else COARSE) * max(1, max(images.shape[-2:]) // 28)
    falls = occlusion_map(trained, images, label, stride)
    what = f"red where covering makes {trained.classes[label]!r} less probable, by up to {100 * falls.max():.0f} points"
    return _drawing(
        "Occlusion map", what, drawing.enlarged(drawing.coloured(falls.numpy(), signed=True, least=0.01), ALONE)
    )


def mistakes(trained: Trained, images: Tensor, found: Sequence[Mistake], looked_at: int) -> str:
    """Show the first mistakes, whose indices are those of uint8 `images` (N, C, H, W)."""
    rows = [
        {
            "choose": f"{mistake.index} {trained.source}",
            "index": mistake.index,
            "image": png_address(drawing.as_image(images[mistake.index].numpy())),
            "answer": trained.classes[mistake.answer],
            "label": trained.classes[mistake.label],
            "percent": f"{100 * mistake.probability:.0f}",
        }
        for mistake in found[:MOST_MISTAKES]
    ]
    return PARTS.mistakes(trained.source, looked_at, len(found), rows)


def _drawing(title: str, what: str, pixels: np.ndarray) -> str:
    return PARTS.drawing(title, what, png_address(pixels))
