"""Folder and report of a coverage run: all files agree, and no name breaks them."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from layerscope.core.coverage import Coverage, LabelMap, SurfaceResult, Terrace
from layerscope.core.micrograph import Micrograph, Modality, PixelSize, Step
from layerscope.errors import CannotWrite
from layerscope.io.spm import list_channels, read_spm
from layerscope.report.coverage_figures import count_values, value_histogram
from layerscope.report.coverage_folder import CoverageFolder
from layerscope.report.coverage_glance import step_text
from layerscope.report.coverage_pictures import draw_surface, layer_image
from layerscope.report.coverage_sections import (
    coverage_sections,
    per_image,
    summary_sentence,
)
from layerscope.report.figures import to_png
from layerscope.report.gallery import N_GALLERY
from layerscope.report.panels import encode_png
from layerscope.surfaces import Question, run_coverage
from layerscope.synth.surface import synth_surface
from layerscope.tasks.growth import image_quantities, read_conditions, summarise_growth

EVIL = "<b>x</b>/..\\évil $ °µ"
COVERAGES = (0.1, 0.3, 0.5, 0.8, 0.97)


def scans():
    out = []
    for seed, share in enumerate(COVERAGES):
        found = synth_surface(seed, shape=(128, 128), coverage=share, pixel_size_nm=20.0)
        out.append(replace(found.micrograph, name=f"scan {seed}"))
    out[0] = replace(out[0], name=EVIL)
    return out


def test_a_growth_study_is_written_beside_the_run(tmp_path):
    images, table = [], "sample,temperature_C\n"
    for k, share in enumerate((0.1, 0.2, 0.35, 0.5, 0.6)):
        found = synth_surface(k, shape=(128, 128), coverage=share, pixel_size_nm=20.0)
        images.append(replace(found.micrograph, name=f"W{k}_1"))
        table += f"W{k},{700 + 10 * k}\n"
    (tmp_path / "growth.csv").write_text(table)
    folder = CoverageFolder(tmp_path / "out")
    run = run_coverage(images, Question("WSe2"), summarise=True, on_result=folder)
    study = summarise_growth(image_quantities(run.films), read_conditions(tmp_path / "growth.csv"))
    target = folder.finish(run, study)
    trends = pd.read_csv(target / "growth" / "trends.csv").set_index("quantity")
    assert trends.loc["coverage", "rank_correlation"] == 1
    assert set(pd.read_csv(target / "films.csv")["image"]) == {i.name for i in images}
    for name in ("temperature_C", "rank_correlations"):
        assert cv2.imread(str(target / "growth" / f"{name}.png")).std() > 5
    page = (target / "report.html").read_text()
    assert "Theil and Sen" in page


def test_without_conditions_no_film_is_summarised(written):
    assert not (written[0] / "growth").exists()
    assert not (written[0] / "films.csv").exists()


def surface(name="a", doubts=(), unit="nm", tall=1.0, n_layers=2):
    """Half of it film `n_layers` high, eight pixels not counted."""
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 1
    valid = np.ones(labels.shape, bool)
    valid[:2, :4] = False
    noise = np.random.default_rng(0).normal(0, 0.05, labels.shape)
    heights = (labels * 0.7 * n_layers + noise + 3).astype(np.float32)
    image = Micrograph(
        heights, Modality.AFM, PixelSize(10.0 * tall, 10.0, "test"), unit, name,
        history=(Step("level", {"method": "rows", "left_out": 0.25}),),
    )  # fmt: skip
    film = LabelMap(labels, ("substrate", f"{n_layers} layers"), valid)
    share = float(film.fractions()[1])
    levels = (Terrace(0, 0, 0, 0, 1 - share), Terrace(n_layers, 1.4, 1.3, 1.5, share))
    found = Coverage(share, share - 0.02, share + 0.02, "terraces", film, terraces=levels,
                     doubts=doubts)  # fmt: skip
    return SurfaceResult(name, "", "", image, found, pd.DataFrame())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coverage")
    broken = folder / "kaputt.spm"
    broken.write_bytes(b"\\*File list\r\n")
    target = CoverageFolder(folder / "out")
    kept = {}

    def on_result(result):
        kept[result.name] = result
        target(result)

    run = run_coverage([*scans(), broken], Question("WSe2"), on_result=on_result)
    return target.finish(run), run, kept


def test_every_image_has_its_files(written):
    folder, run, _ = written
    facts = json.loads((folder / "run.json").read_text())
    assert [i["image"] for i in facts["images"]] == run.images["image"].tolist()
    assert len(facts["images"]) == len(COVERAGES)
    for image in facts["images"]:
        for kind, end in (("masks", "png"), ("overlays", "png"), ("scans", "gwy")):
            assert (folder / kind / f"{image['files']}.{end}").is_file()
    assert "kaputt" in facts["failures"][0]["path"]
    assert not (folder / "domains.csv").exists() or len(run.domains)


def test_masks_hold_the_coverage_of_the_table(written):
    folder, run, _ = written
    for image in json.loads((folder / "run.json").read_text())["images"]:
        mask = cv2.imread(str(folder / "masks" / f"{image['files']}.png"), cv2.IMREAD_UNCHANGED)
        counted = mask[mask < 255]
        assert np.mean(counted > 0) == pytest.approx(image["coverage"])
    table = pd.read_parquet(folder / "images.parquet")
    pd.testing.assert_frame_equal(table, run.images, check_dtype=False)


def test_gwyddion_file_holds_levelled_heights_and_layers(written):
    folder, _, kept = written
    result = kept["scan 2"]
    path = folder / "scans" / "scan 2.gwy"
    held = [c.name for c in list_channels(path)]
    assert held == ["Levelled height", "mask of Levelled height", "Layers"]
    back = read_spm(path, channel="Levelled height")
    np.testing.assert_allclose(back.data, result.micrograph.data, atol=1e-4)
    layers = read_spm(path, channel="Layers").data
    expected = layer_image(result.coverage).astype(float)
    expected[expected == 255] = np.nan
    np.testing.assert_array_equal(layers, expected)


def test_report_shows_every_image_and_escapes_names(written):
    folder, run, _ = written
    page = (folder / "report.html").read_text()
    assert "<b>x</b>" not in page
    assert "kaputt" in page
    for name in run.images["image"][1:]:
        assert f"<h2>{name}: " in page
    assert not re.search(r"\bnan\b|\binf\b", re.sub(r"base64,[^\"]*", "", page))
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")


def test_same_input_gives_the_same_bytes(written, tmp_path):
    folder, _, _ = written
    again = CoverageFolder(tmp_path / "out")
    broken = folder.parent / "kaputt.spm"
    again.finish(run_coverage([broken, *scans()], Question("WSe2"), on_result=again))
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()
    )
    for name in files:
        assert (folder / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_no_image_at_all(tmp_path):
    run = run_coverage([])
    folder = CoverageFolder(tmp_path).finish(run)
    assert "No image was analysed" in (folder / "report.html").read_text()
    assert pd.read_csv(folder / "images.csv").empty


def test_names_that_a_file_system_takes_for_one_stay_apart(tmp_path):
    folder = CoverageFolder(tmp_path)
    for name in ("a/b", "a:b", "A_B", "ä" * 300, "..", ""):
        folder(surface(name))
    found = sorted(p.name for p in (tmp_path / "masks").iterdir())
    assert found == sorted(
        ["a_b.png", "a_b-2.png", "A_B-3.png", "ä" * 90 + ".png", "image.png", "image-2.png"]
    )


def test_folder_that_is_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(CannotWrite, match=r"cannot write to .*taken") as refusal:
        CoverageFolder(tmp_path / "taken")
    assert "\n" not in str(refusal.value)


def test_gallery_keeps_the_doubtful_ones_whatever_the_order(tmp_path):
    folder = CoverageFolder(tmp_path)
    for k in range(N_GALLERY + 3):
        folder(surface(f"{k:02d}", doubts=("why",) if k > N_GALLERY else ()))
    names = [glance.name for glance in folder._gallery.shown]
    assert len(names) == N_GALLERY
    assert names[:2] == ["25", "26"]
    assert names[2:] == [f"{k:02d}" for k in range(N_GALLERY - 2)]


def test_layer_image_counts_layers_not_classes():
    assert set(np.unique(layer_image(surface(n_layers=2488).coverage))) == {0, 254, 255}
    values = layer_image(surface(n_layers=3).coverage)
    assert set(np.unique(values)) == {0, 3, 255}
    assert np.count_nonzero(values == 255) == 8


def test_heights_count_from_the_substrate():
    histogram = count_values(surface())
    middle = (histogram.edges[1:] + histogram.edges[:-1]) / 2
    means = (histogram.counts * middle).sum(axis=1) / histogram.counts.sum(axis=1)
    np.testing.assert_allclose(means, [0, 1.4], atol=0.02)


def test_threshold_lies_on_the_axis_that_is_shown():
    told = surface()
    coverage = replace(told.coverage, provenance={"threshold": 3.7}, terraces=())
    histogram = count_values(replace(told, coverage=coverage))
    assert histogram.threshold == pytest.approx(0.7, abs=0.02)
    assert to_png(value_histogram(histogram))


def test_whole_grey_values_fall_evenly_into_bins():
    data = np.arange(40 * 60, dtype=np.int64).reshape(40, 60) % 250
    flat = surface(unit="intensity")
    image = replace(flat.micrograph, data=data.astype(np.uint8))
    counts = count_values(replace(flat, micrograph=image)).counts.sum(axis=0)[2:-2]
    assert counts.max() <= 1.3 * counts.min()


def test_picture_is_as_wide_as_the_specimen():
    square, tall = (draw_surface(surface(tall=t), longest_px=240, outlines=False) for t in (1, 3))
    assert square.shape[0] == 160
    assert tall.shape[0] == 240


def test_outline_lies_on_the_rim_of_the_film():
    plain, drawn = (draw_surface(surface(), longest_px=600, outlines=o) for o in (False, True))
    changed = (plain != drawn[: len(plain)]).any(axis=2)[100:250, :600]
    where = np.flatnonzero(changed.any(axis=0))
    assert abs(where.mean() - 300) < 3  # ten pixels of the picture are one of the scan
    assert np.ptp(where) < 8


def test_colour_bar_only_where_values_have_a_unit():
    grey, heights = (draw_surface(surface(unit=u), longest_px=600) for u in ("intensity", "nm"))
    assert grey.shape[1] == 600 < heights.shape[1]
    assert (grey[50:60, 50:60, 0] == grey[50:60, 50:60, 2]).all()


def test_png_keeps_colours():
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[..., 0] = 200
    back = cv2.imdecode(np.frombuffer(encode_png(pixels), np.uint8), cv2.IMREAD_COLOR)
    assert back[0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize("n", [1, 5, 80])
def test_sentence_and_dots_for_any_number(n, written):
    _, run, _ = written
    row = run.images.iloc[[1]]
    many = replace(run, images=pd.concat([row] * n, ignore_index=True), failures=())
    sentence = summary_sentence(many)
    assert sentence.startswith(f"{n} image")
    assert "[" in sentence or "no interval" in sentence
    section = per_image(many)
    if n == 1:
        assert "one image" in section.reason
    else:
        assert to_png(section.plots[0].figure, dpi=40)


def test_unknown_coverage_is_said(written):
    _, run, _ = written
    blind = run.images.assign(coverage=np.nan, coverage_low=np.nan, coverage_high=np.nan)
    sections = coverage_sections(replace(run, images=blind), (), {})
    assert "The coverage of none can be told" in sections[0].text[0]
    assert sections[2].tables[0].rows[0][1] == "unknown"


def test_what_may_be_anything_is_in_no_median(written):
    _, run, _ = written
    row = run.images.iloc[[1]]
    untold = row.assign(coverage=0.0, coverage_low=0.0, coverage_high=1.0)
    both = replace(run, images=pd.concat([row, row, untold], ignore_index=True), failures=())
    sentence = summary_sentence(both)
    assert f"Median coverage {100 * row['coverage'].iloc[0]:.1f} %" in sentence
    assert "That of 1 image cannot be told" in sentence
    alone = summary_sentence(replace(run, images=untold, failures=()))
    assert "Its coverage cannot be told" in alone


def test_domains_are_shown_where_there_are_any(written):
    _, run, _ = written
    table = pd.DataFrame({"image": ["a"] * 9, "area_um2": np.arange(1.0, 10.0)})
    part = coverage_sections(replace(run, domains=table), (), {})[3]
    assert "9 domains on 1 image; median area 5.00 µm²" in part.text[0]


def test_steps_in_words():
    assert step_text(Step("level", {"left_out": 0.25, "shares": [1, None]})) == (
        "level: left out 0.2500, shares 1 / not given"
    )
