"""The report of a scan: what it counts, what it draws, and that nothing in a table can break it."""

import re
import time
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import PathPatch
from reportlab.pdfgen.canvas import Canvas
from scipy import stats

from layerscope import pipeline
from layerscope.core.scan import IMAGE_COLUMNS, SITE_COLUMNS, ScanResult
from layerscope.core.stage import StageAffine
from layerscope.errors import InputError
from layerscope.report import (
    SCAN_SECTIONS,
    build_scan_sections,
    summarise,
    write_scan_report,
)
from layerscope.report.fields import Frame, compound
from layerscope.report.figures import new_figure
from layerscope.report.html import page_html
from layerscope.report.scan_facts import Scan
from layerscope.report.scan_figures import value_classes
from layerscope.report.scan_numbers import (
    binned,
    dispersion,
    median_bounds,
    poisson_bounds,
    robust_z,
    share_bounds,
    union_area,
)
from layerscope.report.scan_quality import signals
from layerscope.report.scan_sections import one_region
from layerscope.report.scan_text import scan_title
from layerscope.report.values import Section, Skipped
from layerscope.report.vectors import VectorFigure
from layerscope.report.wafer_map import MAX_DOTS, best_places, count_classes, shown_sites
from layerscope.tasks.revisit import rank_sites

EVIL = '<img src="x" onerror="alert(1)">'


def _part(name, result):
    return SCAN_SECTIONS[name](Scan(result))


def _tiles(result):
    return {name: value for value, name in _part("summary", result).tiles}


@pytest.fixture(scope="module")
def scan(make_scan):
    return make_scan(120, 8)


@pytest.fixture
def page(monkeypatch):
    """``page(scan) -> HTML``, its figures made but not drawn: drawing takes seconds."""
    monkeypatch.setattr("layerscope.report.html.to_svg", lambda figure: b"<svg/>")
    monkeypatch.setattr("layerscope.report.html.to_png", lambda figure, dpi: b"")

    def make(result):
        version = result.provenance.get("version", "")
        return page_html(scan_title(result), build_scan_sections(result), version=version)

    return make


# --- what is written


def test_writes_one_harmless_page_a_pdf_and_the_map_the_same_each_time(scan, tmp_path):
    one, other = tmp_path / "a", tmp_path / "b"
    write_scan_report(scan, one)
    write_scan_report(replace(scan, images=scan.images.sample(frac=1, random_state=3)), other)
    for name in ("report.html", "report.pdf", "wafer_map.png", "wafer_map.svg"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    html = (one / "report.html").read_text("utf-8")
    assert "<script" not in html
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert ">nan" not in html
    assert (one / "report.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (one / "wafer_map.svg").read_bytes()[:1000]
    picture = cv2.imread(str(one / "wafer_map.png"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


@pytest.mark.thorough
@pytest.mark.slow
def test_a_whole_wafer_is_reported_quickly_and_small(make_scan, tmp_path):
    result = make_scan(20_000, 11)
    assert len(result.objects) > 250_000
    start = time.process_time()
    write_scan_report(result, tmp_path)
    assert time.process_time() - start < 15
    html = (tmp_path / "report.html").read_text("utf-8")
    assert len(html.encode()) < 5e6
    assert html.count("<tr>") < 1500


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 1, "failed": 1.0, "positions": False},
        {"n": 40, "um": None, "positions": False, "per_image": 0.1},
    ],
    ids=str,
)
def test_the_oddest_scans_can_be_drawn(make_scan, tmp_path, changes):
    write_scan_report(make_scan(**{"per_image": 6, **changes}), tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 1},
        {"n": 1, "positions": False},
        {"n": 1, "failed": 1.0},
        {"per_image": 0},
        {"per_image": 0.02},
        {"failed": 1.0},
        {"failed": 1.0, "positions": False},
        {"positions": False},
        {"um": None},
        {"um": None, "positions": False},
        {"status": ""},
        {"status": "refused"},
        {"turned_deg": 90.0},
        {"turned_deg": 180.0, "flip": True},
    ],
    ids=str,
)
def test_any_scan_gives_a_report(make_scan, page, changes):
    result = make_scan(**{"n": 40, "per_image": 6, **changes})
    html = page(result)
    assert html.rstrip().endswith("</html>")
    assert ">nan" not in html
    assert not re.search(r"\bnan\b", summarise(result))
    tiles = _tiles(result)
    assert int(tiles["analysed"]) + int(tiles["failed"]) == len(result.images)


