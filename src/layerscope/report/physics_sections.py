"""Why the layer numbers may be believed: contrast cloud, calibration, reliability."""

from __future__ import annotations

import numpy as np

from layerscope.core.calibration import Calibration, SetupCalibration
from layerscope.core.results import FloatArray
from layerscope.core.run import RunResult
from layerscope.report import figures
from layerscope.report.cloud import Cloud
from layerscope.report.cloud import contrast_cloud as draw_cloud
from layerscope.report.columns import answers, figures_of, layer_probabilities, numbers, words
from layerscope.report.pictures import Pictures
from layerscope.report.values import Plot, Section, Skipped, Table

MAX_CLOUDS = 4
"""Setups drawn, those with most regions; all are in the calibration's table."""


def contrast_cloud(run: RunResult, pictures: Pictures) -> Section | Skipped:
    """Show every region in contrast space with the fitted ladder, per setup."""
    title = "Contrast cloud"
    contrast = np.column_stack([numbers(run.objects, f"contrast_{c}") for c in "rgb"])
    if not np.isfinite(contrast).all(axis=1).any():
        return Skipped(title, "No region has a measured contrast.")
    setups = _setup_of(run)
    present, counts = np.unique(setups, return_counts=True)
    order = present[np.argsort(-counts, kind="stable")]
    plots = tuple(_cloud_plot(run, contrast, setups == k, int(k)) for k in order[:MAX_CLOUDS])
    text = [
        "Each point is a region, its contrast I / I_substrate − 1 in linear light with its "
        "standard error; 0 is the bare substrate. The line joins what the fitted model expects "
        "for 1, 2, 3 ... layers; the shade about each is one standard deviation."
    ]
    if len(order) > MAX_CLOUDS:
        text.append(f"Shown: the {MAX_CLOUDS} setups with most regions, of {len(order)}.")
    return Section(title, tuple(text), plots=plots)


def _setup_of(run: RunResult) -> FloatArray:
    of_image = {image.name: image.setup for image in run.images}
    return np.array([of_image.get(name, 0) for name in words(run.objects, "image")], float)


def _cloud_plot(run: RunResult, contrast: FloatArray, rows: FloatArray, setup: int) -> Plot:
    error = np.column_stack([numbers(run.objects, f"contrast_{c}_se") for c in "rgb"])
    names = [a for a, keep in zip(answers(run.objects), rows, strict=True) if keep]
    fitted = _fitted(run.calibration, setup)
    none = np.zeros((0, 3))
    ladder, sd = (none, none) if fitted is None else (fitted.ladder, fitted.ladder_sd)
    status = "no ladder fitted"
    if fitted is not None:
        status = "accepted" if fitted.status == "ok" else "layer numbers withheld"
    title = f"Setup {setup}: {len(names)} regions, {status}"
    figure = draw_cloud(Cloud(contrast[rows], error[rows], names, ladder, sd), title=title)
    return Plot(figure, f"{title}. Red over green and blue over green contrast.", wide=True)


def _fitted(calibration: Calibration | None, setup: int) -> SetupCalibration | None:
    if calibration is None or not 0 <= setup < len(calibration.setups):
        return None
    return calibration.setups[setup]


def calibration(run: RunResult, pictures: Pictures) -> Section | Skipped:
    """Tabulate what was fitted, how well, and why it was accepted or refused."""
    title = "Calibration"
    fit = run.calibration
    if fit is None:
        return Skipped(title, "No thickness model was fitted in this run.")
    text = [
        f"{fit.material} on {fit.substrate}; camera values read as {fit.tone}. Values are "
        "posterior means with 95 % intervals over the posterior draws."
    ]
    tables = [_setup_table(fit), *(_parameter_table(fit, k) for k in range(len(fit.setups)))]
    return Section(title, (*text, _reliability_note(run)), tables=tuple(tables))


