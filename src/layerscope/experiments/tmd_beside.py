"""What the published study of TMD crystals found (arXiv 2503.00470), beside what this one finds.

Published gains are per cent, of the figure or points is not clear; here both are given, and a
sentence is judged by the gain in per cent of the figure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.experiments.summary import mean_table, t_interval, trial_table
from layerscope.report.figures import GREY, INK, new_figure, styled

if TYPE_CHECKING:
    import pandas as pd

    from layerscope.experiments.study import Finding

SIZE, SAME, OTHER = "size", "thickness, same material", "thickness, other material"
GAUSSIAN, SALT, LENSES = "Gaussian noise, %", "salt and pepper, %", "objective, x"
SCRATCH, FROM_HETERO = "from scratch", "from heterostructures"
PLAIN, NOISY = "taught clean images", "taught noise"
ONE_LENS, ALL_LENSES = "taught at 50x", "taught at 20x to 100x"
ISLANDS = "islands of Otsu's threshold"

MASK, BOX, MASK_50 = "mask_ap50_90", "box_ap50_90", "mask_ap50"
NUMBERS = (MASK, "mask_ap50", "mask_ap50_95", BOX, "box_ap50", "box_ap50_95")
"""Figures of every trial."""

_LEAST = 0.02
"""A figure below it says that nothing was learned: no gain over it means anything."""

_NEGLIGIBLE = 5.0
"""Per cent: a loss that the study calls stable, and a gain that is none."""

_Place = tuple[str, str, float]  # panel, arm, setting


@dataclass(frozen=True)
class Claim:
    """One sentence of the study, as the gain of one figure over another.

    Attributes
    ----------
    text : str
    figure : str
    better, against : (str, str, float)
        Panel, arm and setting; NaN where there is none.
    published_percent : float
        NaN: no number was published.
    expects : str
        ``"gain"``: above 0; ``"none"``: within 5 % of 0; ``"stable"``: above -5 %.
    """

    text: str
    figure: str
    better: _Place
    against: _Place
    published_percent: float = math.nan
    expects: str = "gain"


_NO = math.nan
CLAIMS = (
    Claim("s is better than n, masks", MASK, (SIZE, "s", _NO), (SIZE, "n", _NO), 21.37),
    Claim("m is better than s, masks", MASK, (SIZE, "m", _NO), (SIZE, "s", _NO)),
    Claim("the same material: heterostructures help, masks", MASK,
          (SAME, FROM_HETERO, _NO), (SAME, SCRATCH, _NO), 3.90),
    Claim("the same material: heterostructures help, boxes", BOX,
          (SAME, FROM_HETERO, _NO), (SAME, SCRATCH, _NO), 2.08),
    Claim("another material: no gain, masks", MASK,
          (OTHER, FROM_HETERO, _NO), (OTHER, SCRATCH, _NO), expects="none"),
    Claim("Gaussian noise of 20 % costs less than 5 %", MASK_50,
          (GAUSSIAN, PLAIN, 20), (GAUSSIAN, PLAIN, 0), expects="stable"),
    Claim("salt and pepper of 20 % costs less than 5 %", MASK_50,
          (SALT, PLAIN, 20), (SALT, PLAIN, 0), expects="stable"),
    Claim("taught noise, Gaussian noise of 20 % costs less than 5 %", MASK_50,
          (GAUSSIAN, NOISY, 20), (GAUSSIAN, NOISY, 0), expects="stable"),
    Claim("taught noise, salt and pepper of 20 % costs less than 5 %", MASK_50,
          (SALT, NOISY, 20), (SALT, NOISY, 0), expects="stable"),
    Claim("another magnification (20x) costs less than 5 %", MASK_50,
          (LENSES, ONE_LENS, 20), (LENSES, ONE_LENS, 50), expects="stable"),
    Claim("another magnification (100x) costs less than 5 %", MASK_50,
          (LENSES, ONE_LENS, 100), (LENSES, ONE_LENS, 50), expects="stable"),
)  # fmt: skip

_EARLY = "the same material: with heterostructures the loss is lower early on"


def tables_beside(finding: Finding) -> dict[str, pd.DataFrame]:
    """Tabulate every sentence beside what is found here, ``claims``."""
    import pandas as pd

    return {"claims": pd.DataFrame([*(_row(c, finding) for c in CLAIMS), _early(finding)])}


def _row(claim: Claim, finding: Finding) -> dict[str, Any]:
    one, other = _figures(finding, claim)
    row: dict[str, Any] = {
        "claim": claim.text, "figure": claim.figure, "published_percent": claim.published_percent,
        "value": _mean(one), "against": _mean(other),
    }  # fmt: skip
    points = 100 * (one - other)
    percent, low, high = ratio_percent(one, other)
    row |= {"points": _mean(points)}
    row |= dict(zip(("points_low", "points_high"), t_interval(points), strict=True))
    row |= {"percent": percent, "percent_low": low, "percent_high": high, "seeds": len(one)}
    row["verdict"] = verdict(claim.expects, _mean(other), low, high) if len(one) else "not run"
    return row


def ratio_percent(one: FloatArray, other: FloatArray) -> tuple[float, float, float]:
    """Gain of the mean of `one` over that of `other`, %, with a 95 % interval over paired seeds.

    Fieller's theorem is not needed where the figures of seeds are far from 0: the interval is that
    of t for the differences ``one - (1 + gain) other``, over the mean of `other`.
    """
    if not len(one) or not np.mean(other) > 0:
        return math.nan, math.nan, math.nan
    gain = float(np.mean(one) / np.mean(other))
    low, high = t_interval((one - gain * other) / np.mean(other))
    # Figures are not negative: no loss is larger than all.
    return 100 * (gain - 1), max(100 * (gain - 1 + low), -100.0), 100 * (gain - 1 + high)


def verdict(expects: str, against: float, low: float, high: float) -> str:
    """Say whether a sentence holds here, or why that cannot be said.

    Parameters
    ----------
    expects : str
        As in `Claim`.
    against : float
        Figure that the gain is over.
    low, high : float
        Ends of the interval of the gain, per cent; NaN without one.
    """
    if math.isnan(low):
        return "no interval"
    if against < _LEAST:
        return "not told: hardly anything was learned"
    if expects == "none":
        # An interval around 0 that is wide shows nothing, least of all that there is no gain.
        if low > 0 or high < 0:
            return "does not hold"
        return "holds" if max(-low, high) <= _NEGLIGIBLE else "not shown"
    least = -_NEGLIGIBLE if expects == "stable" else 0
    return "holds" if low > least else "does not hold" if high < least else "not shown"


def _figures(finding: Finding, claim: Claim) -> tuple[FloatArray, FloatArray]:
    """Both figures of every seed that has both."""
    return _pairs(finding, claim.figure, claim.better, claim.against)


def _pairs(
    finding: Finding, figure: str, better: _Place, against: _Place
) -> tuple[FloatArray, FloatArray]:
    found = []
    for _, trials in sorted(finding.trials.items()):
        known = {_place(t.panel, t.arm, t.setting): t.figures[figure] for t in trials}
        pair = [known.get(_place(*place)) for place in (better, against)]
        if None not in pair:
            found.append(pair)
    one, other = np.array(found, float).reshape(-1, 2).T
    return one, other


def _place(panel: str, arm: str, setting: float | None) -> tuple[str, str, float | None]:
    none = setting is None or math.isnan(setting)
    return panel, arm, None if none else float(setting or 0)


def _early(finding: Finding) -> dict[str, Any]:
    one, other = _pairs(finding, "early_loss", (SAME, SCRATCH, _NO), (SAME, FROM_HETERO, _NO))
    drop = one - other
    low, high = t_interval(drop)
    percent = ratio_percent(other, one)
    told = "no interval" if math.isnan(low) else "holds" if low > 0 else "not shown"
    return {
        "claim": _EARLY, "figure": "early_loss", "published_percent": math.nan,
        "value": _mean(other), "against": _mean(one), "points": math.nan, "points_low": math.nan,
        "points_high": math.nan, "percent": percent[0], "percent_low": percent[1],
        "percent_high": percent[2], "seeds": len(one),
        "verdict": "does not hold" if high < 0 else told,
    }  # fmt: skip


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else math.nan


_WHY = {
    (SIZE, "not shown"): "Larger networks need more steps: with few, size shows late.",
    (SAME, "not shown"): "Sources and targets are drawn alike here and both are small, so that a "
    "start elsewhere saves some steps and no more.",
    (SAME, "does not hold"): "What the last layers learned of the source is in the way where steps "
    "are few.",
    (OTHER, "does not hold"): "Outlines are drawn alike for all materials here: what is learned of "
    "edges helps whatever the colour. Micrographs of two materials differ in more than colour.",
    (
        GAUSSIAN,
        "does not hold",
    ): "Noise of 0.2 of white is more than the contrast of a monolayer; a "
    "network that never saw noise has no reason to stand it.",
    (
        SALT,
        "does not hold",
    ): "A network that never saw such pixels takes them for edges.",
    (LENSES, "does not hold"): "Crystals of another size in the frame than any that taught it.",
}


def lines_beside(finding: Finding) -> list[str]:
    """Say each sentence with the published gain and this one, and why one may not hold."""
    table = tables_beside(finding)["claims"]
    lines = ["Beside the published study (gain in per cent of the figure):"]
    rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
    for row in rows:
        lines.append(f"- {row['claim']}: {_told(row)}: {row['verdict']}")
    panels = {c.text: c.better[0] for c in CLAIMS}
    reasons = [
        _WHY[key] for row in rows if (key := (panels.get(row["claim"], ""), row["verdict"])) in _WHY
    ]
    if reasons:
        lines += ["", "Why it may be so:", *(f"- {r}" for r in dict.fromkeys(reasons))]
    return lines


def _told(row: dict[str, Any]) -> str:
    published = row["published_percent"]
    said = "no number published" if math.isnan(published) else f"published {published:+.2f} %"
    if math.isnan(row["percent"]):
        return f"{said}, here not run"
    here = f"here {row['percent']:+.1f} %"
    if not math.isnan(row["percent_low"]):
        here += f" [{row['percent_low']:+.1f} to {row['percent_high']:+.1f}]"
    return f"{said}, {here} ({row['against']:.3f} to {row['value']:.3f})"


_COLOURS = ("#0072B2", "#D55E00")  # Okabe and Ito (2008)
_PANELS = (SIZE, SAME, OTHER, GAUSSIAN, SALT, LENSES)


@styled
def draw_beside(finding: Finding) -> Any:
    """Draw mask AP50-90 of every arm, a panel per question, each seed behind its mean."""
    means, trials = mean_table(finding), trial_table(finding)
    panels = [p for p in _PANELS if (means["panel"] == p).any()]
    nothing = float(means.loc[means["arm"] == ISLANDS, MASK].iloc[0])
    top = 1.15 * max(0.05, float(trials[MASK].max()))
    figure, axes = new_figure(2.3 * len(panels), 3.4, columns=len(panels))
    for ax, panel in zip(axes, panels, strict=True):
        rows, seeds = means[means["panel"] == panel], trials[trials["panel"] == panel]
        draw = _draw_arms if rows["setting"].isna().all() else _draw_settings
        draw(ax, rows, seeds)
        ax.axhline(nothing, color=INK, linestyle=":", linewidth=1)
        ax.set_ylim(0, top)
        ax.set_title(panel.split(", %")[0].split(", x")[0], fontsize=8)
        if ax is not axes[0]:
            ax.set_yticklabels([])
    axes[0].set_ylabel("mask AP50-90")
    note = "dotted: islands of a threshold; bars: 95 % interval over seeds; grey: single seeds"
    figure.supxlabel(note, fontsize=7.5)
    return figure


def _draw_arms(ax: Any, rows: pd.DataFrame, seeds: pd.DataFrame) -> None:
    names = rows["arm"].tolist()
    for x, (_, row) in enumerate(rows.iterrows()):
        own = seeds.loc[seeds["arm"] == row["arm"], MASK].to_numpy(float)
        ax.plot(np.full(len(own), x + 0.18), own, "_", color=GREY, markersize=7)
        _bar(ax, x, row, _COLOURS[0], "o")
    short = [n.replace("from ", "from\n").replace("heterostructures", "hetero-\nstructures")
             for n in names]  # fmt: skip
    ax.set_xticks(range(len(names)), short, fontsize=7.5)
    ax.set_xlim(-0.5, len(names) - 0.5)


def _draw_settings(ax: Any, rows: pd.DataFrame, seeds: pd.DataFrame) -> None:
    settings = sorted(set(rows["setting"].tolist()))
    for k, arm in enumerate(dict.fromkeys(rows["arm"])):
        own = rows[rows["arm"] == arm].sort_values("setting")
        at = np.array([settings.index(s) for s in own["setting"]]) + 0.08 * (2 * k - 1)
        ax.plot(at, own[MASK], "-", color=_COLOURS[k % 2], linewidth=1.2, label=arm)
        for x, (_, row) in zip(at, own.iterrows(), strict=True):
            _bar(ax, float(x), row, _COLOURS[k % 2], "os"[k % 2])
    ax.set_xticks(range(len(settings)), [f"{s:g}" for s in settings])
    ax.set_xlim(-0.5, len(settings) - 0.5)
    unit = {GAUSSIAN: "standard deviation, %", SALT: "pixels, %", LENSES: "objective, x"}
    ax.set_xlabel(unit[str(rows["panel"].iloc[0])])
    ax.legend(fontsize=6.5, loc="upper right")


def _bar(ax: Any, x: float, row: pd.Series, colour: str, marker: str) -> None:
    value, low, high = (float(row[f"{MASK}{end}"]) for end in ("", "_low", "_high"))
    reach = np.nan_to_num([[value - low], [high - value]])
    ax.errorbar(x, value, yerr=reach, fmt=marker, color=colour, markersize=5, capsize=3)
