"""Whether a scan can be believed: light, noise and focus over the scan, outlying images, setups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.report.columns import figures_of, numbers, words
from layerscope.report.fields import Frame
from layerscope.report.scan_facts import Scan
from layerscope.report.scan_figures import Panel, over_scan, quality_maps
from layerscope.report.scan_numbers import Bounds, median_bounds, robust_z
from layerscope.report.scan_text import counted, whole
from layerscope.report.values import Banner, Plot, Section, Skipped, Table

LIMIT_Z = 5.0
"""Robust standard deviations from which an image is named."""
MAX_NAMED = 100
"""Outlying images in the table, the worst; the others are counted."""
_LEVEL_FLOOR = 0.004  # a hundredth of a step of 8 bits at mid-grey is less, drift of a lamp is more
_NOISE_FLOOR = 0.03
_DRIFT = 0.02
"""Change of the light over the scan that is worth a note: a third of a graphene layer."""


@dataclass(frozen=True, eq=False)
class Signal:
    """One figure per image, how it is compared, and what it says when it is off.

    Attributes
    ----------
    name : str
    values, z : ndarray, (n,)
        NaN where the image failed or is not judged.
    high, low : str
        What a value far above or below the others points to.
    """

    name: str
    values: FloatArray
    z: FloatArray
    high: str
    low: str


def signals(scan: Scan) -> tuple[Signal, ...]:
    """Light, noise, number of regions and focus of every image, each against its own setup."""
    table, setup = scan.images, np.nan_to_num(numbers(scan.images, "setup"), nan=-1).astype(int)
    found = []
    for letter, channel in zip("rgb", ("red", "green", "blue"), strict=True):
        level = np.where(scan.failed, np.nan, numbers(table, f"background_{letter}"))
        z = robust_z(np.log(np.where(level > 0, level, np.nan)), setup, _LEVEL_FLOOR)
        found.append(Signal(f"background {channel}", level, z, "brighter", "darker"))
    noise = np.where(scan.failed, np.nan, numbers(table, "noise"))
    z = robust_z(np.log(np.where(noise > 0, noise, np.nan)), setup, _NOISE_FLOOR)
    found.append(Signal("noise", noise, z, "noisy, or a structured ground", "smoother: blurred?"))
    regions = np.where(scan.failed, np.nan, numbers(table, "regions"))
    # Anscombe, Biometrika 35, 246 (1948): the square root of a Poisson count has variance 1/4.
    z = robust_z(2 * np.sqrt(regions + 0.375), setup, 1.0)
    found.append(Signal("regions", regions, z, "many regions: dirt, residue or scratches?", ""))
    return tuple(found)


def out_of_focus(scan: Scan) -> FloatArray:
    """Share of each image's regions that are flagged out of focus (n,); NaN without regions."""
    objects = scan.result.objects
    if not len(objects) or "flags" not in objects:
        return np.full(len(scan.images), np.nan)
    flagged = objects["flags"].astype(str).str.contains("out_of_focus", regex=False)
    share = flagged.groupby(objects["image"], sort=False).mean()
    return np.array(scan.images["image"].map(share), float)


def quality(scan: Scan) -> Section | Skipped:
    """Show the light, the noise and the focus over the scan, and name the images that stand out."""
    if scan.failed.all():
        return Skipped("Quality", "No image was analysed.")
    measured = signals(scan)
    focus = out_of_focus(scan)
    plots = [*_curves(scan, measured, focus)]
    if scan.placed and len(scan.analysed) > 3:
        plots.append(_maps(scan, measured, focus))
    drift, banner = _drift(measured[:3])
    text = (_flat_field_note(scan), _focus_note(scan, focus))
    return Section(
        "Quality",
        tuple(t for t in text if t),
        banners=banner,
        plots=tuple(plots),
        tables=tuple(t for t in (drift, _setup_table(scan), _outlying_table(scan, measured)) if t),
    )


