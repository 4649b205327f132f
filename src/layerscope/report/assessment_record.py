"""What an assessment stands on: models, thresholds, edits by people, flags, versions, hashes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from layerscope.report.assessment_runs import AssessedImage, ImageSet, RunFolder
from layerscope.report.categories_sections import figure_text
from layerscope.report.record_tables import flat_rows
from layerscope.report.scan_text import counted
from layerscope.report.values import Banner, Section, Skipped, Table


@dataclass(frozen=True)
class EditRow:
    """One thing that a person did; see `labelling.edits.Edit`."""

    when: str
    who: str
    image: str
    sha256: str
    what: str
    before: Mapping[str, int]
    after: Mapping[str, int]


@dataclass(frozen=True)
class EditHistory:
    """The edit log of a project, whose chain was checked.

    Attributes
    ----------
    path : str
    chain : str
        Link of its last line.
    rows : tuple of EditRow
        Oldest first.
    notes : tuple of str
    """

    path: str
    chain: str
    rows: tuple[EditRow, ...]
    notes: tuple[str, ...] = ()

    def of_image(self, sha256: str) -> tuple[EditRow, ...]:
        """Edits of the file with this hash."""
        return tuple(row for row in self.rows if sha256 and row.sha256 == sha256)


def flags(data: ImageSet) -> Section:
    """Every reason to look twice: doubts, notes, failures, names that clash, missing scales."""
    title, rows = "Quality flags", tuple(flag_rows(data))
    if not rows:
        text = "No image was flagged and every input could be analysed."
        return Section(title, banners=(Banner("good", "Nothing flagged", text),), new_page=True)
    severe = sum(1 for row in rows if row[1] != "note")
    banner = Banner(
        "warning" if severe else "note",
        f"{counted(severe, 'flag')}, {counted(len(rows) - severe, 'note')}",
        "Doubts are raised by the analysis itself. Nobody has taken them back unless the edit log "
        "says so.",
    )
    table = Table(("image or input", "kind", "what"), rows, "All of them.", widths=(2, 1, 5),
                  printed=len(rows))  # fmt: skip
    return Section(title, banners=(banner,), tables=(table,), new_page=True)


def flag_rows(data: ImageSet) -> Iterator[tuple[str, str, str]]:
    """Image or input, kind and text of every flag; notes come last."""
    for conflict in data.conflicts:
        name, _, why = conflict.partition(": ")
        yield name, "conflict", why
    for run in data.runs:
        for path, reason in run.failures:
            yield path or "in memory", "failed", f"{run.kind}: {reason}"
    for image in data.images:
        yield from ((image.name, kind, what) for kind, what in flags_of(image, data))
    for image in data.images:
        yield from ((image.name, "note", note) for note in image.notes)


def flags_of(image: AssessedImage, data: ImageSet) -> Iterator[tuple[str, str]]:
    """Kind and text of every flag of one image."""
    yield from (("doubt", doubt) for doubt in image.doubts)
    if image.pixel_size_nm != image.pixel_size_nm:
        yield "no scale", "sizes of this image are in pixels"
    if not image.sha256:
        yield "no file", "the image was in memory: no hash proves what it was"
    missing = [run.kind for k, run in enumerate(data.runs) if k not in image.in_run]
    if missing:
        yield "incomplete", f"not in the run of {', '.join(missing)}"


def models(data: ImageSet) -> tuple[Section | Skipped, ...]:
    """Show the model cards: what they are, learned from, and how good they were held out."""
    found = [(run, run.provenance.get("model")) for run in data.runs]
    cards = [(run, card) for run, card in found if isinstance(card, Mapping)]
    if not cards:
        return (Skipped("Models", "No run used a trained model."),)
    return tuple(_model(run, card) for run, card in cards)


def _model(run: RunFolder, card: Mapping[str, Any]) -> Section:
    sources = [s for s in card.get("trained_on") or () if isinstance(s, Mapping)]
    learned = "; ".join(
        f"{s.get('name')}: {s.get('images', '?')} images of {s.get('groups', '?')} specimens"
        + (f", {s['licence']}" if s.get("licence") else "")
        for s in sources
    )
    sizes = card.get("pixel_size_nm")
    rows = [
        ("name", str(card.get("name", ""))),
        ("SHA-256", str(run.provenance.get("model_sha256", "not recorded"))),
        ("network", f"{card.get('network', '')}, {card.get('parameters', '?')} parameters"),
        ("classes", ", ".join(map(str, card.get("classes") or ())) or "see its questions"),
        ("learned from", learned or "not recorded"),
        ("pixel sizes it learned at", _sizes(sizes)),
        ("thresholds", _thresholds(card)),
    ]
    scores = _scores(card)
    untried = Banner("warning", "Not tried on held-out images", "Nothing is known of its errors.")
    own = Table(("item", "entry"), tuple(rows), "Model card", widths=(1.3, 4))
    return Section(
        f"Model of the {run.kind} run",
        banners=() if scores else (untried,),
        tables=(own, scores) if scores else (own,),
    )


def _sizes(sizes: Any) -> str:
    pair = list(sizes) if isinstance(sizes, (list, tuple)) and len(sizes) == 2 else None
    return f"{pair[0]:.3g} to {pair[1]:.3g} nm" if pair else "not recorded"


def _thresholds(card: Mapping[str, Any]) -> str:
    known = card.get("thresholds")
    if isinstance(known, Mapping) and known:
        return ", ".join(f"{name} {value:g}" for name, value in known.items())
    return "none: each pixel gets its most probable class"


def _scores(card: Mapping[str, Any]) -> Table | None:
    """Held-out figures with intervals, or why they have none."""
    metrics = card.get("metrics")
    metrics = metrics if isinstance(metrics, Mapping) else {}
    figures = metrics.get("figures")
    by = f"held out by {metrics.get('held_out_by', 'specimen')}"
    n = metrics.get("held_out_images", "?")
    if isinstance(figures, list) and figures:
        rows = tuple(
            (str(f.get("group", "")), str(f.get("name", "")).replace("_", " "), figure_text(f),
             str(f.get("note") or "95 %, over specimens"))
            for f in figures if isinstance(f, Mapping)
        )  # fmt: skip
        return Table(("of", "figure", "value [95 %]", "interval"), rows, f"{n} images, {by}.",
                     numeric=(2,), widths=(2, 2, 1.6, 2.4), printed=len(rows))  # fmt: skip
    overlap = metrics.get("iou")
    if not isinstance(overlap, Mapping) or not overlap:
        return None
    dice = metrics.get("dice")
    dice = dice if isinstance(dice, Mapping) else {}
    pairs = tuple(
        (str(name), f"{iou:.3f}", f"{dice[name]:.3f}" if name in dice else "–")
        for name, iou in overlap.items()
    )
    why = "no interval: the card holds one figure per class; shares have intervals of their own"
    return Table(("class", "IoU", "Dice"), pairs, f"{n} images, {by}; {why}.", numeric=(1, 2))


def thresholds(data: ImageSet) -> Section:
    """Every setting of every run: what was decided by people before the images were seen."""
    tables = tuple(
        Table(("setting", "value"), rows, f"Run {run.name}", widths=(2, 4), printed=len(rows))
        for run in data.runs
        if (rows := (*flat_rows(run.parameters), *flat_rows(_sources(run))))
    )
    return Section("Settings and thresholds", tables=tables)


def _sources(run: RunFolder) -> Mapping[str, Any]:
    """Say where the run's objects came from; its model has a section of its own."""
    own = ("model", "model_sha256", "version", "schema")
    return {name: value for name, value in run.provenance.items() if name not in own}


