"""Plots of the report as SVG that follows the page's colours, light or dark. Text stays text, so that it can be read aloud."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from triage_node.evaluation import metrics
from triage_node.evaluation.scored import Answers

_ROLES = {"#0f161e": "--text", "#4d5b6a": "--quiet", "#dfe5ec": "--line", "#0b5cb8": "--link", "#b8121b": "--critical"}
"""Colours that a plot may use, and the role of the page's sheet that takes their place."""
TEXT, QUIET, LINE, BLUE, RED = _ROLES
_SIZE = (4.6, 3.7)
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "triage-node",
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "DejaVu Sans"],
    "font.size": 9,
    "text.color": TEXT,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": LINE,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "legend.frameon": False,
}


def roc(answers: Answers, threshold: float | None, title: str) -> str:
    """ROC with the stored operating point marked; empty when the curve is not defined."""
    curve = metrics.roc(answers)
    if curve is None:
        return ""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=LINE, lw=1)
        axes.plot(curve[0], curve[1], color=BLUE, lw=2)
        if threshold is not None:
            at = metrics.at_threshold(answers, threshold)
            x, y = 1 - at["specificity"], at["sensitivity"]
            axes.plot([x], [y], "o", color=RED, ms=7)
            side = "left" if x < 0.5 else "right"
            axes.annotate(
                "operating point", (x, y), (8 if x < 0.5 else -8, -12), textcoords="offset points", ha=side, color=RED
            )
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=title, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))

    return _svg(draw, f"roc-{title}")


def scores(answers: Answers, thresholds: dict[str, float], title: str) -> str:
    """How the answers of both classes lie, with the stored thresholds."""
    if not answers.n:
        return ""

    def draw(axes: Axes) -> None:
        edges = np.linspace(0, 1, 26)
        for truth, colour, name in ((False, BLUE, "without hemorrhage"), (True, RED, "with hemorrhage")):
            of_class = answers.probability[answers.truth == truth]
            if len(of_class):
                counts = np.histogram(of_class, edges)[0] / len(of_class)
                axes.stairs(counts, edges, color=colour, lw=1.6, label=f"{name}, n {len(of_class)}")
        for name, value in thresholds.items():
            axes.axvline(value, color=QUIET, lw=1, ls="--" if name == "raise" else ":", label=f"{name} {value:.2f}")
        axes.set(xlabel="probability", ylabel="share of the class", title=title)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8)

    return _svg(draw, f"scores-{title}")


def reliability(calibration: dict[str, Any], title: str) -> str:
    """Observed share against mean prediction in ten bins, with intervals; empty when nothing is defined."""
    bins = calibration["bins"]
    if not bins:
        return ""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=LINE, lw=1)
        most = max(b["n"] for b in bins)
        for b in bins:
            low, high = b["observed_ci"]
            axes.plot([b["predicted"]] * 2, [low, high], color=QUIET, lw=1)
            axes.plot([b["predicted"]], [b["observed"]], "o", color=BLUE, ms=4 + 6 * (b["n"] / most) ** 0.5)
        axes.set(
            xlabel="mean probability", ylabel="observed share", title=title, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
        )

    return _svg(draw, f"reliability-{title}")


def forest(rows: Sequence[dict[str, Any]], title: str) -> str:
    """AUC of each stratum with its interval, hollow where it is small; strata without an AUC are left to the table."""
    shown = [r for r in rows if r["auc"] is not None]
    if not shown:
        return ""

    def draw(axes: Axes) -> None:
        for y, r in enumerate(reversed(shown)):
            if r["auc_ci"]:
                axes.plot(r["auc_ci"], [y, y], color=QUIET, lw=1.5)
            axes.plot([r["auc"]], [y], "o", color=BLUE, ms=6, fillstyle="none" if r["small"] else "full")
        names = [f"{r['name'][:28]} ({r['positives']})" for r in reversed(shown)]
        axes.set_yticks(range(len(shown)), names)
        least = min(min((r["auc_ci"] or [r["auc"]])[0], r["auc"]) for r in shown)
        axes.set(
            xlabel="AUC", title=title, xlim=(max(0.0, min(0.5, least - 0.02)), 1.01), ylim=(-0.6, len(shown) - 0.4)
        )

    return _svg(draw, f"forest-{title}", height=1.3 + 0.3 * len(shown))


def bland_altman(reference: NDArray[np.float64], measured: NDArray[np.float64], found: dict[str, Any]) -> str:
    """Measured minus reference over their mean, mL, with bias and limits of agreement."""
    if found["bias"] is None:
        return ""

    def draw(axes: Axes) -> None:
        axes.plot((reference + measured) / 2, measured - reference, "o", color=BLUE, ms=4, alpha=0.7)
        for name in ("bias", "low", "high"):
            axes.axhline(found[name], color=RED if name == "bias" else QUIET, lw=1, ls="-" if name == "bias" else "--")
        axes.set(xlabel="mean of both, mL", ylabel="model minus reference, mL", title="Volume of blood")

    return _svg(draw, "bland-altman")


def _svg(draw: Any, name: str, height: float = _SIZE[1]) -> str:
    """One drawing as an inline SVG element whose colours are the page's own and whose ids no other drawing has."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.set_axisbelow(True)
        draw(axes)
        axes.title.set_fontsize(10)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    for colour, role in _ROLES.items():
        text = text.replace(colour, f"var({role})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    own = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    text = re.sub(r'\bid="', f'id="{own}-', text)
    text = re.sub(r"url\(#", f"url(#{own}-", text)
    text = re.sub(r'href="#', f'href="#{own}-', text)
    return re.sub(
        r'<svg ([^>]*?)width="[^"]*" height="[^"]*"|<svg ', rf'<svg role="img" aria-label="{own}" \1', text, count=1
    )