def _outlying(signal: Signal) -> BoolArray:
    far = np.abs(np.nan_to_num(signal.z)) > LIMIT_Z
    return np.asarray(far & ((signal.z > 0) | bool(signal.low)), bool)


def _curves(scan: Scan, measured: tuple[Signal, ...], focus: FloatArray) -> list[Plot]:
    light = {k: s.values for k, s in zip("rgb", measured[:3], strict=True)}
    any_light = np.any([_outlying(s) for s in measured[:3]], axis=0)
    noise, regions = measured[3], measured[4]
    panels = [
        (light, "Light on the bare substrate", "level, fraction of white", any_light),
        ({"noise": noise.values}, "Noise", "noise, fraction of white", _outlying(noise)),
        ({"regions": regions.values}, "Regions per image", "regions", _outlying(regions)),
        ({"share": focus}, "Out of focus", "share of regions", np.zeros(len(focus), bool)),
    ]
    plots = []
    for curves, title, label, marked in panels:
        mean = "share" in curves
        if not any(np.nansum(v) > 0 for v in curves.values()):
            continue
        figure = over_scan(curves, title=title, label=label, outlying=marked, mean=mean)
        named = " Crosses: outlying images, named below." if marked.any() else ""
        caption = (
            f"{title} in the order of the images' names: {'mean' if mean else 'median'} and the "
            f"middle 90 % of consecutive images.{named}"
        )
        plots.append(Plot(figure, caption))
    return plots


def _maps(scan: Scan, measured: tuple[Signal, ...], focus: FloatArray) -> Plot:
    green = measured[1].values
    relative = 100 * (green / np.nanmedian(green) - 1)
    panels = [
        Panel("green light, % off median", relative),
        Panel("noise, % of white", 100 * measured[3].values),
        Panel("regions per image", measured[4].values, about_median=False),
    ]
    if np.nanmax(focus, initial=0.0) > 0:
        panels.append(Panel("out of focus, % of regions", 100 * focus, about_median=False))
    figure = quality_maps(Frame.of(scan), panels)
    caption = "The same over the wafer, seen as the wafer map; grey: no value."
    return Plot(figure, caption, wide=True, dense=len(scan.images) > 300)


def _drift(light: tuple[Signal, ...]) -> tuple[Table | None, tuple[Banner, ...]]:
    """Light at the end of the scan against its beginning."""
    rows, worst = [], 0.0
    for signal in light:
        values = signal.values[np.isfinite(signal.values)]
        tenth = len(values) // 10
        if tenth < 6:
            return None, ()
        first, last = median_bounds(values[:tenth]), median_bounds(values[-tenth:])
        change = _change(first, last)
        worst = max(worst, abs(change.value))
        text = f"{100 * change.value:+.2f} % ({100 * change.low:+.2f} to {100 * change.high:+.2f})"
        rows.append((signal.name, figures_of(first.value), figures_of(last.value), text))
    caption = "Drift: median of the first and of the last tenth of the images, in order of names."
    table = Table(("", "first", "last", "change (95 %)"), tuple(rows), caption,
                  numeric=(1, 2, 3), widths=(2, 1, 1, 2.4))  # fmt: skip
    if worst < _DRIFT:
        return table, ()
    text = (
        f"The bare substrate changed by {100 * worst:.1f} % from the first to the last tenth of "
        "the images. Layer numbers rest on contrast against the substrate of the same image and "
        "stand this; a lamp that was not warm is the usual cause."
    )
    return table, (Banner("note", "The light drifted", text),)


def _change(first: Bounds, last: Bounds) -> Bounds:
    """Relative change between two medians; the half widths of their intervals add in squares."""
    value = last.value / first.value - 1
    half = np.hypot((first.high - first.low) / 2 / first.value,
                    (last.high - last.low) / 2 / last.value)  # fmt: skip
    return Bounds(value, value - half, value + half)


def _flat_field_note(scan: Scan) -> str:
    flat = scan.result.parameters.get("flat_field")
    if flat is None:
        return ""
    said = {"scan": "the median of many images of this scan", "image": "a fit to each image alone"}
    return f"Flat field: {said.get(str(flat), str(flat))}."


