"""The report says what the run found, is one harmless file, and is the same every time."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from layerscope.core.run import Failure, RunResult
from layerscope.report import build_sections, html_repr, rank_flakes, render_html, render_pdf
from layerscope.report.physics_sections import weighted_interval
from layerscope.report.sections import expected_areas, expected_counts
from layerscope.report.values import Section, Skipped

EVIL = '<img src="x" onerror="alert(1)">'


def _html(run, pictures, folder):
    render_html(run, folder / "report.html", micrographs=pictures)
    return (folder / "report.html").read_text("utf-8")


@pytest.mark.parametrize(("images", "per_image"), [(0, 0), (1, 0), (1, 1), (3, 40)])
@pytest.mark.parametrize("scale", [True, False])
def test_renders_whatever_was_found(make_run, tmp_path, images, per_image, scale):
    run, pictures = make_run(images, per_image, scale=scale)
    parts = build_sections(run, pictures)
    render_html(run, tmp_path / "r.html", sections=parts)
    render_pdf(run, tmp_path / "r.pdf", sections=parts)
    html = (tmp_path / "r.html").read_text("utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert html.rstrip().endswith("</html>")
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")
    assert html.count("<article") == min(12, images * per_image)


def test_the_file_needs_nothing_else(make_run, tmp_path):
    run, pictures = make_run(2, 10)
    html = _html(run, pictures, tmp_path)
    assert "<script" not in html
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert "url(" not in html


def test_hostile_names_are_text(make_run, tmp_path):
    run, pictures = make_run(1, 5, names=[EVIL])
    run = replace(run, failures=(Failure(EVIL, f"not an image {EVIL}"),), parameters={EVIL: EVIL})
    html = _html(run, pictures, tmp_path)
    assert '<img src="x"' not in html
    assert "&lt;img src=" in html
    assert '<img src="x"' not in html_repr(run)
    render_pdf(run, tmp_path / "r.pdf", micrographs=pictures)


def test_same_run_same_bytes(make_run, tmp_path):
    run, pictures = make_run(2, 15)
    for name in ("a", "b"):
        render_html(run, tmp_path / f"{name}.html", micrographs=pictures)
        render_pdf(run, tmp_path / f"{name}.pdf", micrographs=pictures)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_a_scientist_finds_the_key_sentences(make_run, tmp_path):
    run, pictures = make_run(2, 15)
    run = replace(run, failures=(Failure("bad.jpg", "truncated after 12 bytes"),))
    html = _html(run, pictures, tmp_path)
    for text in (
        "graphene on SiO2(90nm)/Si", "Layer numbers are absolute", "1 input could not be analysed",
        "truncated after 12 bytes", "0.3844 µm (user)", "ab" * 32, "touches border",
        "effective thickness of the tunable film", "Setup 0: 30 regions, accepted", "µm²",
    ):  # fmt: skip
        assert text in html, text


def test_withheld_numbers_and_unknown_scale_are_said_first(make_run, tmp_path):
    run, pictures = make_run(1, 6, scale=False, status="relative")
    html = _html(run, pictures, tmp_path)
    assert "Layer numbers are withheld" in html
    assert "a rival ladder explains the colours as well" in html
    assert "Scale unknown" in html
    cards = html[html.index("<article") : html.index('id="distributions"')]
    assert " px<" in cards
    assert "µm" not in cards
    assert "Layer numbers are withheld" in html_repr(run)


def test_skipped_sections_say_why(make_run, tmp_path):
    run, _ = make_run(1, 0, status="")
    skipped = {p.title: p.reason for p in build_sections(run) if isinstance(p, Skipped)}
    assert skipped["Best flakes"] == "No flake was found."
    assert "No thickness model" in skipped["Calibration"]
    html = _html(run, None, tmp_path)
    assert all(f"{title}: left out." in html for title in skipped)


def test_a_missing_picture_is_said_and_harms_nothing(make_run):
    run, _ = make_run(1, 3)
    gone = replace(run, images=(replace(run.images[0], path="/no/such/file.png"),))
    for given, reason in ((run, "in memory only"), (gone, "cannot be read again")):
        best = next(p for p in build_sections(given) if p.title == "Best flakes")
        assert isinstance(best, Section)
        assert all(card.photo is None and reason in card.no_photo for card in best.cards)


def test_many_images_stay_small(make_run, tmp_path):
    run, pictures = make_run(60, 5)
    html = _html(run, pictures, tmp_path)
    assert len(html) < 6e6
    assert html.count("data:image/jpeg") <= 18


def test_numbers_that_are_missing_do_no_harm(make_run, tmp_path):
    run, pictures = make_run(1, 8)
    broken = run.objects.copy()
    broken.loc[::2, broken.select_dtypes("float").columns] = np.nan
    html = _html(replace(run, objects=broken), pictures, tmp_path)
    assert ">nan" not in html


def _flake(**changes):
    row = {"image": "a", "flake_id": 1, "n_layers": "1", "layers_probability": 0.95, "flags": "",
           "inscribed_circle_diameter_um": 10.0, "area_px": 500, "score": 0.9, "p_1L": 0.95,
           "p_2L": 0.05, "thickness_nm": 0.335}  # fmt: skip
    return row | changes


@pytest.mark.parametrize(
    "worse",
    [
        {"n_layers": "2", "p_1L": 0.05, "p_2L": 0.95},
        {"inscribed_circle_diameter_um": 4.0},
        {"flags": "residue|touches_border"},
        {"score": 0.4},
        {"layers_probability": 0.6},
        {"n_layers": "unknown", "p_1L": 0.0, "p_2L": 0.0, "thickness_nm": np.nan},
    ],
)
def test_ranking_prefers_thin_roomy_clean_certain(worse):
    table = pd.DataFrame([_flake(flake_id=2, **worse), _flake()])
    ranked = rank_flakes(table)
    assert ranked["flake_id"].tolist() == [1, 2]
    assert ranked["merit"].between(0, 1).all()


def test_ranking_gives_one_region_per_flake_and_takes_nothing():
    table = pd.DataFrame([_flake(score=0.5), _flake(score=0.9), _flake(flake_id=2, score=0.7)])
    assert rank_flakes(table).index.tolist() == [1, 2]
    assert rank_flakes(table.iloc[:0]).empty


def test_counts_have_the_binomial_interval():
    """20 regions with p = 1/2: the 95 % interval of the binomial is 6 to 14."""
    table = pd.DataFrame({"p_1L": [0.5] * 20, "p_2L": [0.5] * 20, "n_layers": ["1"] * 20})
    assert expected_counts(table)["1"] == pytest.approx((10, 6, 14))
    sure = pd.DataFrame({"p_1L": [1.0] * 7, "n_layers": ["1"] * 7})
    assert expected_counts(sure)["1"] == (7, 7, 7)


def test_weighted_interval_is_that_of_repeated_draws():
    low, mean, high = weighted_interval(np.array([3.0, 1.0, 2.0]), np.array([0.5, 0.01, 0.49]))
    assert (low, mean, high) == pytest.approx((2.0, 2.49, 3.0))


def test_reliability_appears_with_known_layers(make_run):
    run, _ = make_run(1, 40)
    truth = run.objects.assign(layers_true=run.objects["n_layers"])
    part = next(p for p in build_sections(replace(run, objects=truth)) if p.title == "Reliability")
    assert isinstance(part, Section)
    assert "40 regions with a known layer number 100.0 % are right" in part.text[0]


def test_an_empty_run_is_shown(tmp_path):
    run = RunResult((), pd.DataFrame(), None, (Failure("x.jpg", "missing"),))
    assert "missing" in _html(run, None, tmp_path)
    assert "No layer numbers" in html_repr(run)


def test_large_unlikely_regions_do_not_widen_the_area():
    """Ten sure regions of 1 and one of 1000 with p = 0.001: 10 in 97.5 % of the draws and more."""
    table = pd.DataFrame({"p_1L": [1.0] * 10 + [0.001], "p_2L": [0.0] * 10 + [0.999]})
    mean, low, high = expected_areas(table, np.array([1.0] * 10 + [1000.0]))["1"]
    assert (mean, low, high) == pytest.approx((11, 10, 10))