def _empty():
    def table(columns):
        return pd.DataFrame({c.name: pd.Series([], dtype=c.dtype) for c in columns})

    return ScanResult(table(IMAGE_COLUMNS), pd.DataFrame(), table(SITE_COLUMNS))


def test_a_scan_of_nothing_says_so(page):
    assert "The scan holds no image." in summarise(_empty())
    html = page(_empty())
    assert "Wafer map: left out. There is no image." in html


def test_missing_columns_and_strange_statuses_are_refused(scan):
    with pytest.raises(InputError, match="lacks the column 'noise'"):
        summarise(replace(scan, images=scan.images.drop(columns="noise")))
    with pytest.raises(InputError, match="lacks the column 'views'"):
        summarise(replace(scan, sites=scan.sites.drop(columns="views")))
    with pytest.raises(InputError, match="status 'maybe'"):
        summarise(replace(scan, images=scan.images.assign(status="maybe")))


def test_a_folder_that_cannot_be_made_is_named(scan, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write to"):
        write_scan_report(scan, tmp_path / "file" / "report")


def test_hostile_names_are_text(make_scan, page):
    names = [f"{EVIL}{i}" for i in range(4)] + ["Probe µ 石墨烯 10", "Probe µ 石墨烯 9"]
    result = make_scan(6, 5, names=names, failed=0.4, seed=1)
    assert result.images["status"].str.startswith("failed").any()
    result = replace(result, parameters={EVIL: EVIL}, provenance={"version": EVIL})
    html = page(result)
    assert "<img src=" + '"x"' not in html
    assert "&lt;img src=" in html
    assert "石墨烯" in html


# --- what is counted


def test_failed_images_are_in_no_yield(make_scan):
    result = make_scan(60, 0, failed=0.3)
    scan = Scan(result)
    assert 0 < scan.failed.sum() < 60
    assert np.isnan(scan.flakes_per_image[scan.failed]).all()
    assert (scan.flakes_per_image[~scan.failed] == 0).all()
    looked_at = 60 - scan.failed.sum()
    assert f"No flake was found on the {looked_at} analysed images" in summarise(result)
    gone = replace(result, images=result.images[~result.images["reason"].astype(bool)])
    assert Scan(gone).scanned_um2 == pytest.approx(scan.scanned_um2)


def test_all_failed_is_not_called_empty(make_scan):
    text = summarise(make_scan(12, failed=1.0))
    assert "none of which could be analysed" in text
    assert "No flake" not in text
    assert "Nothing can be said about flakes" in text


def test_statuses_add_up_to_the_inputs(scan):
    table = _part("failures", scan).tables[0]
    counts = [int(row[1]) for row in table.rows]
    assert sum(counts[:-1]) == counts[-1] == len(scan.images)


def test_each_failed_image_is_named_with_its_reason(make_scan, page):
    result = make_scan(300, 0, failed=0.5)
    failed = result.images[result.images["reason"] != ""]
    table = _part("failures", result).tables[1]
    assert {r[0] for r in table.rows} == set(failed["image"])
    assert table.folded
    html = page(result)
    assert html.count("<details>") >= 1
    assert all(f">{name}<" in html for name in failed["image"])


def test_the_sentences_give_the_numbers_of_the_tables(scan):
    room = (scan.sites["n_layers"] == "1") & (scan.sites["inscribed_circle_diameter_um"] >= 5)
    text = summarise(scan)
    assert f"{room.sum()} monolayer region" in text
    assert f"{(room & scan.sites['complete']).sum()} of them whole" in text
    assert 6 <= len(text.splitlines()) <= 10
    flakes = f"{scan.sites['flake_id'].nunique()} flakes"
    assert flakes in text
    assert "\u202f" not in text


def test_densities_have_the_exact_poisson_interval(scan):
    mm2 = Scan(scan).scanned_um2 * 1e-6
    rows = {r[0]: r for r in _part("yields", scan).tables[0].rows}
    n = int((scan.sites["n_layers"] == "2").sum())
    assert rows["2 layers"][1] == str(n)
    value, low, high = (float(v) for v in re.findall(r"[\d.]+", rows["2 layers"][3]))
    assert value == pytest.approx(n / mm2, rel=0.006)
    assert low == pytest.approx(stats.chi2.ppf(0.025, 2 * n) / 2 / mm2, rel=0.006)
    assert high == pytest.approx(stats.chi2.ppf(0.975, 2 * n + 2) / 2 / mm2, rel=0.006)


def test_expected_counts_are_sums_of_probabilities(scan):
    facts = Scan(scan)
    rows = {r[0]: r for r in _part("yields", scan).tables[0].rows}
    p = facts.sites["p_1L"].to_numpy()
    mean, low, high = (int(v) for v in re.findall(r"\d+", rows["1 layer"][2]))
    assert mean == round(p.sum())
    sd = np.sqrt((p * (1 - p)).sum())
    assert high - low == pytest.approx(2 * 1.96 * sd, abs=3)


def test_without_a_pixel_size_nothing_is_given_per_area(make_scan):
    result = make_scan(40, um=None)
    assert "nothing is given per mm²" in summarise(result)
    table = _part("yields", result).tables[0]
    assert {row[3] for row in table.rows} == {"–"}
    assert "circle ≥ 15 px" in table.columns


def test_areas_are_summed_and_said_to_be_where_there_are_no_positions(make_scan):
    result = make_scan(40, positions=False, failed=0.0)
    one = 1200 * 1920 * 0.3844**2
    assert Scan(result).scanned_um2 == pytest.approx(40 * one)
    assert "the sum of the images" in summarise(result)


def test_overlapping_images_count_once(make_scan):
    result = make_scan(40, failed=0.0)
    sum_um2 = 40 * 1200 * 1920 * 0.3844**2
    share = Scan(result).scanned_um2 / sum_um2
    assert 0.8 < share < 0.95  # a tenth of every image lies on each neighbour
    same = result.images.assign(stage_x_um=0.0, stage_y_um=0.0)
    assert Scan(replace(result, images=same)).scanned_um2 == pytest.approx(sum_um2 / 40, rel=0.002)


@pytest.mark.parametrize("status", ["", "refused", "relative"])
def test_withheld_layers_are_said_first(make_scan, status):
    banner = _part("summary", make_scan(20, status=status)).banners[0]
    assert banner.level == "warning"
    assert "withheld" in banner.title
    assert ("rival ladder" in banner.text) == bool(status)


# --- the map


def test_the_map_is_seen_as_the_images_are(make_scan):
    cases = {(0, False): (False, True), (0, True): (False, False), (180, False): (True, False),
             (90, False): (False, False)}  # fmt: skip
    for (turned, flip), flips in cases.items():
        frame = Frame.of(Scan(make_scan(20, turned_deg=turned, flip=flip)))
        assert frame.flips == flips


def test_fields_lie_where_the_affine_puts_them(make_scan):
    result = make_scan(20, turned_deg=12.0, failed=0.0)
    scan = Scan(result)
    frame = Frame.of(scan)
    assert frame.unit == "mm"
    corner = scan.positions[3] + scan.affine.matrix @ [-960, -600]
    np.testing.assert_allclose(frame.corners[3, 0] / frame.factor, corner)
    right, down = np.diff(frame.corners[3], axis=0)[:2]
    area = right[0] * down[1] - right[1] * down[0]
    assert area == pytest.approx(1200 * 1920 * (0.3844e-3) ** 2)


def test_overlapping_tiles_stay_filled_in_the_pdf():
    """Even-odd filling, which PDF libraries begin with, would leave overlaps white."""
    figure, (ax,) = new_figure(2, 2)
    tiles = np.array([[[0, 0], [2, 0], [2, 2], [0, 2]], [[1, 1], [3, 1], [3, 3], [1, 3]]], float)
    ax.add_artist(PathPatch(compound(tiles)))
    ax.set(xlim=(0, 3), ylim=(0, 3))
    canvas = Canvas("unused.pdf", pageCompression=0)
    VectorFigure(figure, 144).drawOn(canvas, 0, 0)
    operators = " ".join(canvas._code).split()
    assert "f" in operators or "B" in operators
    assert not {"f*", "B*", "b*"} & set(operators)


def test_without_positions_images_stand_in_a_grid_and_it_is_said(make_scan):
    result = make_scan(23, positions=False)
    frame = Frame.of(Scan(result))
    assert len(np.unique(frame.centres, axis=0)) == 23
    assert "no stage position" in _part("wafer_map", result).plots[0].caption


def test_images_without_a_place_are_counted_not_drawn(make_scan):
    result = make_scan(30)
    lost = result.images.copy()
    lost.loc[lost.index[:4], ["stage_x_um", "stage_y_um"]] = np.nan
    caption = _part("wafer_map", replace(result, images=lost)).plots[0].caption
    assert "4 images have no stage position" in caption


def test_positions_without_a_pixel_size_draw_fields_by_their_spacing(make_scan):
    result = replace(make_scan(30, um=None), affine=None)
    frame = Frame.of(Scan(result))
    assert frame.placed.all()
    assert "spacing" in frame.assumed


def test_dots_are_shared_between_the_layer_numbers(make_scan):
    scan = Scan(make_scan(400, 8))
    shown = shown_sites(scan)
    assert len(shown) <= MAX_DOTS < len(scan.sites)
    counts = shown["n_layers"].value_counts()
    assert set(counts.index) >= {"1", "2", "3", "4"}
    assert "thick" not in counts.index
    few = Scan(make_scan(10, 5))
    assert len(shown_sites(few)) == len(few.sites)


def test_the_numbered_places_are_the_best_sites(scan):
    facts = Scan(scan)
    frame = Frame.of(facts)
    places = best_places(facts, frame)
    np.testing.assert_allclose(
        places, facts.best.head(10)[["stage_x_um", "stage_y_um"]].to_numpy() * frame.factor
    )


@pytest.mark.parametrize(("most", "classes"), [(0, 2), (1, 2), (3, 3), (7, 4), (500, 6)])
def test_classes_of_counts_cover_every_count(most, classes):
    edges = count_classes(np.array([np.nan, 0.0, most]))
    assert len(edges) - 1 == classes
    assert edges[0] == 0
    assert edges[-1] == np.inf


# --- the best sites


def test_best_sites_agree_with_the_revisit_list_of_monolayers(scan):
    best = Scan(scan).best.head(5)
    revisit = rank_sites(scan.sites, layers=(1, 1), best=5)
    assert best["site_id"].tolist() == revisit["site_id"].tolist()
    assert Scan(scan).best["flake_id"].is_unique


def test_pictures_are_cut_from_the_files_and_missing_ones_said(make_scan, tmp_path):
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"chip7_{i:05d}.png") for i in range(6)]
    for path in paths[:5]:
        cv2.imwrite(path, rng.integers(80, 160, (1200, 1920, 3), np.uint8))
    result = make_scan(6, 3, paths=paths, failed=0.0)
    result = replace(result, images=result.images.assign(sha256=""))
    cards = _part("best_sites", result).cards
    there = {True: 0, False: 0}
    for card in cards:
        gone = dict(card.rows)["image"] == "chip7_00005"
        there[gone] += 1
        assert (card.photo is None) == gone
        assert gone == ("cannot be read again" in card.no_photo)
    assert min(there.values()) > 0


