"""The domains table against shapes in closed form and synthetic scans."""

import numpy as np
import pytest
from films import coverage_of, fill, polygon

from layerscope.core.micrograph import PixelSize
from layerscope.errors import InputError
from layerscope.measure.domain_columns import domain_columns, domain_glossary
from layerscope.measure.domain_summary import summarise_film
from layerscope.measure.domains import find_domains, measure_domains
from layerscope.synth.surface import synth_surface
from layerscope.synth.surface_artefacts import Artefacts

SIZE = PixelSize(10.0, 10.0, "test")


def table_of(levels, heights=None, **options):
    coverage = coverage_of(levels)
    return measure_domains(find_domains(coverage), heights, pixel_size=SIZE, **options)


def row_of(sides, radius, angle=7.0, shape=(240, 240)):
    centre = (shape[0] / 2 + 0.3, shape[1] / 2 - 0.2)
    return table_of(fill(shape, polygon(sides, radius, angle, centre))).iloc[0]


@pytest.mark.parametrize("angle", [0, 7, 20, 33, 58])
@pytest.mark.parametrize("side", [30, 90, 170])
def test_an_equilateral_triangle(side, angle):
    row = row_of(3, side / np.sqrt(3), angle)
    assert row["triangularity"] == pytest.approx(1, abs=0.02)
    assert row["facetting"] == pytest.approx(1, abs=0.02)
    assert row["hexagonality"] < 2 / side + 0.05
    assert row["area_px"] == pytest.approx(np.sqrt(3) / 4 * side**2, rel=0.03)
    assert row["feret_max_px"] == pytest.approx(side, rel=0.05)
    assert row["feret_min_px"] == pytest.approx(side * np.sqrt(3) / 2, rel=0.05)
    away = (row["facet_direction_mod120_deg"] - angle + 60) % 120 - 60
    assert abs(away) < 2


@pytest.mark.parametrize("angle", [0, 13, 41])
def test_a_hexagon_and_a_disc(angle):
    row = row_of(6, 60, angle)
    assert row["triangularity"] == pytest.approx(2 / 3, abs=0.01)
    assert row["facetting"] == pytest.approx(1, abs=0.01)
    assert row["hexagonality"] == pytest.approx(1, abs=0.03)
    assert abs((row["facet_direction_mod60_deg"] - angle + 30) % 60 - 30) < 2
    assert np.isnan(row["facet_direction_mod120_deg"])
    disc = row_of(120, 60)
    assert disc["triangularity"] == pytest.approx(np.pi / (3 * np.sqrt(3)), abs=0.01)
    assert disc["facetting"] == pytest.approx(np.pi / (2 * np.sqrt(3)), abs=0.01)
    assert disc["equivalent_diameter_um"] == pytest.approx(1.2, rel=0.01)


@pytest.mark.parametrize("cut", [0.15, 0.3])
def test_a_truncated_triangle_has_the_ratio_of_its_facets(cut):
    # Corners cut off at a share of the side: short facets of `cut`, long ones of 1 - 2 cut.
    a, b, c = polygon(3, 100, 11, (120, 120))
    corners = [p + cut * (q - p) for p, q in ((a, b), (b, a), (b, c), (c, b), (c, a), (a, c))]
    row = table_of(fill((240, 240), np.array(corners))).iloc[0]
    assert row["hexagonality"] == pytest.approx(cut / (1 - 2 * cut), abs=0.03)
    assert row["facetting"] == pytest.approx(1, abs=0.01)


def two_layers():
    """Triangle of two layers on one of one layer, and a hexagon that the border cuts."""
    levels = np.zeros((200, 220), np.uint8)
    levels[fill(levels.shape, polygon(3, 60, 10, (100, 80)))] = 1
    levels[fill(levels.shape, polygon(3, 25, 70, (100, 80)))] = 2
    levels[fill(levels.shape, polygon(6, 30, 0, (100, 210)))] = 1
    return levels