def _setup_table(fit: Calibration) -> Table:
    words_of = {"ok": "accepted", "relative": "order only", "refused": "refused"}
    rows = []
    for k, s in enumerate(fit.setups):
        level = ", ".join(f"{100 * v:.0f} %" for v in s.background)
        checks = ", ".join(f"{name.replace('_', ' ')} {figures_of(float(v))}"
                           for name, v in s.diagnostics.items())  # fmt: skip
        reasons = "; ".join(s.reasons) or "–"
        rows.append((str(k), words_of[s.status], str(s.n_regions), level, checks or "–", reasons))
    columns = ("setup", "status", "regions", "substrate R, G, B", "diagnostics", "reasons")
    return Table(columns, tuple(rows), "Setups: images of one exposure, lamp and substrate.",
                 numeric=(0, 2), widths=(1, 1.6, 1.4, 2.6, 4, 4))  # fmt: skip


def _parameter_table(fit: Calibration, setup: int) -> Table:
    draws, weights = fit.setups[setup].draws, fit.setups[setup].weights
    rows = []
    for name, values in zip(fit.parameters, draws.T if len(draws) else [], strict=False):
        low, mean, high = weighted_interval(values, weights)
        rows.append(
            (name, figures_of(mean), f"{figures_of(low)} to {figures_of(high)}", _meaning(name))
        )
    caption = f"Parameters of setup {setup}."
    columns = ("parameter", "mean", "95 % interval", "meaning")
    return Table(columns, tuple(rows), caption, numeric=(1, 2), widths=(2.4, 1.5, 2.6, 6))


def weighted_interval(values: FloatArray, weights: FloatArray) -> tuple[float, float, float]:
    """2.5 % quantile, mean and 97.5 % quantile of weighted draws (S,)."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    low, high = np.minimum(np.searchsorted(share, [0.025, 0.975]), len(values) - 1)
    mean = float(np.average(values, weights=weights))
    return float(values[order[low]]), mean, float(values[order[high]])


def _meaning(name: str) -> str:
    from layerscope.physics.ladder import PARAMETERS

    known = {p.name: p.meaning for p in PARAMETERS}
    # Measured: the same lp within 1 from 86 to 94 nm when only the aperture changes.
    caveat = "; absorbs small errors of the optics, no measurement" if "oxide" in name else ""
    return known.get(name, "–") + caveat


def _reliability_note(run: RunResult) -> str:
    given = np.array([a != "unknown" for a in answers(run.objects)], bool)
    p = numbers(run.objects, "layers_probability")[given]
    p = p[np.isfinite(p)]
    if not len(p):
        return "Reliability: no region was given a layer number."
    wrong = figures_of(float((1 - p).sum()), 2)
    return (
        f"Reliability: {len(p)} regions were given an answer, with a mean probability of "
        f"{p.mean():.3f}. If the probabilities are right, about {wrong} of them are "
        "wrong. Errors are shared: were the calibration wrong, they would be wrong together."
    )


def reliability(run: RunResult, pictures: Pictures) -> Section | Skipped:
    """Compare the probabilities with labels, where the table has the column ``layers_true``."""
    title = "Reliability"
    names, probability = layer_probabilities(run.objects)
    truth = [t.strip() for t in words(run.objects, "layers_true")]
    rows = np.array([t in names for t in truth], bool)
    rows &= np.abs(probability.sum(axis=1) - 1) < 1e-6
    if not rows.any():
        return Skipped(title, "No region has a known layer number to compare with.")
    from layerscope.measure.reliability import reliability_diagram

    known = np.array([names.index(truth[i]) for i in np.flatnonzero(rows)], np.int64)
    d = reliability_diagram(probability[rows], known)
    n = int(rows.sum())
    figure = figures.reliability(d.confidence, d.accuracy, d.accuracy_low, d.accuracy_high,
                                 title=f"Known regions, n = {n}")  # fmt: skip
    right = float(d.accuracy @ d.count / n)
    text = f"Of {n} regions with a known layer number {100 * right:.1f} % are right; the expected "
    text += f"calibration error is {d.calibration_error:.3f} (0 is honest)."
    caption = f"Share of right answers against their probability, n = {n}; bars: 95 % (Wilson)."
    return Section(title, (text,), plots=(Plot(figure, caption),))
