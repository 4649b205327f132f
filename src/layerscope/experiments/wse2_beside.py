"""What the published WSe2 study found, beside what this one finds.

Whole pictures: RMSE and R2 of the study's own tables of 23 held-out pictures. Where those give R2
alone, the RMSE follows from the spread of the 23 coverages, which CNN-I, CNN-M and SEG50 agree on:
0.276.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.experiments.summary import mean_table, t_interval
from layerscope.experiments.wse2_arms import (
    CNN_I,
    CNN_M,
    CNN_NONE,
    MLP_I,
    MLP_M,
    OURS,
    SCRATCH,
    SCRATCH_STAR,
    SEG_50,
    SEG_101,
    SEG_I,
    SEG_M,
    SEG_NONE,
    Arm,
)
from layerscope.report.figures import GREY, INK, new_figure, styled

if TYPE_CHECKING:
    import pandas as pd

    from layerscope.experiments.study import Finding

PATCHES = "patches"
AS_PUBLISHED = "whole pictures, asked as published"
WHOLE = "whole pictures, real area only"
PANELS = (PATCHES, AS_PUBLISHED, WHOLE)
NOTHING = "mean of the pictures that teach"

_SPREAD = 0.276


def _from_r2(r2: float) -> float:
    return _SPREAD * math.sqrt(1 - r2)


PUBLISHED: Mapping[tuple[str, str], float] = {
    (SCRATCH.name, PATCHES): 0.041,
    (SCRATCH_STAR.name, PATCHES): 0.121,
    (MLP_I.name, PATCHES): 0.101,
    (MLP_M.name, PATCHES): 0.054,
    (CNN_I.name, PATCHES): 0.029,
    (CNN_M.name, PATCHES): 0.035,
    (SEG_I.name, PATCHES): 0.022,
    (SEG_M.name, PATCHES): 0.020,
    (SEG_50.name, PATCHES): 0.020,
    (SEG_101.name, PATCHES): 0.025,
    (CNN_I.name, AS_PUBLISHED): 0.040,
    (CNN_M.name, AS_PUBLISHED): 0.063,
    (SEG_50.name, AS_PUBLISHED): 0.087,
    (SEG_I.name, AS_PUBLISHED): _from_r2(-0.78),
    (SEG_M.name, AS_PUBLISHED): _from_r2(-0.82),
    (SEG_101.name, AS_PUBLISHED): _from_r2(-1.10),
}
"""RMSE of coverage by arm and panel."""


@dataclass(frozen=True)
class Claim:
    """One sentence of the study, as a difference of two RMSEs that is below 0 if it holds.

    Attributes
    ----------
    text : str
    better, worse : (Arm, str)
        Arm and panel.
    of_weights : bool
        Can be told with the real ImageNet and MicroNet weights only.
    """

    text: str
    better: tuple[Arm, str]
    worse: tuple[Arm, str]
    of_weights: bool = False

    @property
    def published(self) -> float:
        """Published difference; NaN where one of the two was not published."""
        found = [PUBLISHED.get((a.name, p), math.nan) for a, p in (self.better, self.worse)]
        return found[0] - found[1]


CLAIMS = (
    Claim("augmentation on the fly helps", (SCRATCH, PATCHES), (SCRATCH_STAR, PATCHES)),
    Claim("training on beats frozen features", (CNN_I, PATCHES), (MLP_I, PATCHES)),
    Claim("a pretrained start beats CNNsc", (CNN_I, PATCHES), (SCRATCH, PATCHES)),
    Claim("a pretrained start beats the same network from scratch", (CNN_I, PATCHES),
          (CNN_NONE, PATCHES)),
    Claim("frozen: MicroNet beats ImageNet", (MLP_M, PATCHES), (MLP_I, PATCHES), of_weights=True),
    Claim("trained on: ImageNet beats MicroNet", (CNN_I, PATCHES), (CNN_M, PATCHES),
          of_weights=True),
    Claim("on patches segmentation beats regression", (SEG_I, PATCHES), (CNN_I, PATCHES)),
    Claim("on whole pictures regression beats segmentation", (CNN_I, AS_PUBLISHED),
          (SEG_I, AS_PUBLISHED)),
    Claim("the same, with the trained scale and real area only", (CNN_I, WHOLE), (SEG_I, WHOLE)),
    Claim("regression is better on patches than on whole pictures", (CNN_I, PATCHES),
          (CNN_I, AS_PUBLISHED)),
    Claim("segmentation: scale and real area mend whole pictures", (SEG_NONE, WHOLE),
          (SEG_NONE, AS_PUBLISHED)),
    Claim("ours beats fine-tuned regression on whole pictures", (OURS, WHOLE), (CNN_I, WHOLE)),
)  # fmt: skip


def tables_beside(finding: Finding) -> dict[str, pd.DataFrame]:
    """Tabulate every arm beside its published RMSE, ``published``, and every claim, ``claims``."""
    import pandas as pd

    means = mean_table(finding)[["panel", "arm", "seeds", "rmse", "rmse_low", "rmse_high"]]
    told = [PUBLISHED.get((arm, p)) for arm, p in zip(means["arm"], means["panel"], strict=True)]
    claims = pd.DataFrame([_row(claim, finding) for claim in CLAIMS])
    return {"published": means.assign(published_rmse=np.array(told, float)), "claims": claims}


def _row(claim: Claim, finding: Finding) -> dict[str, Any]:
    differences = _differences(claim, finding)
    low, high = t_interval(differences)
    (better, where), (worse, there) = claim.better, claim.worse
    row: dict[str, Any] = {
        "claim": claim.text, "better": better.name, "on": where, "worse": worse.name,
        "worse_on": there, "published": claim.published,
    }  # fmt: skip
    row["here"] = float(differences.mean()) if len(differences) else math.nan
    row |= {"low": low, "high": high, "seeds": len(differences)}
    row["verdict"] = _verdict(claim, low, high, set(finding.plan.get("options", {})))
    return row


def _differences(claim: Claim, finding: Finding) -> FloatArray:
    """One difference per seed that has both."""
    found = []
    for _, trials in sorted(finding.trials.items()):
        rmse = {(t.arm, t.panel): t.figures["rmse"] for t in trials}
        pair = [rmse.get((arm.name, panel)) for arm, panel in (claim.better, claim.worse)]
        if pair[0] is not None and pair[1] is not None:
            found.append(pair[0] - pair[1])
    return np.array(found, float)


def _verdict(claim: Claim, low: float, high: float, real: set[str]) -> str:
    """Say whether the claim holds here, or why that cannot be said."""
    if claim.of_weights and len(real) < 2:
        return "not tested: stand-in weights"
    if math.isnan(low):
        return "no interval"
    if high < 0:
        return "holds"
    return "does not hold" if low > 0 else "not shown"


def lines_beside(finding: Finding) -> list[str]:
    """Say each claim with the published difference and this one."""
    rows = tables_beside(finding)["claims"]
    lines = ["Beside the published study (difference of RMSEs; below 0 the sentence holds):"]
    for _, row in rows.iterrows():
        published = row["published"]
        told = "not published" if math.isnan(published) else f"published {published:+.3f}"
        here = "here not run" if math.isnan(row["here"]) else f"here {row['here']:+.3f}"
        if not math.isnan(row["low"]):
            here += f" [{row['low']:+.3f} to {row['high']:+.3f}]"
        lines.append(f"- {row['claim']}: {told}, {here}: {row['verdict']}")
    return lines


_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito (2008)
_LOOKS = ((("SEG",), _ORANGE, "s", "segmentation"), (("CNN", "MLP"), _BLUE, "o", "regression"))
_OTHER = (_GREEN, "D", "ours, or nothing learned")


@styled
def draw_beside(finding: Finding) -> Any:
    """Draw RMSE of every arm in three panels, with what was published."""
    means = mean_table(finding)
    shown = means[means["panel"].isin(PANELS)]
    arms = list(dict.fromkeys(shown["arm"]))
    nothing = float(means.loc[means["arm"] == NOTHING, "rmse"].iloc[0])
    figure, axes = new_figure(10.5, 1.5 + 0.33 * len(arms), columns=len(PANELS))
    figure.get_layout_engine().set(w_pad=0.1)
    for ax, panel in zip(axes, PANELS, strict=True):
        rows = shown[shown["panel"] == panel].set_index("arm")
        for y, arm in enumerate(reversed(arms)):
            _draw_row(ax, y, arm, panel, rows)
        ax.axvline(nothing, color=INK, linestyle=":", linewidth=1)
        ax.set_xscale("log")
        ax.set_xlim(0.005, 0.6)
        ax.set_xticks([0.01, 0.03, 0.1, 0.3], ["0.01", "0.03", "0.1", "0.3"])
        ax.minorticks_off()
        ax.set_ylim(-0.6, len(arms) - 0.4)
        ax.set_yticks(range(len(arms)), list(reversed(arms)) if ax is axes[0] else [])
        ax.grid(axis="x")
        ax.set_xlabel("RMSE of coverage")
        ax.set_title(panel, fontsize=9)
    _legend(figure, axes[0])
    return figure


def _draw_row(ax: Any, y: int, arm: str, panel: str, rows: pd.DataFrame) -> None:
    colour, marker, _ = look_of(arm)
    if arm in rows.index:
        row = rows.loc[arm]
        reach = np.nan_to_num([[row["rmse"] - row["rmse_low"]], [row["rmse_high"] - row["rmse"]]])
        reach[0] = np.minimum(reach[0], 0.999 * row["rmse"])
        ax.errorbar(row["rmse"], y, xerr=reach, fmt=marker, color=colour, markersize=6, capsize=3)
    if (arm, panel) in PUBLISHED:
        ax.plot(PUBLISHED[arm, panel], y, "x", color=GREY, markersize=7, markeredgewidth=1.8)


def look_of(arm: str) -> tuple[str, str, str]:
    """Colour, marker and kind of an arm."""
    for starts, colour, marker, kind in _LOOKS:
        if arm.startswith(starts):
            return colour, marker, kind
    return _OTHER


def _legend(figure: Any, ax: Any) -> None:
    kinds = [(kind, colour, marker) for _, colour, marker, kind in _LOOKS]
    kinds.append((_OTHER[2], _OTHER[0], _OTHER[1]))
    handles = [ax.plot([], [], m, color=c, label=k)[0] for k, c, m in kinds]
    handles.append(ax.plot([], [], "x", color=GREY, markeredgewidth=1.8, label="published")[0])
    note = "dotted: learns nothing; bars: 95 % interval over seeds"
    figure.legend(
        handles=handles, loc="outside upper center", ncols=len(handles), title=note,
        title_fontsize=8,
    )  # fmt: skip