def _focus_note(scan: Scan, focus: FloatArray) -> str:
    notes = [] if np.nanmax(focus, initial=0.0) > 0 else ["No region is flagged out of focus."]
    z = numbers(scan.analysed, "stage_z_um")
    z = z[np.isfinite(z)]
    if len(z) > 1 and z.max() > z.min():
        notes.append(
            f"The stage's focus went from {z.min():.1f} to {z.max():.1f} µm, a range of "
            f"{z.max() - z.min():.1f} µm."
        )
    return " ".join(notes)


def _setup_table(scan: Scan) -> Table:
    said = {"ok": "accepted", "relative": "order only", "refused": "refused"}
    calibration = scan.result.calibration
    fitted = calibration.setups if calibration is not None else ()
    setup = numbers(scan.analysed, "setup")
    rgb = np.column_stack([numbers(scan.analysed, f"background_{c}") for c in "rgb"])
    rows = []
    for k in np.unique(setup[np.isfinite(setup)]).astype(int):
        mine = setup == k
        level = " / ".join(_level_text(median_bounds(v)) for v in rgb[mine].T)
        known = fitted[k] if 0 <= k < len(fitted) else None
        status = said[known.status] if known is not None else "not calibrated"
        reasons = "; ".join(known.reasons) if known is not None else "no thickness model fitted"
        regions = whole(known.n_regions) if known is not None else "–"
        rows.append((str(k), whole(int(mine.sum())), level, status, regions, reasons or "–"))
    caption = (
        "Setups: images of one exposure, lamp and substrate. Substrate: median and 95 % interval, "
        "% of white."
    )
    columns = ("setup", "images", "substrate R / G / B", "calibration", "regions fitted", "reasons")
    return Table(columns, tuple(rows), caption, numeric=(0, 1, 4),
                 widths=(0.9, 1, 3.4, 1.6, 1.2, 4))  # fmt: skip


def _level_text(bounds: Bounds) -> str:
    if not np.isfinite(bounds.value):
        return "–"
    text = f"{100 * bounds.value:.1f}"
    if not np.isfinite(bounds.low):
        return f"{text} (under 6 images)"
    return f"{text} ({100 * bounds.low:.1f}–{100 * bounds.high:.1f})"


def _outlying_table(scan: Scan, measured: tuple[Signal, ...]) -> Table | None:
    z = np.array([np.where(_outlying(s), np.abs(s.z), 0.0) for s in measured])
    worst = z.max(axis=0)
    rows_at = np.flatnonzero(worst > 0)
    order = rows_at[np.argsort(-worst[rows_at], kind="stable")]
    if not len(order):
        judged = int(np.isfinite(measured[0].z).sum())
        text = (
            f"No image stands out by a robust z over {LIMIT_Z:g}, of {counted(judged, 'image')} "
            "judged; setups with fewer than 8 images are not judged."
        )
        return Table(("outlying images",), ((text,),))
    names = words(scan.images, "image")
    rows = tuple((names[i], f"{worst[i]:.0f}", _why(measured, i)) for i in order[:MAX_NAMED])
    more = f" The worst {MAX_NAMED} of them." if len(order) > MAX_NAMED else ""
    caption = (
        f"{counted(len(order), 'image')} with a robust z over {LIMIT_Z:g} within the own "
        f"setup.{more}"
    )
    return Table(("image", "z", "why"), rows, caption, numeric=(1,), widths=(2.4, 0.6, 5),
                 folded=len(order) > 20, printed=20)  # fmt: skip


def _why(measured: tuple[Signal, ...], i: int) -> str:
    parts = []
    for signal in measured:
        if _outlying(signal)[i]:
            middle = figures_of(float(np.nanmedian(signal.values)))
            cause = signal.high if signal.z[i] > 0 else signal.low
            value = figures_of(float(signal.values[i]))
            parts.append(f"{signal.name} {value}, median {middle}: {cause}")
    return "; ".join(parts)