def test_a_changed_file_is_not_shown(make_scan, tmp_path):
    path = str(tmp_path / "chip7_00000.png")
    cv2.imwrite(path, np.full((1200, 1920, 3), 120, np.uint8))
    cards = _part("best_sites", make_scan(1, 5, paths=[path], failed=0.0)).cards
    assert all(c.photo is None and "has changed" in c.no_photo for c in cards)


def test_outlines_replace_the_bounding_box():
    box, mask = np.array([10, 20, 14, 30]), np.eye(4, 10, dtype=bool)
    assert one_region(box, (50, 60), "1", None).masks.area_px.tolist() == [40]
    shown = one_region(box, (50, 60), "thick", mask)
    assert shown.masks.area_px.tolist() == [4]
    assert shown.layers.n_layers.tolist() == [0]


def test_a_real_run_becomes_a_report(synthetic_run, synthetic_folder, page):
    result = _as_scan(synthetic_run)
    html = page(result)
    cards = _part("best_sites", result).cards
    assert cards
    assert all(card.photo is not None for card in cards)
    assert html.count("data:image/jpeg") == len(cards)
    assert "outlying" in html


def _as_scan(run: pipeline.RunResult) -> ScanResult:
    """Images side by side on the stage; every region is a site."""
    step = 480 * 0.3844
    rows = [
        {"image": i.name, "path": i.path, "status": "ok", "reason": "", "sha256": i.sha256,
         "height_px": i.shape[0], "width_px": i.shape[1], "pixel_size_um": i.pixel_size.um,
         "pixel_size_source": i.pixel_size.source, "setup": i.setup, "noise": 0.005,
         **{f"background_{c}": v for c, v in zip("rgb", i.background, strict=True)},
         "regions": len(i.detections), "stage_x_um": 0.0, "stage_y_um": k * step,
         "stage_z_um": np.nan, "notes": ""}
        for k, i in enumerate(run.images)
    ]  # fmt: skip
    own = {c.name for c in SITE_COLUMNS} & set(run.objects.columns)
    sites = run.objects[[c for c in run.objects.columns if c in own]].assign(
        site_id=np.arange(1, len(run.objects) + 1), flake_id=np.arange(1, len(run.objects) + 1),
        stage_x_um=0.0, stage_y_um=0.0, stage_z_um=np.nan, views=1, members="", complete=True,
    )  # fmt: skip
    affine = StageAffine(np.eye(2) * 0.3844, "told")
    return ScanResult(pd.DataFrame(rows), run.objects, sites, run.calibration, affine,
                      run.parameters, run.provenance)  # fmt: skip


