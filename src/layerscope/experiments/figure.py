"""A study as a figure: means with intervals, each seed behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.experiments.perturbation import PERTURBATIONS
from layerscope.experiments.study import MAJORITY, MEAN_IOU, Finding
from layerscope.experiments.summary import mean_table, trial_table
from layerscope.report.figures import GREY, INK, new_figure, styled

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito (2008), told apart with every common colour blindness; a marker each besides.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_MARKERS = "osD^v"
METRIC = MEAN_IOU.name
_AXES = {p.name: p.axis for p in PERTURBATIONS}


@styled
def draw_finding(finding: Finding) -> Any:
    """Draw a matplotlib figure: a row of arms, or a panel per kind of setting."""
    means, trials = mean_table(finding), trial_table(finding)
    arms = [a for a in dict.fromkeys(means["arm"]) if a != MAJORITY]
    learned = means[means["arm"] != MAJORITY]
    baseline = float(means.loc[means["arm"] == MAJORITY, METRIC].iloc[0])
    if learned["setting"].isna().all():
        return _draw_arms(learned, trials, arms, baseline)
    return _draw_settings(finding, learned, arms, baseline)


def _draw_arms(means: pd.DataFrame, trials: pd.DataFrame, arms: list[str], baseline: float) -> Any:
    figure, (ax,) = new_figure(6.8, 1.3 + 0.42 * len(arms))
    for i, arm in enumerate(arms):
        row = means[means["arm"] == arm].iloc[0]
        y = len(arms) - 1 - i
        seeds = trials.loc[trials["arm"] == arm, METRIC].to_numpy(float)
        ax.plot(seeds, np.full(len(seeds), y + 0.2), "|", color=GREY, markersize=7)
        ax.errorbar(row[METRIC], y, xerr=_reach(means[means["arm"] == arm]), capsize=3,
                    fmt=_MARKERS[i % 5], color=_COLOURS[i % 5], markersize=6)  # fmt: skip
    ax.axvline(baseline, color=INK, linestyle=":", linewidth=1)
    ax.annotate("learns nothing", (baseline, 0), xycoords=("data", "axes fraction"),
                xytext=(4, 4), textcoords="offset points", fontsize=8, color=GREY)  # fmt: skip
    ax.set_yticks(range(len(arms))[::-1], arms)
    ax.set_ylim(-0.6, len(arms) - 0.4)
    ax.set_xlim(min(0.0, baseline), 1)
    ax.set_xlabel("mean IoU over the classes")
    ax.set_title(f"{_bars(means)}; ticks: single seeds", fontsize=8)
    return figure


def _draw_settings(
    finding: Finding,
    means: pd.DataFrame,
    arms: list[str],
    baseline: float,
) -> Any:
    panels = list(dict.fromkeys(means["panel"]))
    width = 5.6 if len(panels) == 1 else 2.7 * len(panels)
    figure, axes = new_figure(width, 3.6, columns=len(panels))
    for ax, panel in zip(axes, panels, strict=True):
        shown = means[means["panel"] == panel]
        # Arms side by side: bars that lie on each other cannot be read.
        step = 0.012 * (np.ptp(shown["setting"].to_numpy(float)) or 1.0)
        for i, arm in enumerate(arms):
            if len(rows := shown[shown["arm"] == arm]):
                _draw_line(ax, rows, i, step * (i - (len(arms) - 1) / 2))
        ax.axhline(baseline, color=INK, linestyle=":", linewidth=1)
        ticks = np.unique(shown["setting"].to_numpy(float))
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.set_ylim(0, 1)
        ax.set_title(panel)
        ax.set_xlabel(_AXES.get(panel, finding.study.axis))
    axes[0].set_ylabel("mean IoU over the classes")
    for ax in axes[1:]:
        ax.set_yticklabels([])
    handles, labels = axes[0].get_legend_handles_labels()
    note = f"dotted: learns nothing; {_bars(means)}"
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(arms), 3), title=note,
                  title_fontsize=8)  # fmt: skip
    return figure


def _draw_line(ax: Any, rows: pd.DataFrame, i: int, shift: float) -> None:
    rows = rows.sort_values("setting")
    place = rows["setting"].to_numpy(float)
    ax.errorbar(place + shift, rows[METRIC], yerr=_reach(rows), fmt="-" + _MARKERS[i % 5],
                color=_COLOURS[i % 5], markersize=5, linewidth=1.3, capsize=2.5,
                label=str(rows["arm"].iloc[0]))  # fmt: skip


def _bars(means: pd.DataFrame) -> str:
    """Say what bars are, or why there are none."""
    known = np.isfinite(means[f"{METRIC}_low"].to_numpy(float)).any()
    return "bars: 95 % interval over seeds" if known else "too few seeds for intervals"


def _reach(rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Distances (2, n) from the mean down and up to the ends of its interval; 0 without one."""
    value = rows[METRIC].to_numpy(float)
    low, high = rows[f"{METRIC}_low"].to_numpy(float), rows[f"{METRIC}_high"].to_numpy(float)
    return np.nan_to_num(np.array([value - low, high - value]))
