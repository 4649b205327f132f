"""Loss and figures against steps, as a picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from layerscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito (2008)
_BESIDE = ("step", "progress", "learning_rate", "loss")


def plot_curves(
    history: pd.DataFrame, path: str | os.PathLike[str], *, metric: str = "", lower: bool = False
) -> None:
    """Draw the history of a training.

    Parameters
    ----------
    history : pandas.DataFrame
        Of `settings.Fitted`.
    path : path
        .png, .svg or .pdf.
    metric : str
        Figure that decided; its best step is marked.
    lower : bool
        The best is the lowest.

    Raises
    ------
    InputError
        If there is no row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if history.empty:
        raise InputError("no validation in this training: there is nothing to draw")
    figures = [c for c in history.columns if c not in _BESIDE]
    figure = Figure(figsize=(7.2, 3.0 if figures else 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if figures else 1, squeeze=False)[0]
    _draw(panels[0], history, ["loss"], "training loss")
    if (history["loss"] > 0).all() and history["loss"].max() > 10 * history["loss"].min():
        panels[0].set_yscale("log")
    if figures:
        _draw(panels[1], history, figures[: len(_COLOURS)], "held-out figure")
    if metric in history.columns and metric != "loss":
        row = int(history[metric].argmin() if lower else history[metric].argmax())
        step, value = history["step"].iloc[row], history[metric].iloc[row]
        colour = _COLOURS[min(figures.index(metric), len(_COLOURS) - 1)]
        panels[1].plot(
            step, value, "o", mfc="none", mec=colour, ms=10, label=f"kept: {value:.3g} at {step:g}"
        )
        panels[1].legend(frameon=False, fontsize=8)
    metadata: dict[str, Any] = {"CreationDate": None} if str(path).endswith(".pdf") else {}
    figure.savefig(path, dpi=150, metadata=metadata or None)


def _draw(panel: Any, history: pd.DataFrame, names: list[str], label: str) -> None:
    for name, colour in zip(names, _COLOURS, strict=False):
        panel.plot(history["step"], history[name], ".-", color=colour, lw=1.4, label=name)
    panel.set_xlabel("step")
    panel.set_ylabel(label)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", color="0.9")
    if len(names) > 1 or label != "training loss":
        panel.legend(frameon=False, fontsize=8)
