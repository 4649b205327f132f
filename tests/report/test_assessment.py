"""The document for risk assessment: what it joins, what it says, and that it never guesses."""

import json
import zipfile
from io import BytesIO

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.core.categories import ANSWER_COLUMNS
from layerscope.core.categories import IMAGE_COLUMNS as CATEGORY_IMAGES
from layerscope.core.particles import PARTICLE_IMAGE_COLUMNS, POPULATION_COLUMNS
from layerscope.core.segmentation import AREA_COLUMNS, PHASE_COLUMNS
from layerscope.errors import InputError, UnreadableFile
from layerscope.io import read
from layerscope.io.xlsx import read_xlsx
from layerscope.labelling.edits import Edit, EditLog
from layerscope.measure.particles import particle_columns
from layerscope.report.assessment import (
    assessment_sections,
    document_number,
    workbook,
    write_assessment,
)
from layerscope.report.assessment_descriptors import describe, share_text, text_of
from layerscope.report.assessment_quantities import GROUPS, OF_KEY, QUANTITIES
from layerscope.report.assessment_runs import read_runs
from layerscope.report.assessment_sections import Particulars
from layerscope.report.values import Section, Skipped

NAMES = ("a", "b", "c")


def table(columns, rows):
    frame = pd.DataFrame(rows, columns=[c.name for c in columns])
    return frame.astype({c.name: c.dtype for c in columns})


def write_run(folder, document, **tables):
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in tables.items():
        frame.to_parquet(folder / f"{name}.parquet")
    (folder / "run.json").write_text(json.dumps(document))
    return folder


def pictures(folder):
    """Three images on disk; returns path and hash by name."""
    (folder / "images").mkdir(exist_ok=True)
    found = {}
    for k, name in enumerate(NAMES):
        path = folder / "images" / f"{name}.png"
        cv2.imwrite(str(path), np.full((40, 60), 60 * (k + 1), np.uint8))
        found[name] = (str(path), read(path).sha256)
    return found


def facts(found, name, **more):
    path, sha = found[name]
    return {"image": name, "height_px": 40, "width_px": 60, "pixel_size_nm": 5.0,
            "pixel_size_source": "told", "notes": "", "doubts": "", "path": path, "sha256": sha,
            "valid_share": 1.0, **more}  # fmt: skip


CARD = {
    "name": "tem", "network": "light-n", "parameters": 12, "classes": ["film", "flake"],
    "pixel_size_nm": [1.0, 4.0], "thresholds": {"flake": 0.4},
    "trained_on": [{"name": "set", "images": 7, "groups": 3, "licence": "CC0"}],
    "metrics": {"iou": {"flake": 0.9}, "dice": {"flake": 0.95}, "held_out_images": 3},
}  # fmt: skip


def phases_run(folder, found):
    images = [
        facts(found, n, confidence=0.9, unsure_share=0.1, doubts="odd" if n == "b" else "")
        for n in NAMES
    ]
    areas = [
        {"image": n, "class": c, "value": v, "area_px": 1200, "fraction": share,
         "fraction_low": share - 0.05, "fraction_high": share + 0.05, "area_um2": 0.03,
         "area_low_um2": 0.02, "area_high_um2": 0.04}
        for n in NAMES for v, (c, share) in enumerate((("film", 0.7), ("flake", 0.3)))
    ]  # fmt: skip
    document = {
        "parameters": {"task": "phases", "pixel_size": None},
        "provenance": {"version": "1.2", "model": CARD, "model_sha256": "ab" * 32},
        "images": [{"image": n, "files": n} for n in NAMES],
        "failures": [{"path": "broken.tif", "reason": "cut off"}],
    }
    run = write_run(folder / "phases", document, images=table(PHASE_COLUMNS, images),
                    areas=table(AREA_COLUMNS, areas))  # fmt: skip
    (run / "overlays").mkdir(exist_ok=True)
    for n in NAMES:
        cv2.imwrite(str(run / "overlays" / f"{n}.png"), np.full((50, 60, 3), 99, np.uint8))
    return run