# --- quality


def test_dirty_images_are_named_with_the_reason(make_scan):
    result = make_scan(200, 8, failed=0.0, seed=2)
    images = result.images.copy()
    images.loc[17, ["background_r", "background_g", "background_b"]] *= 1.2
    images.loc[91, "noise"] *= 2
    images.loc[140, "regions"] = 4000
    table = next(t for t in _part("quality", replace(result, images=images)).tables
                 if t.columns[-1] == "why")  # fmt: skip
    why = {row[0]: row[2] for row in table.rows}
    assert "brighter" in why["chip7_00017"]
    assert "noisy" in why["chip7_00091"]
    assert "many regions" in why["chip7_00140"]
    assert len(why) < 20


def test_another_exposure_is_another_setup_not_an_outlier(make_scan):
    result = make_scan(100, 8, failed=0.0, seed=2)
    images = result.images.copy()
    levels = [f"background_{c}" for c in "rgb"]
    images.loc[50:, levels] *= 0.6
    images["setup"] = (np.arange(100) >= 50).astype(int)
    light = signals(Scan(replace(result, images=images)))[:3]
    assert (np.abs([s.z for s in light]) > 5).any(axis=0).sum() < 10
    together = signals(Scan(replace(result, images=images.iloc[30:].assign(setup=0))))[:3]
    assert (np.abs([s.z[:20] for s in together]) > 5).any(axis=0).all()