def test_layers_parents_and_borders():
    levels = two_layers()
    table = table_of(levels)
    assert table["n_layers"].tolist() == [1, 1, 2]
    big, top = table["area_px"].idxmax(), 2
    assert table["parent_id"].tolist() == [0, 0, big + 1]
    assert table["area_px"][big] == np.count_nonzero(levels[:, :150] >= 1)
    assert table["touches_border"].tolist() == [k not in (big, top) for k in range(3)]
    assert table["border_weight"].tolist()[1 - big] == 0
    assert table["nearest_edge_px"].isna().tolist() == [False, False, True]


def test_heights_and_volumes_of_a_perfect_scan():
    levels = two_layers()
    y, x = np.mgrid[: levels.shape[0], : levels.shape[1]]
    heights = 0.65 * levels + 0.3 * (levels > 0)
    rng = np.random.default_rng(0)
    noisy = heights + rng.normal(0, 0.05, levels.shape) + 0.0004 * x - 0.0003 * y
    table = table_of(levels, noisy)
    step = np.where(table["n_layers"] == 1, 0.95, 0.65)
    total = np.where(table["n_layers"] == 1, 0.95, 1.60)
    assert table["step_height_nm"].to_numpy() == pytest.approx(step, abs=0.02)
    assert table["height_nm"].to_numpy() == pytest.approx(total, abs=0.03)
    assert (table["step_height_se_nm"] < 0.02).all()
    assert (table["height_se_nm"] >= table["step_height_se_nm"]).all()
    big = int(table["area_px"].idxmax())
    left = np.s_[:, :150]
    exact = float(heights[left][levels[left] >= 1].sum()) * 1e-4 * 1e-3
    assert table["volume_um3"][big] == pytest.approx(exact, rel=0.02)


def test_heights_come_with_honest_errors():
    z = []
    for seed in range(6):
        surface = synth_surface(seed, shape=(256, 256), coverage=0.3, max_layers=1, offset_nm=0.0)
        rng = np.random.default_rng(seed)
        noisy = surface.step_nm * surface.layers + rng.normal(0, 0.1, surface.layers.shape)
        table = table_of(surface.layers, noisy)
        z.append((table["step_height_nm"] - surface.step_nm) / table["step_height_se_nm"])
    z = np.concatenate(z)
    z = z[np.isfinite(z)]
    assert len(z) > 40
    assert 0.88 < np.mean(np.abs(z) < 1.96) <= 1


def test_particles_are_no_domains():
    levels = np.zeros((160, 160), np.uint8)
    levels[fill(levels.shape, polygon(3, 45, 10, (80, 70)))] = 1
    heights = 0.65 * levels.astype(float)
    for y, x in ((20, 20), (140, 140)):
        levels[y : y + 6, x : x + 6] = 1
        heights[y : y + 6, x : x + 6] = 4.0
    coverage = coverage_of(levels, heights_nm=(0.0, 0.65))
    found = find_domains(coverage, heights)
    assert (len(found), len(found.rejected)) == (1, 2)
    assert len(find_domains(coverage)) == 3


def test_a_film_that_jumps_keeps_its_layer_numbers():
    coverage = coverage_of(two_layers())
    film = coverage.film
    film = type(film)(film.labels, ("substrate", "1 layer", "4 layers"), film.valid)
    found = find_domains(type(coverage)(0.2, 0.1, 0.3, "test", film))
    assert found.n_layers.tolist() == [1, 1, 4]
    assert found.parent[2] > 0


@pytest.mark.parametrize("fill_value", [0, 1])
def test_empty_and_full(fill_value):
    levels = np.full((60, 70), fill_value, np.uint8)
    coverage = coverage_of(levels)
    found = find_domains(coverage)
    table = measure_domains(found, levels.astype(float), pixel_size=SIZE)
    assert len(table) == fill_value
    assert list(table.columns) == [c.name for c in domain_columns()]
    summary = summarise_film(table, found, coverage, levels.astype(float), pixel_size=SIZE)
    assert summary.loc[summary["quantity"] == "coverage", "value"].iloc[0] == fill_value