def particles_run(folder, found, names=NAMES, sizes=None):
    """Two particles an image: 80 and 400 nm; the second has a fold and touches the border."""
    rng = np.random.default_rng(0)
    sizes = sizes or (0.08, 0.4)
    rows = []
    for name in names:
        for k, size in enumerate(sizes):
            row = {c.name: float(rng.random()) for c in particle_columns()}
            row |= {"image": name, "particle_id": k + 1, "aggregate_id": 1, "aggregate_size": 2,
                    "flags": "", "touches_border": bool(k), "border_weight": 1.0,
                    "lateral_size_um": size, "lateral_size_px": 200 * size, "folds": k,
                    "fold_share": 0.1 * k, "thickness_class": ("thin", "unknown")[k]}  # fmt: skip
            rows.append(row)
    particles = table(particle_columns(), rows)
    images = [
        facts(found, n, particles=2, at_border=1, aggregates=1, coverage=0.1, hole_share=0.0,
              reference="vacuum")
        for n in names
    ]  # fmt: skip
    figures = [
        ("count", "", 6.0, np.nan, np.nan, "none: the count itself; see density"),
        ("lateral_size_median", "um", 0.24, 0.08, 0.4, "95 %, bootstrap over 6 particles"),
        ("lateral_size_lower_quartile", "um", 0.08, 0.08, 0.24, "95 %, bootstrap"),
        ("lateral_size_upper_quartile", "um", 0.4, 0.24, 0.4, "95 %, bootstrap"),
        ("lognormal_mu", "ln(um)", np.nan, np.nan, np.nan, "none: 6 whole particles, fewer"),
        ("share_thin", "", 0.5, 0.2, 0.8, "95 %, Wilson, 6"),
        ("aggregated_share", "", 1.0, 0.6, 1.0, "95 %, bootstrap"),
        ("no such thing", "", 1.0, 0.6, 1.0, "95 %"),
    ]  # fmt: skip
    population = [(w, *row) for w in ("all", *names) for row in figures]
    document = {
        "parameters": {"task": "particles", "border": "weighted"},
        "provenance": {"version": "1.2", "from": "labels"},
        "images": [{"image": n, "files": n} for n in names],
        "failures": [],
    }
    return write_run(
        folder / "particles", document, images=table(PARTICLE_IMAGE_COLUMNS, images),
        particles=particles, population=table(POPULATION_COLUMNS, population),
    )  # fmt: skip


def categories_run(folder, found):
    question = {"name": "count", "text": "How many?", "answers": ["one", "many"]}
    images = [
        {"image": n, "magnification": 5e4, "magnification_source": "name", "pixel_size_nm": np.nan,
         "height_px": 40, "width_px": 60, "notes": "", "path": found[n][0], "sha256": found[n][1]}
        for n in NAMES
    ]  # fmt: skip
    answers = [
        {"image": n, "question": "count", "answer": "many" if n != "c" else "NA",
         "why": "" if n != "c" else "too near", "probability": 0.8 if n != "c" else np.nan,
         "most_probable": "many"}
        for n in NAMES
    ]  # fmt: skip
    document = {
        "parameters": {"task": "categories", "unknown_below": 0.5},
        "provenance": {"version": "1.2"},
        "questionnaire": {"name": "q", "title": "Q", "question": [question]},
        "images": [], "failures": [],
    }  # fmt: skip
    return write_run(folder / "categories", document, images=table(CATEGORY_IMAGES, images),
                     categories=table(ANSWER_COLUMNS, answers))  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    found = pictures(tmp_path)
    return [make(tmp_path, found) for make in (phases_run, particles_run, categories_run)]


def edit_log(folder, sha):
    log = EditLog(folder / "edits.jsonl")
    log.append(Edit("2026-11-21T10:00:00Z", "anna", "a", sha, "stroke", {"flake": 0}, {"flake": 7}))
    log.append(Edit("2026-11-21T10:01:00Z", "bo", "a", sha, "accept", {"flake": 7}, {"flake": 900}))
    log.append(Edit("2026-11-21T10:02:00Z", "bo", "x", "f" * 64, "stroke", {}, {}))
    return folder / "edits.jsonl"


def cells(sections):
    """Every text of the document, joined."""
    parts = []
    for s in sections:
        if isinstance(s, Section):
            parts += [s.title, *s.text, *(f"{b.title} {b.text}" for b in s.banners)]
            parts += [f"{a} {b}" for a, b in s.tiles]
            parts += [" | ".join(row) for t in s.tables for row in (t.columns, *t.rows)]
        else:
            parts.append(f"{s.title}: {s.reason}")
    return "\n".join(parts)


