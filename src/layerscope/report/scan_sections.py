"""What a scan found: head, wafer map, yields, the best sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.micrograph import PixelSize
from layerscope.core.results import (
    BoolArray,
    CropMasks,
    Detections,
    IntArray,
    LayerPosterior,
    RegionSignal,
)
from layerscope.report import figures, scan_figures
from layerscope.report.columns import (
    answer_order,
    answer_text,
    answers,
    figures_of,
    flag_names,
    interval,
    numbers,
    percent,
    plain_flag,
    words,
)
from layerscope.report.scan_facts import Scan
from layerscope.report.scan_numbers import dispersion, share_bounds
from layerscope.report.scan_text import (
    area_sentence,
    common_folder,
    counted,
    found_sentence,
    garwood_text,
    images_sentence,
    range_text,
    roomy_sentences,
    setups_sentence,
    whole,
)
from layerscope.report.sections import expected_areas, expected_counts
from layerscope.report.values import Banner, Card, Photo, Plot, Section, Skipped, Table
from layerscope.report.wafer_map import draw_wafer_map

if TYPE_CHECKING:
    import pandas as pd

N_BEST = 20
"""Sites in the table of the best, with their pictures."""
_CARD_PX = 340
_SURVIVORS = 4
"""Layer numbers with a curve of their own."""


def summary(scan: Scan) -> Section:
    """Say what was scanned and found, in the sentences that are read first."""
    n, failed = len(scan.images), int(scan.failed.sum())
    tiles = [
        (whole(n), "image" if n == 1 else "images"),
        (whole(n - failed), "analysed"),
        (whole(failed), "failed"),
        (whole(scan.flakes), "flake" if scan.flakes == 1 else "flakes"),
    ]
    if any(a.isdigit() for a in scan.answers):
        tiles.append((whole(int((scan.answers == "1").sum())), "monolayer regions"))
    found = " ".join(t for t in (found_sentence(scan), area_sentence(scan)) if t)
    return Section(
        "Summary",
        (images_sentence(scan), found, *roomy_sentences(scan)),
        banners=_banners(scan),
        tiles=tuple(tiles),
        tables=(_scanned_table(scan),),
    )


def _banners(scan: Scan) -> tuple[Banner, ...]:
    found = [] if scan.failed.all() else [_layers_banner(scan)]
    if scan.failed.any():
        what = counted(int(scan.failed.sum()), "image")
        text = "They count neither as scanned nor as empty; “Failures” names each with its reason."
        found.append(Banner("warning", f"{what} could not be analysed", text))
    missing = int((~np.isfinite(numbers(scan.analysed, "pixel_size_um"))).sum())
    if missing:
        text = f"The pixel size of {counted(missing, 'image')} is unknown: their sizes are in px."
        found.append(Banner("warning", "Scale unknown", text))
    return tuple(found)


def _layers_banner(scan: Scan) -> Banner:
    calibration, text = scan.result.calibration, setups_sentence(scan)
    if calibration is not None and all(s.status == "ok" for s in calibration.setups):
        return Banner("good", "Layer numbers are absolute", text)
    if calibration is None and scan.result.parameters.get("head"):
        return Banner("note", "Layer numbers by a trained head", text)
    return Banner("warning", "Layer numbers are withheld", text)


def _scanned_table(scan: Scan) -> Table:
    table = scan.analysed
    sizes = {
        f"{w:.0f} × {h:.0f}"
        for w, h in zip(numbers(table, "width_px"), numbers(table, "height_px"), strict=True)
    }
    sources = sorted({s for s in words(table, "pixel_size_source") if s})
    scale = range_text(numbers(table, "pixel_size_um"), 4)
    setups = numbers(table, "setup")
    rows = [
        ("folder", common_folder(words(scan.images, "path")) or "several"),
        ("image size, px", ", ".join(sorted(sizes)[:4]) or "unknown"),
        ("pixel size, µm", f"{scale} ({', '.join(sources)})" if sources else scale),
        ("stage", _stage_text(scan)),
        ("image on stage", _affine_text(scan)),
        ("setups", str(len(np.unique(setups[np.isfinite(setups)])))),
    ]
    return Table(("what", "value"), tuple(rows), "What was scanned", widths=(1.3, 5))


def _stage_text(scan: Scan) -> str:
    known = scan.positions[np.isfinite(scan.positions).all(axis=1)]
    if not len(known):
        return "no positions"
    low, high = known.min(axis=0) * 1e-3, known.max(axis=0) * 1e-3
    span = [f"{axis} {a:.2f} to {b:.2f} mm" for axis, a, b in zip("xy", low, high, strict=True)]
    return f"{', '.join(span)} ({whole(len(known))} of {whole(len(scan.images))} images)"


def _affine_text(scan: Scan) -> str:
    affine = scan.result.affine
    if affine is None:
        return "not known" if not scan.placed else "axes assumed, not measured: no interval"
    a, b = affine.matrix[:, 0]
    turn = np.degrees(np.arctan2(b, a))
    mirrored = "mirrored" if np.linalg.det(affine.matrix) < 0 else "not mirrored"
    error = "no residual: nothing was fitted"
    if affine.rms_um is not None:
        error = f"residual {figures_of(affine.rms_um, 2)} µm rms"
    parts = [f"turned by {turn:.2f}°, {mirrored}", f"from {affine.source}", error, *affine.notes]
    return "; ".join(parts)


def wafer_map(scan: Scan) -> Section | Skipped:
    """Where the images lie on the stage, and where the flakes are."""
    if not len(scan.images):
        return Skipped("Wafer map", "There is no image.")
    figure, caption = draw_wafer_map(scan)
    dense = len(scan.images) + len(scan.sites) > 1000
    return Section("Wafer map", plots=(Plot(figure, caption, wide=True, dense=dense),))


def yields(scan: Scan) -> Section | Skipped:
    """How many flakes of which layer number and size, per area, with intervals."""
    if not len(scan.sites):
        why = "No image could be analysed." if scan.failed.all() else "No flake was found."
        return Skipped("Yields", why)
    plots = [plot for plot in (_layer_plot(scan), _survival_plot(scan)) if plot]
    for values, name, unit in (
        (scan.circle, "largest inscribed circle", scan.unit),
        (scan.area, "area", f"{scan.unit}²" if scan.scaled else "px"),
    ):
        if (usable := int((values > 0).sum())) > 0:
            drawn = figures.histogram(values, title=f"{name[0].upper()}{name[1:]}",
                                      label=f"{name} ({unit})")  # fmt: skip
            plots.append(Plot(drawn, f"Regions by {name} in {unit}, n = {usable}, all layers."))
    return Section("Yields", _yield_notes(scan), plots=tuple(plots), tables=(_yield_table(scan),))


def _yield_notes(scan: Scan) -> tuple[str, ...]:
    notes = [
        "Regions on the wafer, each counted once. Per mm²: exact Poisson interval (Garwood), what "
        "other wafers made alike would show if flakes fell independently."
    ]
    spread = dispersion(scan.flakes_per_image[~scan.failed])
    if np.isfinite(spread) and spread > 1.5:
        notes.append(
            f"They do not: the number of flakes per image varies {figures_of(spread, 2)} times as "
            f"much as independent ones would, so the true interval is about "
            f"{figures_of(float(np.sqrt(spread)), 2)} times as wide."
        )
    cut = int((~scan.complete).sum())
    if cut:
        notes.append(
            f"{counted(cut, 'region')} cut by the edge of what was scanned: their sizes are lower "
            "bounds."
        )
    return (" ".join(notes),)


def _yield_table(scan: Scan) -> Table:
    square, factor = _area_unit(scan)
    counts = expected_counts(scan.sites)
    areas = expected_areas(scan.sites, scan.area * factor)
    none = (np.nan, np.nan, np.nan)
    rows = []
    for answer in answer_order(scan.answers.tolist()):
        mask = scan.answers == answer
        n, room = int(mask.sum()), int((mask & (scan.circle >= scan.room)).sum())
        share = share_bounds(int((mask & scan.complete).sum()), n)
        mean, low, high = counts.get(answer, none)
        expected = f"{whole(mean)} ({whole(low)}–{whole(high)})" if np.isfinite(mean) else "–"
        complete = f"{100 * share.value:.1f} % ({100 * share.low:.1f}–{100 * share.high:.1f})"
        density = garwood_text(n, scan.scanned_um2 * 1e-6)
        area = interval(*areas.get(answer, none), "")
        rows.append((answer_text(answer), whole(n), expected, density, whole(room), complete, area))
    columns = ("answer", "regions", "expected (95 %)", "per mm² (95 %)",
               f"circle ≥ {scan.room:g} {scan.unit}", "whole (95 %)",
               f"area expected, {square} (95 %)")  # fmt: skip
    caption = (
        "Expected: the sum of the probabilities of all regions and the interval that uncertain "
        "layer numbers leave; regions are taken as independent given the calibration. Whole: share "
        "not cut by the edge of the scan (Clopper–Pearson). Counts of regions have no interval of "
        "their own: they are what was found here."
    )
    return Table(columns, tuple(rows), caption, numeric=(1, 2, 3, 4, 5, 6),
                 widths=(1.7, 1.4, 2.7, 2.6, 1.4, 2.7, 3.2))  # fmt: skip


def _area_unit(scan: Scan) -> tuple[str, float]:
    """Choose the unit in which the sum of areas is a short number, and its value."""
    if not scan.scaled:
        return "px", 1.0
    return ("mm²", 1e-6) if np.nansum(scan.area) > 1e6 else ("µm²", 1.0)


def _layer_plot(scan: Scan) -> Plot | None:
    names = [n for n in answer_order(scan.answers.tolist()) if n != "unknown"]
    if not names:
        return None
    count = np.array([(scan.answers == n).sum() for n in names], float)
    bounds = expected_counts(scan.sites)
    ends = [bounds.get(n, (c, c, c))[1:] for n, c in zip(names, count, strict=True)]
    low, high = np.array(ends, float).reshape(-1, 2).T
    unknown = int((scan.answers == "unknown").sum())
    figure = figures.layer_bars(names, count, low, high, title=f"Layers, n = {whole(count.sum())}")
    caption = (
        f"Regions per answer; {whole(unknown)} of unknown layers not drawn. Black: 95 % interval "
        "of the number expected from the probabilities, a sum of p with variance p (1 − p)."
    )
    return Plot(figure, caption)


def _survival_plot(scan: Scan) -> Plot | None:
    present = [n for n in answer_order(scan.answers.tolist()) if n.isdigit()][:_SURVIVORS]
    usable = np.isfinite(scan.circle) & (scan.circle > 0)
    sizes = {n: scan.circle[usable & (scan.answers == n)] for n in present or ["unknown"]}
    sizes = {name: values for name, values in sizes.items() if len(values)}
    if not sizes:
        return None
    area = scan.scanned_um2 * 1e-6
    figure = scan_figures.survival(
        sizes, title="How many are large enough", per_mm2=area if np.isfinite(area) else None,
        label=f"largest inscribed circle ({scan.unit})",
    )  # fmt: skip
    caption = (
        "Regions whose largest inscribed circle is at least so wide; shade: exact 95 % Poisson "
        "interval. In brackets: regions in all."
    )
    return Plot(figure, caption)


def best_sites(scan: Scan) -> Section | Skipped:
    """Show the places to go back to: pictures, sizes, stage positions."""
    title = "Best sites"
    best = scan.best.head(N_BEST)
    if not len(best):
        return Skipped(title, "No flake was found.")
    cards: list[Card | None] = [None] * len(best)
    # Pictures are decoded image by image, whatever the order of merit.
    for rank in sorted(range(len(best)), key=lambda i: words(best, "image")[i]):
        cards[rank] = _card(rank + 1, best.iloc[[rank]], scan)
    text = (
        "One per flake: monolayers first, then two layers, and so on; within a number by largest "
        "inscribed circle × probability × score. A revisit list of monolayers has the same order. "
        f"Shown: {len(best)} of {counted(scan.flakes, 'flake')}; all are in the sites table. Sizes "
        "have no interval: they follow from the outline, which has no error model."
    )
    return Section(title, (text,), cards=tuple(c for c in cards if c), tables=(_best_table(best),))


def _best_table(best: pd.DataFrame) -> Table:
    rows = []
    for rank in range(len(best)):
        row = best.iloc[[rank]]
        answer = answers(row)[0]
        p = float(numbers(row, "layers_probability")[0])
        place = [f"{v:.1f}" if np.isfinite(v) else "–" for v in _place(row)]
        flags = ", ".join(plain_flag(f) for f in flag_names(row["flags"].iloc[0])) or "–" \
            if "flags" in row else "–"  # fmt: skip
        rows.append(
            (str(rank + 1), answer_text(answer), percent(p) if answer != "unknown" else "–",
             _size(row, "inscribed_circle_diameter", ""), _size(row, "area", "²"), *place,
             words(row, "image")[0], flags)
        )  # fmt: skip
    columns = ("", "layers", "probability", "circle", "area", "x, µm", "y, µm", "image", "flags")
    return Table(columns, tuple(rows), "The same as a table", numeric=(0, 2, 3, 4, 5, 6),
                 widths=(0.6, 1.6, 2, 1.5, 1.8, 1.8, 1.8, 3, 2.2))  # fmt: skip


def _place(row: pd.DataFrame) -> tuple[float, float]:
    x, y = (float(numbers(row, f"stage_{a}_um")[0]) for a in "xy")
    return x, y


def _size(row: pd.DataFrame, name: str, power: str) -> str:
    um = float(numbers(row, f"{name}_um{'2' if power else ''}")[0])
    if np.isfinite(um):
        return f"{figures_of(um)} µm{power}"
    px = figures_of(float(numbers(row, f"{name}_px")[0]))
    return f"{px} px" if px != "–" else "–"


def _card(rank: int, row: pd.DataFrame, scan: Scan) -> Card:
    answer = answers(row)[0]
    headline = f"{rank} · {answer_text(answer)}"
    if answer != "unknown":
        headline += f" · {percent(float(numbers(row, 'layers_probability')[0]))}"
    photo = _photo(row, scan)
    x, y = _place(row)
    rows = [
        ("circle fits", f"⌀ {_size(row, 'inscribed_circle_diameter', '')}"),
        ("area", _size(row, "area", "²")),
        ("stage x", f"{x:.1f} µm" if np.isfinite(x) else "unknown"),
        ("stage y", f"{y:.1f} µm" if np.isfinite(y) else "unknown"),
        ("image", words(row, "image")[0]),
        ("seen on", counted(max(1, int(np.nan_to_num(numbers(row, "views")[0]))), "image")),
    ]
    flags = tuple(plain_flag(f) for f in flag_names(row["flags"].iloc[0])) if "flags" in row else ()
    if isinstance(photo, str):
        return Card(headline, figures.layer_color(answer), None, tuple(rows), flags, photo)
    return Card(headline, figures.layer_color(answer), photo, tuple(rows), flags)


def _photo(row: pd.DataFrame, scan: Scan) -> Photo | str:
    """Crop of the image with the region's outline, or its bounding box; or why there is none."""
    from layerscope.draw import draw_card

    name = words(row, "image")[0]
    box = np.array([numbers(row, f"bbox_{s}_px")[0] for s in ("top", "left", "bottom", "right")])
    if not np.isfinite(box).all():
        return "The objects table does not hold this region; its picture is left out."
    rgb = scan.pictures.get(name)
    if isinstance(rgb, str):
        return rgb
    shown = one_region(box.astype(np.int64), rgb.shape[:2], answers(row)[0], _outline(row, scan))
    um = float(numbers(scan.images.iloc[[scan.place[name]]], "pixel_size_um")[0])
    size = PixelSize(um * 1e3, um * 1e3, "table") if np.isfinite(um) else None
    return Photo(draw_card(rgb, shown, 0, pixel_size=size, size_px=_CARD_PX))


def _outline(row: pd.DataFrame, scan: Scan) -> BoolArray | None:
    region = int(numbers(row, "region_id")[0])
    return scan.outlines(words(row, "image")[0], region) if scan.outlines else None


def one_region(
    box: IntArray,
    shape: tuple[int, int],
    answer: str,
    mask: BoolArray | None,
) -> Detections:
    """Make detections of one region, for `draw_card`; without a mask its bounding box."""
    crop = np.ones((box[2] - box[0], box[3] - box[1]), bool) if mask is None else mask
    number = int(answer) if answer.isdigit() else (0 if answer == "thick" else -1)
    nan, one = np.full(1, np.nan), np.ones(1)
    layers = LayerPosterior(one[:, None], np.array([number]), nan, nan, nan, ((),), ("",))
    rgb = np.zeros((1, 3))
    signal = RegionSignal(rgb, rgb, rgb, rgb, rgb, np.ones(1, np.int64), one, one)
    masks = CropMasks(box[None], (np.asarray(crop, bool),), shape)
    zero = np.zeros(1, np.int64)
    return Detections(masks, one, zero, zero + 1, signal, layers)