def test_drift_is_measured_and_said(make_scan):
    quality = _part("quality", make_scan(300, 4, failed=0.0))
    row = quality.tables[0].rows[0]
    assert quality.tables[0].caption.startswith("Drift")
    change, low, high = (float(v) for v in re.findall(r"[-+]\d+\.\d+", row[3]))
    assert low < change < high
    assert change == pytest.approx(2.7, abs=0.5)  # what the maker put in
    assert any("drifted" in b.title for b in quality.banners)


def test_few_images_are_not_judged(make_scan):
    scan = Scan(make_scan(5, 4, failed=0.0))
    assert all(np.isnan(s.z).all() for s in signals(scan))
    tables = _part("quality", scan.result).tables
    assert any("fewer than 8 images are not judged" in str(t.rows) for t in tables)


def test_a_refused_setup_carries_its_reason(make_scan):
    tables = _part("quality", make_scan(30, status="refused")).tables
    setups = next(t for t in tables if t.columns[0] == "setup")
    assert setups.rows[0][3] == "refused"
    assert "rival ladder" in setups.rows[0][5]


def test_every_section_is_shown_or_says_why_not(make_scan):
    for part in build_scan_sections(make_scan(10, failed=1.0)):
        assert isinstance(part, Section) or part.reason.endswith(".")
    skipped = {p.title for p in build_scan_sections(make_scan(10, failed=1.0))
               if isinstance(p, Skipped)}  # fmt: skip
    assert skipped == {"Best sites", "Yields", "Quality"}