def test_every_quantity_says_what_it_is_and_what_it_matters_for():
    assert len(OF_KEY) == len(QUANTITIES)
    for q in QUANTITIES:
        assert q.group in GROUPS
        assert len(q.definition) > 10
        assert len(q.relevance) > 20
    linked = {q.group for q in QUANTITIES}
    assert linked == set(GROUPS)


def test_images_are_joined_by_their_bytes_and_clashing_names_are_told(runs, tmp_path):
    data = read_runs(runs)
    assert [i.name for i in data.images] == list(NAMES)
    assert all(set(i.in_run) == {0, 1, 2} for i in data.images)
    assert data.conflicts == ()
    other = tmp_path / "other"
    other.mkdir()
    found = pictures(other)
    found["a"] = (found["a"][0], "0" * 64)
    clash = read_runs([runs[0], particles_run(other, found)])
    assert len(clash.images) == 4
    assert "a: 2 different files have this name" in clash.conflicts[0]
    text = cells(assessment_sections(clash, Particulars()))
    assert "a | conflict | 2 different files have this name; they are not joined" in text
    assert "a | incomplete | not in the run of particles" in text


def test_descriptors_carry_interval_n_and_reason(runs):
    found = {d.quantity.key: d for d in describe(read_runs(runs))}
    size = found["lateral_size_median"]
    assert (size.value, size.low, size.high, size.unit, size.n) == (0.24, 0.08, 0.4, "µm", 6)
    assert size.text == "0.240 [0.0800–0.400]"
    assert found["count"].text == "6"
    assert found["count"].how.startswith("none: ")
    small = found["below_100_nm"]
    assert small.value == 0.5
    assert 0 < small.low < 0.5 < small.high < 1  # Wilson: three images are too few to draw
    assert "Wilson, 6 particles" in small.how
    assert found["aggregates"].value == 3
    for d in found.values():
        assert d.bounded or d.how.startswith("none")


def test_all_or_none_is_no_certainty(tmp_path):
    found = pictures(tmp_path)
    many = {n: (f"{n}.png", f"{k:064d}") for k, n in enumerate("abcdefg")}
    run = particles_run(tmp_path, found | many, names=tuple("abcdefg"), sizes=(0.2, 0.5))
    small = next(d for d in describe(read_runs([run])) if d.quantity.key == "below_100_nm")
    assert small.value == 0
    assert small.high > 0.05


def test_the_document_says_all_that_a_reader_may_ask(runs, tmp_path):
    data = read_runs(runs)
    sha = data.images[0].sha256
    told = Particulars("GO-12", "Lab", "Eve", "R-7", "2026-11-21")
    from layerscope.cli.report import _history

    history = _history(edit_log(tmp_path, sha))
    text = cells(assessment_sections(data, told, history))
    for part in (
        "GO-12", "R-7", "2026-11-21",
        "document number",
        "Why it matters: Decides over inhalation",
        "REACH Annex VI 2.4.2",
        "broken.tif | failed | phases: cut off",
        "b | doubt | phases: odd",
        "SHA-256 | " + "ab" * 32,
        "flake 0.4",
        "7 images of 3 specimens, CC0",
        "3 edits by anna, bo",
        f"ends with {history.chain}",
        "a | yes | 1 stroke, 1 accept | anna, bo | flake 0 → 900",
        "x | no | 1 stroke | bo | –",
        "Edited by hand: 2 edits by anna, bo.",
        "Edited by hand: not according to the log.",
        "count | not visible | – | too near",
        "border | weighted",
        "from | labels",
        sha,
        "makes no statement on hazard",
    ):  # fmt: skip
        assert part in text, part
    for run in data.runs:
        for _, digest in run.hashes:
            assert digest in text


def test_without_a_log_or_particles_it_says_so(runs):
    data = read_runs(runs[:1])
    sections = assessment_sections(data, Particulars())
    left_out = {s.title: s.reason for s in sections if isinstance(s, Skipped)}
    assert "may have been edited" in left_out["Edits by hand"]
    assert left_out["Descriptors"] == "No particles run was given."
    assert "No particles run" in cells(sections)
    assert "sample | not given" in cells(sections)


