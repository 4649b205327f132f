"""What was found: the summary, the best flakes and the distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.core.run import ImageResult, RunResult
from layerscope.report import figures
from layerscope.report.columns import (
    answer_order,
    answer_text,
    answers,
    count_flakes,
    figures_of,
    flag_names,
    interval,
    layer_probabilities,
    numbers,
    of_image,
    percent,
    plain_flag,
    words,
)
from layerscope.report.pictures import Pictures
from layerscope.report.ranking import rank_flakes
from layerscope.report.values import Banner, Card, Photo, Plot, Section, Skipped, Table

if TYPE_CHECKING:
    import pandas as pd

N_CARDS = 12
"""Flakes shown as cards: two screens, one page and a half of paper."""
_Z95 = 1.96
_MANY_REGIONS = 5000


def summary(run: RunResult, pictures: Pictures | None) -> Section:
    """How much was found, per layer number, and what must be known before using it."""
    n, flakes = len(run.objects), count_flakes(run.objects)
    tiles = [
        (str(len(run.images)), "image" if len(run.images) == 1 else "images"),
        (str(flakes), "flake" if flakes == 1 else "flakes"),
        (str(n), "region of one thickness" if n == 1 else "regions of one thickness"),
    ]
    mono = sum(answer == "1" for answer in answers(run.objects))
    if any(a.isdigit() for a in answers(run.objects)):
        tiles.append((str(mono), "monolayer region" if mono == 1 else "monolayer regions"))
    text = [_answered(run) if n else "Nothing was found on these images."]
    return Section(
        "Summary",
        tuple(text),
        banners=_banners(run),
        tiles=tuple(tiles),
        tables=(_layer_table(run.objects),) if n else (),
    )


def _answered(run: RunResult) -> str:
    given = answers(run.objects)
    unknown, n = given.count("unknown"), len(given)
    if not unknown:
        return "Every region was given a layer number or is thick."
    return (
        f"{n - unknown} of {n} regions were given a layer number or are thick; the other {unknown} "
        "have no answer: their colour fits none, fits several, or numbers are withheld."
    )


def _banners(run: RunResult) -> tuple[Banner, ...]:
    found = [_layers_banner(run), _scale_banner(run.images), _failure_banner(run)]
    return tuple(banner for banner in found if banner is not None)


def _layers_banner(run: RunResult) -> Banner:
    calibration = run.calibration
    if calibration is None and run.parameters.get("layers_from", "physics") != "physics":
        head = run.parameters["layers_from"]
        text = f"They come from the head {head}, trained on labelled flakes, not from physics."
        return Banner("good", "Layer numbers are absolute", text)
    if calibration is None:
        text = "No thickness model was fitted, so flakes have no layer numbers."
        if not run.parameters.get("material"):
            text += " Name the material and the substrate to get them."
        return Banner("warning", "No layer numbers", text)
    bad = [(i, s) for i, s in enumerate(calibration.setups) if s.status != "ok"]
    if not bad:
        what = (
            f"The model of {calibration.material} on {calibration.substrate} explains the colours"
        )
        return Banner(
            "good", "Layer numbers are absolute", f"{what}: the calibration was accepted."
        )
    reasons = []
    for i, setup in bad:
        why = "; ".join(setup.reasons) or "no reason recorded"
        order = " The order of thicknesses still holds." if setup.status == "relative" else ""
        reasons.append(f"Setup {i}: {why}.{order}")
    part = "" if len(bad) == len(calibration.setups) else f" in {len(bad)} of the setups"
    return Banner("warning", f"Layer numbers are withheld{part}", " ".join(reasons))


def _scale_banner(images: tuple[ImageResult, ...]) -> Banner | None:
    missing = sum(image.pixel_size is None for image in images)
    if not missing:
        return None
    which = "all images" if missing == len(images) else f"{missing} of {len(images)} images"
    how = "Give it, for example as 0.3844um per pixel, to get lengths and areas."
    text = f"The pixel size of {which} is unknown: sizes are in px. {how}"
    return Banner("warning", "Scale unknown", text)


def _failure_banner(run: RunResult) -> Banner | None:
    if not run.failures:
        return None
    n = len(run.failures)
    text = "They are listed with the reason under “Failed inputs”; all others were analysed."
    return Banner("warning", f"{n} input{'s' if n > 1 else ''} could not be analysed", text)


def _layer_table(objects: pd.DataFrame) -> Table:
    names = answers(objects)
    area, unit = area_of(objects)
    counts, areas = expected_counts(objects), expected_areas(objects, area)
    rows = []
    for answer in answer_order(names):
        mask = np.array([a == answer for a in names], bool)
        mean, low, high = counts.get(answer, (np.nan, np.nan, np.nan))
        given = f"{mean:.1f} ({low:.0f}–{high:.0f})" if np.isfinite(mean) else "–"
        total = interval(*areas.get(answer, (np.nan, np.nan, np.nan)), "")
        answered = (str(int(mask.sum())), str(count_flakes(objects[mask])))
        covered = figures_of(float(np.nansum(area[mask])))
        rows.append((answer_text(answer), *answered, covered, given, total))
    columns = ("answer", "regions", "flakes", f"area, {unit}", "regions expected (95 %)",
               f"area expected, {unit} (95 %)")  # fmt: skip
    caption = (
        "Left: regions by their answer. Right: what the probabilities of all regions add up to, "
        "with the interval that uncertain layer numbers leave; a region that was answered "
        "“unknown” may still count for a layer number there. Regions are taken as independent "
        "given the calibration. What other images would show is not in the interval."
    )
    return Table(columns, tuple(rows), caption, numeric=(1, 2, 3, 4, 5),
                 widths=(2, 1.2, 1.1, 1.6, 2.6, 3.2))  # fmt: skip


def area_of(objects: pd.DataFrame) -> tuple[FloatArray, str]:
    """Areas (n,) and their unit: µm² where any region has a scale, else px."""
    area_um2 = numbers(objects, "area_um2")
    if np.isfinite(area_um2).any():
        return area_um2, "µm²"
    return numbers(objects, "area_px"), "px"


def expected_counts(objects: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    """Count the regions expected per answer, each with its 95 % interval.

    A region counts with its probability p: the mean is sum p, the interval that of the
    Poisson-binomial distribution (exact convolution; normal above 2000 regions).
    """
    names, probability = layer_probabilities(objects)
    return {name: _poisson_binomial(p) for name, p in zip(names, probability.T, strict=True)}


def _poisson_binomial(p: FloatArray) -> tuple[float, float, float]:
    mean, uncertain = float(p.sum()), p[(p > 1e-4) & (p < 1 - 1e-4)]
    if len(uncertain) > 2000:
        half = _Z95 * float(np.sqrt((uncertain * (1 - uncertain)).sum()))
        return mean, max(mean - half, 0.0), min(mean + half, float(len(p)))
    pmf = np.ones(1)
    for value in uncertain:
        pmf = np.convolve(pmf, [1 - value, value])
    low, high = np.searchsorted(np.cumsum(pmf), [0.025, 0.975 - 1e-12])
    sure = int((p >= 1 - 1e-4).sum())
    return mean, float(sure + low), float(sure + min(high, len(pmf) - 1))


def expected_areas(
    objects: pd.DataFrame, area: FloatArray
) -> dict[str, tuple[float, float, float]]:
    """Sum the area expected per answer, each with its 95 % interval.

    The interval is that of 1000 draws of every region's answer (fixed seed): with a few large
    regions of small probability the distribution is far from normal. It is taken as normal above
    5000 regions, where drawing costs a minute.
    """
    names, probability = layer_probabilities(objects)
    size = np.nan_to_num(area)
    if len(size) > _MANY_REGIONS:
        mean = probability.T @ size
        half = _Z95 * np.sqrt((probability * (1 - probability)).T @ size**2)
        bounds = np.column_stack([mean, np.maximum(mean - half, 0), mean + half])
        return {n: (b[0], b[1], b[2]) for n, b in zip(names, bounds.tolist(), strict=True)}
    draw = np.random.default_rng(0).random((1000, len(size)), np.float32)
    ends = np.cumsum(probability, axis=1)
    found = {}
    for k, name in enumerate(names):
        low, high = np.quantile(
            ((draw < ends[:, k]) & (draw >= ends[:, k] - probability[:, k])) @ size, [0.025, 0.975]
        )
        found[name] = (float(probability[:, k] @ size), float(low), float(high))
    return found


def best_flakes(run: RunResult, pictures: Pictures) -> Section | Skipped:
    """Show the flakes that promise most as cards, best first."""
    title = "Best flakes"
    if not len(run.objects):
        return Skipped(title, "No flake was found.")
    best = rank_flakes(run.objects).head(N_CARDS)
    images = {image.name: image for image in run.images}
    cards: list[Card | None] = [None] * len(best)
    # Pictures are decoded image by image, whatever the order of merit.
    for rank in sorted(range(len(best)), key=lambda i: words(best, "image")[i]):
        row = best.iloc[[rank]]
        image = images.get(words(row, "image")[0])
        cards[rank] = _card(rank + 1, row, run, image, pictures)
    text = (
        "One card per flake: its most promising region. Ranked by thin × roomy × clean × certain "
        "(1/layers, largest inscribed circle, score and flags, probability of the layer number). "
        f"Shown: {len(best)} of {count_flakes(run.objects)} flakes; all are in the objects table."
    )
    return Section(title, (text,), cards=tuple(card for card in cards if card is not None))


def _card(
    rank: int, row: pd.DataFrame, run: RunResult, image: ImageResult | None, pictures: Pictures
) -> Card:
    answer = answers(row)[0]
    headline = f"{rank} · {answer_text(answer)}"
    if answer != "unknown":
        headline += f" · {percent(float(numbers(row, 'layers_probability')[0]))}"
    photo = _card_photo(row, run, image, pictures)
    flags = tuple(plain_flag(f) for f in flag_names(row["flags"].iloc[0])) if "flags" in row else ()
    missing = photo if isinstance(photo, str) else ""
    picture = photo if isinstance(photo, Photo) else None
    return Card(headline, figures.layer_color(answer), picture, _card_rows(row), flags, missing)


def _card_rows(row: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    def value(*names: str) -> float:
        return float(numbers(row, *names)[0])

    um = bool(np.isfinite(value("area_um2")))
    unit, square = ("um", "um2") if um else ("px", "px")
    shown, shown_square = ("µm", "µm²") if um else ("px", "px")
    thickness = interval(value("thickness_nm"), value("thickness_low_nm"),
                         value("thickness_high_nm"), "nm")  # fmt: skip
    long = value(f"inscribed_rectangle_length_{unit}")
    wide = value(f"inscribed_rectangle_width_{unit}")
    circle = figures_of(value(f"inscribed_circle_diameter_{unit}"))
    place = f"x {value('centroid_x_px'):.0f}, y {value('centroid_y_px'):.0f} px"
    rows = [
        ("thickness", thickness),
        ("area", f"{figures_of(value(f'area_{square}'))} {shown_square}"),
        ("circle fits", f"⌀ {circle} {shown}" if circle != "–" else "–"),
        ("rectangle fits", f"{figures_of(long)} × {figures_of(wide)} {shown}"),
        ("image", words(row, "image")[0]),
        ("position", place),
        ("region", f"{words(row, 'region_id')[0]} of flake {words(row, 'flake_id')[0]}"),
    ]
    return tuple((name, text) for name, text in rows if not text.startswith("– ×") and text != "–")


def region_index(objects: pd.DataFrame, row: pd.DataFrame, image: ImageResult) -> int | None:
    """Row of `image.detections` that a row of the table describes, None if there is none.

    A filtered run may keep the region numbers of the unfiltered one: then a table as long as the
    detections is matched by order, any other by number.
    """
    mine = of_image(objects, image.name)
    if len(mine) == len(image.detections):
        return int(mine.index.get_indexer(row.index)[0])
    number = numbers(row, "region_id")[0]
    return int(number) - 1 if 1 <= number <= len(image.detections) else None


def _card_photo(
    row: pd.DataFrame, run: RunResult, image: ImageResult | None, pictures: Pictures
) -> Photo | str:
    from layerscope.draw import draw_card

    index = region_index(run.objects, row, image) if image is not None else None
    if image is None or index is None:
        return "No outline of this region is kept."
    rgb = pictures.get(image.name)
    if isinstance(rgb, str):
        return rgb
    return Photo(draw_card(rgb, image.detections, index, pixel_size=image.pixel_size, size_px=420))


def distributions(run: RunResult, pictures: Pictures) -> Section | Skipped:
    """How layers, areas and lengths are spread, with units and counts."""
    title = "Distributions"
    if not len(run.objects):
        return Skipped(title, "No flake was found.")
    plots = [_layer_plot(run.objects)] if set(answers(run.objects)) != {"unknown"} else []
    area, unit = area_of(run.objects)
    scaled = unit == "µm²"
    feret = numbers(run.objects, "feret_max_um" if scaled else "feret_max_px")
    circle_name = f"inscribed_circle_diameter_{'um' if scaled else 'px'}"
    for values, name, in_unit in (
        (area, "area", unit),
        (feret, "largest Feret diameter", "µm" if scaled else "px"),
        (numbers(run.objects, circle_name), "largest inscribed circle", "µm" if scaled else "px"),
    ):
        if (usable := int((np.isfinite(values) & (values > 0)).sum())) > 0:
            figure = figures.histogram(values, title=f"{name[0].upper()}{name[1:]}, n = {usable}",
                                       label=f"{name} ({in_unit})")  # fmt: skip
            plots.append(
                Plot(figure, f"Regions by {name} in {in_unit}, logarithmic; n = {usable}.")
            )
    left_out = int((~np.isfinite(area)).sum())
    text = (f"{left_out} regions without a scale are left out of the sizes.",) if left_out else ()
    return Section(title, text, plots=tuple(plots))


def _layer_plot(objects: pd.DataFrame) -> Plot:
    given = answers(objects)
    names = [name for name in answer_order(given) if name != "unknown"]
    unknown = given.count("unknown")
    title = f"Layers, n = {len(given) - unknown}"
    count = np.array([given.count(name) for name in names], float)
    bounds = expected_counts(objects)
    ends = [bounds.get(n, (c, c, c))[1:] for n, c in zip(names, count, strict=True)]
    low, high = np.array(ends, float).reshape(-1, 2).T
    figure = figures.layer_bars(names, count, low, high, title=title)
    caption = (
        f"Regions per answer, {unknown} of unknown layers not drawn; black: 95 % interval of the "
        "number expected from the probabilities."
    )
    return Plot(figure, caption)