# --- numbers


@given(st.integers(0, 400))
def test_garwood_is_the_chi_square_interval(n):
    value, low, high = poisson_bounds(n)
    assert value == n
    assert low == pytest.approx(stats.chi2.ppf(0.025, 2 * n) / 2 if n else 0.0, rel=1e-9)
    assert high == pytest.approx(stats.chi2.ppf(0.975, 2 * n + 2) / 2, rel=1e-9)


@given(st.integers(1, 300), st.data())
def test_shares_have_the_exact_binomial_interval(n, data):
    hits = data.draw(st.integers(0, n))
    exact = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert share_bounds(hits, n) == pytest.approx((hits / n, exact.low, exact.high), rel=1e-6)


_BOX = st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 12)] * 2)


@given(st.lists(_BOX, min_size=1, max_size=12))
def test_union_area_equals_counted_pixels(boxes):
    canvas = np.zeros((50, 50), bool)
    for x, y, w, h in boxes:
        canvas[y : y + h, x : x + w] = True
    ends = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], float)
    assert union_area(ends) == canvas.sum()


def test_robust_z_of_normal_values_is_standard_and_of_an_outlier_large():
    rng = np.random.default_rng(4)
    values = rng.normal(3.0, 0.2, 4000)
    values[7] = 5.0
    z = robust_z(values, np.zeros(4000, int), 0.01)
    assert np.std(np.delete(z, 7)) == pytest.approx(1, abs=0.05)
    assert z[7] == pytest.approx(10, abs=0.6)
    assert np.isnan(robust_z(values[:7], np.zeros(7, int), 0.01)).all()
    assert np.abs(robust_z(np.full(20, 2.0), np.zeros(20, int), 0.01)).max() == 0


def test_median_bounds_hold_the_median_in_95_of_100():
    rng = np.random.default_rng(1)
    held = [b.low <= 0 <= b.high for b in (median_bounds(rng.normal(size=41)) for _ in range(400))]
    assert 0.93 <= np.mean(held) <= 0.985
    assert np.isnan(median_bounds(np.arange(5.0)).low)


def test_dispersion_is_one_for_a_poisson_process_and_more_for_clusters():
    rng = np.random.default_rng(2)
    assert dispersion(rng.poisson(4, 20000).astype(float)) == pytest.approx(1, abs=0.05)
    assert dispersion(rng.poisson(rng.gamma(1, 4, 20000)).astype(float)) > 3


def test_bins_leave_out_what_is_missing():
    spread, middle = binned(np.array([np.nan, np.nan, 1.0, 3.0, np.nan, 5.0]), 3)
    assert middle.tolist() == [2.5, 4.5]
    assert spread[:, 1].tolist() == [2.0, 5.0]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.booleans())
def test_map_classes_rise_and_hold_the_median(values, about_median):
    edges, texts = value_classes(np.array(values), about_median=about_median)
    assert (np.diff(edges) > 0).all()
    assert all("e-1" not in t for t in texts)
