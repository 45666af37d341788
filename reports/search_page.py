"""Make the page of a search: Optuna's plots, with plotly's JavaScript on the page, and a table of all trials."""

import warnings
from collections.abc import Callable
from typing import Any

import plotly.io
from markupsafe import Markup
from optuna import Study, visualization
from optuna.trial import TrialState
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from launch.space import Plan

from . import page
from .search_results import failure, ranked, text
from .tables import percent

VALUE: Any = {"target_name": "validation accuracy"}
PLOTS: dict[str, tuple[str, Callable[[Study], Figure]]] = {
    "History": (
        "Accuracy by trial, and the best one so far",
        lambda study: visualization.plot_optimization_history(study, **VALUE),
    ),
    "Epochs": ("Accuracy by epoch; lines that end early were pruned", visualization.plot_intermediate_values),
    "Importances": (
        "How much of the differences each key explains (PED-ANOVA)",
        lambda study: visualization.plot_param_importances(study, **VALUE),
    ),
    "Combinations": ("A line for each trial", lambda study: visualization.plot_parallel_coordinate(study, **VALUE)),
    "Values": ("Accuracy by each key alone", lambda study: visualization.plot_slice(study, **VALUE)),
}
BAR = {"displaylogo": False, "responsive": True}


def render(study: Study, plan: Plan, facts: str, command: str, test: str) -> str:
    """Return the HTML page; `facts` sums up the search, `command` repeats it, `test` trains and tests the best."""
    trials = study.get_trials(deepcopy=False)
    best = ranked(trials)[0]
    return page.fill(
        "search_page.html.j2",
        name=f"{plan.base.config.model.name} on {plan.base.config.data.name}",
        best=best,
        facts=facts,
        command=command,
        test=test,
        plots=[(title, caption, draw(study, title, make)) for title, (caption, make) in PLOTS.items()],
        keys=list(plan.space),
        trials=[*ranked(trials), *(trial for trial in trials if trial.state != TrialState.COMPLETE)],
        failure=failure,
        text=text,
        percent=percent,
        plotly=Markup(get_plotlyjs()),
    )


def draw(study: Study, title: str, make: Callable[[Study], Figure]) -> Markup | None:
    """Return a plot; None where there are too few trials for it."""
    try:
        with warnings.catch_warnings(action="ignore"):
            figure: Any = make(study)
    except (ValueError, RuntimeError):
        return None
    figure.update_layout(template="plotly_white", title=None, margin={"t": 30})
    html = plotly.io.to_html(figure, config=BAR, include_plotlyjs=False, full_html=False, div_id=title)
    return Markup(html)
