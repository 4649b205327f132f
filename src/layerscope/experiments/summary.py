"""Means and differences of arms with intervals over seeds, and what they say in words.

An interval is that of Student's t for the mean of the seeds; a difference is taken seed by seed,
because both arms of a seed saw the same images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.experiments.study import Finding

if TYPE_CHECKING:
    import pandas as pd

LEAST_SEEDS = 3
"""Below it an interval of t says nothing: of two seeds it is 13 times their distance wide."""

_Place = tuple[str, float | None, str]


def trial_table(finding: Finding) -> pd.DataFrame:
    """One row per seed, panel, setting and arm."""
    import pandas as pd

    rows = [
        {"seed": seed, "panel": t.panel, "setting": t.setting, "arm": t.arm, **t.figures}
        for seed, trials in sorted(finding.trials.items())
        for t in trials
    ]
    table = pd.DataFrame(rows)
    return table.astype({"setting": float})


def mean_table(finding: Finding) -> pd.DataFrame:
    """Mean over seeds of each arm at each setting, with its 95 % interval."""
    import pandas as pd

    rows = []
    for (panel, setting, arm), by_seed in _by_place(finding).items():
        row: dict[str, object] = {"panel": panel, "setting": setting, "arm": arm}
        row["seeds"] = len(by_seed)
        for name in next(iter(by_seed.values())):
            values = np.array([figures[name] for figures in by_seed.values()])
            low, high = t_interval(values)
            row |= {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows).astype({"setting": float})


def comparison_table(finding: Finding) -> pd.DataFrame:
    """Difference of each pair of arms of the study at each setting that both have.

    ``shown`` is ``yes`` where the interval leaves out zero, ``no`` where it does not, and empty
    where there are too few seeds for one.
    """
    import pandas as pd

    columns = ["panel", "setting", "arm", "against", "seeds", "difference", "low", "high", "shown"]
    places = _by_place(finding)
    rows = [
        (panel, setting, arm, against, *_difference(by_seed, other, finding.study.metric.name))
        for arm, against in finding.study.pairs
        for (panel, setting, own), by_seed in places.items()
        if own == arm and (other := places.get((panel, setting, against)))
    ]
    return pd.DataFrame(rows, columns=columns).astype({"setting": float})


def _by_place(finding: Finding) -> dict[_Place, dict[int, Mapping[str, float]]]:
    """Figures by seed of each panel, setting and arm, in the order in which they were tried."""
    places: dict[_Place, dict[int, Mapping[str, float]]] = {}
    for seed, trials in sorted(finding.trials.items()):
        for t in trials:
            places.setdefault((t.panel, t.setting, t.arm), {})[seed] = t.figures
    return places


def _difference(
    one: Mapping[int, Mapping[str, float]], other: Mapping[int, Mapping[str, float]], metric: str
) -> tuple[int, float, float, float, str]:
    values = np.array([one[s][metric] - other[s][metric] for s in one if s in other])
    low, high = t_interval(values)
    shown = "" if np.isnan(low) else "yes" if low > 0 or high < 0 else "no"
    return len(values), float(values.mean()) if len(values) else np.nan, low, high, shown


def t_interval(values: FloatArray) -> tuple[float, float]:
    """95 % interval of the mean by Student's t; NaN for fewer than `LEAST_SEEDS` values."""
    from scipy import stats

    if len(values) < LEAST_SEEDS:
        return float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean() - half), float(values.mean() + half)


def reading(finding: Finding, means: pd.DataFrame, compared: pd.DataFrame) -> str:
    """Say plainly what the figures show beyond their intervals, and what they do not."""
    study, done = finding.study, len(finding.trials)
    lines = [study.question, ""]
    lines.append(_how_many(done, finding.wanted))
    baseline = means[means["arm"] == study.baseline].iloc[0]
    lines.append(
        f"Figures are the {study.metric.label}, {_number(baseline, study.metric.name)} for the "
        f"answer that learns nothing (the {study.baseline})."
    )
    for arm, against in study.pairs:
        rows = compared[(compared["arm"] == arm) & (compared["against"] == against)]
        if len(rows):
            lines += ["", f"{_title(arm)}, against {against}:"]
            lines += [f"- {_sentence(row, study.axis)}" for _, row in rows.iterrows()]
    if study.beside is not None:
        lines += ["", *study.beside.lines(finding)]
    lines += ["", "To be kept in mind:"]
    notes = [*study.notes, *_cautions(finding, compared)]
    return "\n".join([*lines, *(f"- {n}" for n in notes)]) + "\n"


def _how_many(done: int, wanted: int) -> str:
    seeds = f"{done} seed{'' if done == 1 else 's'}"
    rest = "" if done >= wanted else f" of {wanted}: call again to run the others"
    few = "" if done >= LEAST_SEEDS else f". No interval: {LEAST_SEEDS} seeds or more are needed"
    return f"{seeds}{rest}{few}."


def _sentence(row: pd.Series, axis: str) -> str:
    start = f"{row['panel']}: " if row["panel"] else ""
    if np.isfinite(row["setting"]):
        start = f"{row['panel'] or axis} = {row['setting']:g}: "
    value = f"{row['difference']:+.3f}"
    if not row["shown"]:
        return f"{start}{value} (no interval)"
    verdict = "shown" if row["shown"] == "yes" else "not shown"
    return f"{start}{value} [{row['low']:+.3f} to {row['high']:+.3f}]: {verdict}"


def _cautions(finding: Finding, compared: pd.DataFrame) -> list[str]:
    effort, many = finding.plan["effort"], int((compared["shown"] != "").sum())
    # The study of sizes names its networks itself, and not every study has a source.
    named = {*compared["arm"], *compared["against"]}
    spent = "" if effort["network"] in named else f"{effort['network']}, "
    spent += f"{effort['steps']} steps"
    spent += f", {effort['source_steps']} on a source" if finding.study.has_source else ""
    small = "Small networks and short trainings: differences may shrink with longer ones."
    out = [f"{small} Here {spent}." if effort["name"] != "full" else f"{spent}."]
    if many > 1:
        out.append(
            f"{many} intervals of 95 % each: about {max(1, round(0.05 * many))} would leave out "
            "zero by chance."
        )
    if finding.plan["world"].get("images") == "synthetic":
        out.append("Synthetic images; seeds differ in specimens, instruments and starting weights.")
    else:
        out.append(
            "The seeds split the same images anew, so that they are not independent and the "
            "intervals are too short for other images."
        )
    return out


def _number(row: pd.Series, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3f}" + ("" if np.isnan(low) else f" [{low:.3f} to {high:.3f}]")


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]