def test_numbers_have_an_interval_or_a_reason_on_every_page(runs):
    for section in assessment_sections(read_runs(runs), Particulars()):
        for t in section.tables if isinstance(section, Section) else ():
            if "interval, or why none" not in t.columns:
                continue
            value = next(i for i, c in enumerate(t.columns) if "[95 %]" in c)
            why = t.columns.index("interval, or why none")
            for row in t.rows:
                assert "[" in row[value] or row[why].startswith("none"), row


def test_the_same_runs_give_the_same_bytes_and_another_word_another_number(runs, tmp_path):
    data, told = read_runs(runs), Particulars("s")
    for name in ("one", "two"):
        write_assessment(read_runs(runs[::-1]), tmp_path / name, told)
    for file in ("report.pdf", "report.html", "report.xlsx", "report.json"):
        one, two = ((tmp_path / n / file).read_bytes() for n in ("one", "two"))
        assert one == two, file
    assert document_number(data, told) != document_number(data, Particulars("t"))
    (runs[0] / "run.json").write_text((runs[0] / "run.json").read_text() + " ")
    assert document_number(read_runs(runs), told) != document_number(data, told)


def test_the_command_writes_everything(runs, tmp_path):
    log = edit_log(tmp_path, "e" * 64)
    result = CliRunner().invoke(
        app, ["report", *map(str, runs), "-o", str(tmp_path / "out"), "--edits", str(log)]
    )
    assert result.exit_code == 3, result.output  # one input of the phases run failed
    assert "3 images in 3 runs" in result.output
    pdf = (tmp_path / "out" / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") >= 6
    book = read_xlsx(tmp_path / "out" / "report.xlsx")
    assert book[0] == ["what", "value"]
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {d["key"] for d in kept["descriptors"]} >= {"below_100_nm", "with_folds"}
    assert kept["edits"]["edits"] == 3
    names = [s.name for s in workbook(read_runs(runs), Particulars())]
    assert names[:3] == ["about", "descriptors", "phases"]
    with zipfile.ZipFile(BytesIO((tmp_path / "out" / "report.xlsx").read_bytes())) as archive:
        assert archive.testzip() is None


def test_what_is_no_run_is_refused_in_one_line(runs, tmp_path):
    with pytest.raises(InputError, match="2 runs of phases"):
        read_runs([runs[0], runs[0]])
    with pytest.raises(UnreadableFile, match=r"run\.json"):
        read_runs([tmp_path])
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text('{"parameters": {"task": "coverage"}}')
    with pytest.raises(UnreadableFile, match="a run of coverage; expected phases"):
        read_runs([tmp_path / "odd"])
    whole = (runs[1] / "particles.parquet").read_bytes()
    (runs[1] / "particles.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFile, match=r"particles\.parquet: damaged"):
        read_runs(runs)


def test_a_log_that_was_changed_is_refused(runs, tmp_path):
    log = edit_log(tmp_path, "e" * 64)
    log.write_text(log.read_text().replace("anna", "otto"))
    result = CliRunner().invoke(
        app, ["report", *map(str, runs), "-o", str(tmp_path / "out"), "--edits", str(log)]
    )
    assert isinstance(result.exception, UnreadableFile)
    assert not (tmp_path / "out" / "report.pdf").exists()


def test_texts_of_numbers():
    nan = float("nan")
    assert share_text(0.5, 0.25, 0.75) == "50.0 % [25.0–75.0]"
    assert share_text(0.5, nan, nan) == "50.0 %"
    assert text_of(nan, nan, nan) == "–"
    assert text_of(12.0, nan, nan, OF_KEY["count"]) == "12"


def test_runs_that_found_nothing_still_make_a_document(tmp_path):
    found = pictures(tmp_path)
    run = particles_run(tmp_path, found)
    for name in ("particles", "population"):
        frame = pd.read_parquet(run / f"{name}.parquet").iloc[:0]
        frame.to_parquet(run / f"{name}.parquet")
    images = pd.read_parquet(run / "images.parquet").assign(pixel_size_nm=np.nan, sha256="")
    images.to_parquet(run / "images.parquet")
    data = read_runs([run])
    text = cells(assessment_sections(data, Particulars()))
    assert "a | no scale | sizes of this image are in pixels" in text
    assert "a | no file | " in text
    assert "none with a known pixel size" in text
    assert [d.quantity.key for d in describe(data)] == ["aggregates"]
    write_assessment(data, tmp_path / "out")
    assert (tmp_path / "out" / "report.pdf").stat().st_size > 10_000