def test_nothing_valid():
    levels, valid = np.zeros((30, 30), np.uint8), np.zeros((30, 30), bool)
    coverage = coverage_of(levels, valid)
    found = find_domains(coverage)
    table = measure_domains(found, np.full((30, 30), np.nan), pixel_size=None)
    summary = summarise_film(table, found, coverage, levels * np.nan, pixel_size=None)
    assert len(table) == 0
    assert summary["value"].isna().all()
    assert summary["interval"].str.startswith("none: ").all()


def test_without_a_scale_lengths_are_pixels():
    coverage = coverage_of(two_layers())
    found = find_domains(coverage)
    table = measure_domains(found, None, pixel_size=None)
    assert table["area_um2"].isna().all()
    assert table["area_px"].notna().all()
    units = set(summarise_film(table, found, coverage, pixel_size=None)["unit"])
    assert not {u for u in units if "um" in u}


def test_every_column_is_explained():
    glossary = domain_glossary()
    assert (glossary["meaning"].str.len() > 10).all()
    assert glossary["column"].is_unique
    for row in glossary.itertuples():
        if row.unit in ("um", "um2", "um3", "nm", "deg", "px"):
            assert row.column.endswith(f"_{row.unit}"), row.column


def test_density_is_that_of_a_larger_field():
    """Windows of 256 px on a film of 1024 px with the same nuclei."""
    large = synth_surface(
        11, shape=(1024, 1024), coverage=0.25, n_nuclei=260, max_layers=1, artefacts=Artefacts()
    )
    truth = len(np.unique(large.grains[large.grains > 0])) / 1024**2
    density = {"weighted": [], "excluded": []}
    for top in range(0, 1024, 256):
        for left in range(0, 1024, 256):
            part = large.layers[top : top + 256, left : left + 256]
            found = find_domains(coverage_of(part))
            for border, into in density.items():
                table = measure_domains(found, None, pixel_size=None, border=border)
                into.append(table["border_weight"].sum() / part.size)
    error = np.std(density["weighted"], ddof=1) / 4
    assert np.mean(density["weighted"]) == pytest.approx(truth, abs=2.5 * error)
    assert abs(np.mean(density["weighted"]) / truth - 1) < 0.1
    assert np.mean(density["excluded"]) < 0.9 * truth


def test_the_summary_says_how():
    surface = synth_surface(4, shape=(256, 256), coverage=0.3)
    coverage = coverage_of(surface.layers)
    found = find_domains(coverage)
    table = measure_domains(found, surface.heights_nm, pixel_size=SIZE, border="half")
    summary = summarise_film(table, found, coverage, surface.heights_nm, pixel_size=SIZE,
                             border="half", image="a", noise_nm=0.0)  # fmt: skip
    assert (summary["interval"].str.startswith(("95 %", "none: "))).all()
    known = summary["low"].notna()
    assert (summary["low"][known] <= summary["value"][known]).all()
    assert (summary["value"][known] <= summary["high"][known]).all()
    density = summary[(summary["quantity"] == "density") & (summary["layer"] == "1")].iloc[0]
    assert "count half" in density["interval"]
    assert density["value"] == pytest.approx(
        table.loc[table["n_layers"] == 1, "border_weight"].sum() / 2.56**2
    )


def test_wrong_arguments_are_refused():
    coverage = coverage_of(two_layers())
    found = find_domains(coverage)
    table = measure_domains(found, None, pixel_size=None)
    with pytest.raises(InputError, match="heights"):
        measure_domains(found, np.zeros((3, 3)), pixel_size=None)
    with pytest.raises(InputError, match="min_area_px 0"):
        find_domains(coverage, min_area_px=0)
    with pytest.raises(InputError, match="border 'all'"):
        measure_domains(found, None, pixel_size=None, border="all")
    with pytest.raises(InputError, match="1 rows but 3 domains"):
        summarise_film(table[:1], found, coverage, pixel_size=None)
