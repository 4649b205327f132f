"""Sections of the report of a categories run: answers, images, what the model is, the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np

from layerscope.core.categories import NA, UNKNOWN, CategoryRun
from layerscope.core.results import IntArray
from layerscope.report.columns import numbers, words
from layerscope.report.figures import ACCENT, GREY, new_figure, styled
from layerscope.report.panels import Rgb
from layerscope.report.record_tables import failed_inputs, task_record
from layerscope.report.scan_text import counted
from layerscope.report.values import Banner, Photo, Plot, Section, Skipped, Table

HIDDEN = "NA: not visible"

_SHOWN_FIGURES = ("balanced_accuracy", "macro_f1", "kappa")
_LONGEST = 24  # letters of a line beside a bar


@dataclass(frozen=True, eq=False)
class CategoryGlance:
    """What the report keeps of an image after its pixels are gone.

    Attributes
    ----------
    name : str
    rows : tuple of tuple of str
        Question, answer, probability, why.
    unknown : int
        Questions whose answer is unknown.
    picture, panel : ndarray of uint8, (H, W, 3)
        Alone, and under its answers.
    """

    name: str
    rows: tuple[tuple[str, str, str, str], ...]
    unknown: int
    picture: Rgb
    panel: Rgb


def category_sections(
    run: CategoryRun, glances: Sequence[CategoryGlance]
) -> tuple[Section | Skipped, ...]:
    """Every section of the report.

    Parameters
    ----------
    run : CategoryRun
    glances : sequence of CategoryGlance
        Images to show, in the order of the gallery.
    """
    return (
        summary(run),
        shares(run),
        *(shown(glance) for glance in glances),
        every_image(run),
        model(run),
        failed_inputs(run.failures),
        record(run),
    )


def summary(run: CategoryRun) -> Section:
    """How many images, how many answers, how many of them unknown or not visible."""
    n, failed = len(run.images), len(run.failures)
    given = words(run.answers, "answer")
    put = [bool(p == p) for p in numbers(run.answers, "probability")]
    unknown, hidden = given.count(UNKNOWN), put.count(False)
    tiles = [(str(n), "image" if n == 1 else "images")]
    if failed:
        tiles.append((str(failed), "failed"))
    tiles += [(str(len(given) - unknown - hidden), "answers"), (str(unknown), "unknown"),
              (str(hidden), "not visible")]  # fmt: skip
    least = run.parameters.get("unknown_below")
    text = (
        f"{counted(n, 'image')}, {counted(len(run.questionnaire.questions), 'question')} of "
        f"“{run.questionnaire.title}”. An answer with a probability below {least:g} is unknown; a "
        "question that the magnification of an image cannot answer is not put."
        if n
        else f"Nothing was answered; {counted(failed, 'input')} failed."
    )
    banners = []
    noted = sum(map(bool, words(run.images, "notes")))
    if noted:
        banners.append(
            Banner("warning", f"{counted(noted, 'image')} with notes", "They are in the record.")
        )
    return Section("Summary", (text,), banners=tuple(banners), tiles=tuple(tiles))


def shares(run: CategoryRun) -> Section | Skipped:
    """How often each answer was given, a figure per question."""
    title = "Answers"
    if not len(run.images):
        return Skipped(title, "No image was analysed.")
    plots = []
    for question in run.questionnaire.questions:
        rows = run.answers[run.answers["question"] == question.name]
        names, counts = count_answers(
            question.answers, words(rows, "answer"), numbers(rows, "probability").tolist()
        )
        caption = f"{question.text} n = {len(rows)} images, counted and not a sample: no interval."
        plots.append(Plot(answer_bars(question.name, names, counts), caption))
    return Section(title, plots=tuple(plots))


def count_answers(
    possible: Sequence[str], given: Sequence[str], probability: Sequence[float]
) -> tuple[list[str], IntArray]:
    """Count each possible answer, then what is unknown and what was not asked, if there is any."""
    names = [*possible, UNKNOWN, HIDDEN]
    told = [HIDDEN if p != p else g for g, p in zip(given, probability, strict=True)]
    counts = [told.count(name) for name in names]
    kept = [i for i, c in enumerate(counts) if c or i < len(possible)]
    return [names[i] for i in kept], np.array([counts[i] for i in kept], np.int64)


@styled
def answer_bars(title: str, names: Sequence[str], counts: IntArray) -> Any:
    """Bar per answer with its number; what is no answer is grey and hatched."""
    lines = ["\n".join(wrap(name, _LONGEST)) for name in names]
    each_in = max(0.3, *(0.2 + 0.16 * line.count("\n") for line in lines))
    figure, (ax,) = new_figure(4.3, 1.0 + each_in * len(names))
    place = np.arange(len(names))[::-1]
    bars = ax.barh(place, counts, height=0.7)
    for bar, name in zip(bars, names, strict=True):
        none = name in (UNKNOWN, HIDDEN, NA)
        bar.set(facecolor="white" if none else ACCENT, edgecolor=GREY if none else ACCENT,
                hatch="////" if none else None)  # fmt: skip
    ax.bar_label(bars, [str(c) for c in counts], padding=3)
    ax.set_yticks(place, [line.replace("$", r"\$") for line in lines])
    ax.set(title=title, xlabel="images", xlim=(0, max(1, int(counts.max())) * 1.15))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(visible=False, axis="y")
    return figure


def shown(glance: CategoryGlance) -> Section:
    """One image and all that was answered."""
    columns = ("question", "answer", "probability", "why not")
    table = Table(columns, glance.rows, numeric=(2,), widths=(2, 3, 1.4, 4))
    banners: tuple[Banner, ...] = ()
    if glance.unknown:
        title = f"{counted(glance.unknown, 'question')} without a sure answer"
        banners = (Banner("warning", title, "Look at this image."),)
    return Section(glance.name, banners=banners, photos=(Photo(glance.picture),), tables=(table,))


def every_image(run: CategoryRun) -> Section | Skipped:
    """Answers of all images, a row each."""
    title = "Every image"
    if not len(run.images):
        return Skipped(title, "No image was analysed.")
    asked = [q.name for q in run.questionnaire.questions]
    parts = (words(run.answers, c) for c in ("image", "question", "answer"))
    put = numbers(run.answers, "probability")
    given = {
        (image, question): answer if p == p else "not visible"
        for image, question, answer, p in zip(*parts, put, strict=True)
    }
    times = numbers(run.images, "magnification")
    rows = tuple(
        (name, f"{t:g}" if t == t else "unknown", *(given[name, q] for q in asked))
        for name, t in zip(words(run.images, "image"), times, strict=True)
    )
    widths = (2.4, 1.2, *(max(1.6, 0.18 * len(name)) for name in asked))
    table = Table(("image", "times", *asked), rows, "All answers.", numeric=(1,), widths=widths)
    return Section(title, tables=(table,))


def model(run: CategoryRun) -> Section | Skipped:
    """Say what the model is and how good it was on specimens that it had not seen."""
    title, card = "Model", run.provenance.get("model")
    if not isinstance(card, Mapping):
        return Skipped(title, "The run has no model card.")
    metrics = card.get("metrics", {})
    figures = metrics.get("figures", [])
    text = [f"{card.get('name')}: {card.get('network')}."]
    if not figures:
        return Section(title, (*text, "It was not tried on held-out images."))
    text.append(
        f"Mean macro-F1 {metrics['macro_f1']:.2f} on {metrics['held_out_images']} images, each "
        f"held out by {metrics['held_out_by']}; always giving the most frequent answer: "
        f"{metrics['macro_f1_majority']:.2f}."
    )
    told: dict[str, dict[str, Mapping[str, Any]]] = {}
    for f in figures:
        told.setdefault(f["group"], {})[f["name"]] = f
    notes = sorted({f["note"] for f in figures if f["note"]})
    bounds = "; ".join(notes) or "In brackets: 95 % interval over specimens"
    columns = ("question", "accuracy", "most frequent", "balanced accuracy", "macro-F1", "kappa")
    rows = tuple(
        (
            question,
            figure_text(of.get("accuracy")),
            _share(of.get("accuracy", {}).get("baseline")),
            *(figure_text(of.get(name)) for name in _SHOWN_FIGURES),
        )
        for question, of in told.items()
    )
    scores = Table(
        columns, rows, f"Held out, beside the accuracy of the most frequent answer. {bounds}.",
        numeric=(1, 2, 3, 4, 5),
    )  # fmt: skip
    rows = tuple(
        (question, figure_text(of.get("answered")), figure_text(of.get("accuracy_answered")))
        for question, of in told.items()
    )
    sure = Table(
        ("question", "share that is answered", "right of those"), rows,
        f"Held out, where less sure answers are unknown. {bounds}.", numeric=(1, 2),
    )  # fmt: skip
    return Section(title, tuple(text), tables=(scores, sure))


def figure_text(figure: Mapping[str, Any] | None) -> str:
    """Value and interval of a figure of the card: ``0.91 [0.88–0.94]``."""
    if not figure or figure.get("value") is None:
        return "undefined"
    low, high = figure.get("low"), figure.get("high")
    between = "" if low is None or high is None else f" [{low:.2f}–{high:.2f}]"
    return f"{figure['value']:.2f}{between}"


def _share(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def record(run: CategoryRun) -> Section:
    """Parameters, versions and hashes: what is needed to repeat the run."""
    card = run.provenance.get("model")
    made = {k: v for k, v in run.provenance.items() if k != "model"}
    if isinstance(card, Mapping):
        made |= {
            f"model · {k}": card.get(k) for k in ("name", "network", "parameters", "made_with")
        }
    return task_record(run, made)