def edits(history: EditHistory | None, data: ImageSet) -> Section | Skipped:
    """Show what people changed by hand, image by image."""
    title = "Edits by hand"
    if history is None:
        return Skipped(title, "No edit log was given (--edits); labels may have been edited.")
    if not history.rows:
        return Section(title, (f"The log {history.path} is whole and holds no edit.",))
    known = {image.sha256 for image in data.images if image.sha256}
    ours = [row for row in history.rows if row.sha256 in known]
    people = sorted({row.who for row in history.rows})
    text = (
        f"{counted(len(history.rows), 'edit')} by {', '.join(people)}, from {history.rows[0].when} "
        f"to {history.rows[-1].when}; {len(ours)} of them on images of this report. Every line is "
        f"chained to the one before it; the chain is whole and ends with {history.chain}.",
        *history.notes,
    )
    shas = list(dict.fromkeys(row.sha256 for row in history.rows))
    rows = tuple(_edit_row(history, sha, sha in known) for sha in shas)
    columns = ("image", "in this report", "edits", "by", "labelled pixels before → after")
    table = Table(columns, rows, "Edits per image.", widths=(2, 1, 2, 1.5, 3), printed=len(rows))
    return Section(title, text, tables=(table,))


def _edit_row(history: EditHistory, sha: str, ours: bool) -> tuple[str, str, str, str, str]:
    mine = [row for row in history.rows if row.sha256 == sha]
    kinds = [row.what for row in mine]
    listed = ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
    people = ", ".join(sorted({row.who for row in mine}))
    return mine[0].image or "all images", "yes" if ours else "no", listed, people, _change(mine)


def _change(rows: Sequence[EditRow]) -> str:
    """Pixels of each class before the first and after the last edit of label layers."""
    counted_rows = [r for r in rows if r.before or r.after]
    if not counted_rows:
        return "–"
    first, last = counted_rows[0].before, counted_rows[-1].after
    names = dict.fromkeys([*first, *last])
    return "; ".join(f"{n} {first.get(n, 0)} → {last.get(n, 0)}" for n in names) or "–"


def hashes(data: ImageSet) -> Section:
    """SHA-256 of every image and of every file of the runs."""
    images = tuple(
        (image.name, image.sha256 or "in memory, no file", image.path) for image in data.images
    )
    files = tuple((run.name, name, sha) for run in data.runs for name, sha in run.hashes)
    versions = tuple(
        (run.name, str(run.provenance.get("version", "not recorded"))) for run in data.runs
    )
    return Section(
        "Hashes and versions",
        tables=(
            Table(("image", "SHA-256", "path"), images, "Images", code=(1,), widths=(1.5, 4, 2.5),
                  printed=len(images)),
            Table(("run", "file", "SHA-256"), files, "Files of the runs that this report is made "
                  "of", code=(2,), widths=(2, 1.6, 4.4), printed=len(files)),
            Table(("run", "layerscope"), versions, "Versions", widths=(3, 2)),
        ),
    )  # fmt: skip
