"""A growth study finds what was put in, and says what it cannot know."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from layerscope.errors import InputError, UnreadableFile
from layerscope.tasks.growth import (
    image_quantities,
    read_conditions,
    split_by_sample,
    summarise_growth,
)
from layerscope.tasks.growth_statistics import mean_interval, rank_correlation


@pytest.fixture
def conditions(tmp_path):
    """``conditions(text)`` -> Conditions, written and read."""

    def conditions(text, encoding="utf-8"):
        path = tmp_path / "growth.csv"
        path.write_bytes(text.encode(encoding))
        return read_conditions(path)

    return conditions


def study_table(n_samples=10, n_images=6, seed=0):
    """Coverage that rises with temperature, diameter that does not; image table and CSV text."""
    rng = np.random.default_rng(seed)
    rows, lines = [], ["sample,temperature [°C],time_min"]
    for k in range(1, n_samples + 1):
        lines.append(f"W{k},{700 + 10 * k},{rng.choice([5, 10, 20])}")
        of_sample = rng.normal(0, 0.02)
        for i in range(n_images):
            coverage = 0.05 + 0.07 * k + of_sample + rng.normal(0, 0.01)
            rows.append((f"W{k}_{i:03d}.spm", coverage, rng.normal(0.5, 0.05)))
    table = pd.DataFrame(rows, columns=["image", "coverage", "mean_diameter_um"])
    return table, "\n".join(lines)


def test_a_trend_is_found_and_an_absent_one_is_not(conditions):
    table, text = study_table()
    study = summarise_growth(table, conditions(text))
    trends = study.trends.set_index(["condition", "quantity"])
    found = trends.loc[("temperature_C", "coverage")]
    assert found["low"] > 0.8
    assert found["slope"] == pytest.approx(0.007, rel=0.1)
    assert found["n_samples"] == 10
    none = trends.loc[("temperature_C", "mean_diameter_um")]
    assert none["low"] < 0 < none["high"]
    assert len(study.samples) == 20
    assert study.quantities == ("coverage", "mean_diameter_um")


def test_outlying_images_and_samples_are_marked(conditions):
    table, text = study_table()
    table.loc[table["image"] == "W3_002.spm", "coverage"] += 0.3
    table.loc[table["image"].str.startswith("W8_"), "coverage"] -= 0.4
    study = summarise_growth(table, conditions(text))
    marked = study.images[study.images["outlier"].str.contains("coverage")]
    assert marked["image"].tolist() == ["W3_002.spm"]
    off = study.samples[study.samples["off_trend"] != ""]
    assert off["sample"].tolist() == ["W8"]
    points = study.points("temperature_C", "coverage")
    assert points["off_trend"].tolist() == [s == "W8" for s in points["sample"]]
    assert points["x"].is_monotonic_increasing


def test_good_images_are_seldom_outliers(conditions):
    marked = 0
    for seed in range(5):
        table, text = study_table(seed=seed)
        study = summarise_growth(table, conditions(text))
        marked += int((study.images["outlier"] != "").sum())
    assert marked <= 3  # of 600


def test_order_and_more_images_of_one_sample_change_no_trend(conditions):
    table, text = study_table()
    read = conditions(text)
    study = summarise_growth(table, read)
    other = summarise_growth(table.sample(frac=1, random_state=1), read)
    pd.testing.assert_frame_equal(study.trends, other.trends)
    pd.testing.assert_frame_equal(study.samples, other.samples)
    twice = table[table["image"].str.startswith("W1_")]
    twice = twice.assign(image=twice["image"].str.replace("W1_", "W1_b"))
    more = summarise_growth(pd.concat([table, twice]), read)
    assert (more.trends["n_samples"] == study.trends["n_samples"]).all()
    assert more.trends["rank_correlation"].tolist() == study.trends["rank_correlation"].tolist()


def test_few_samples_give_reasons_and_no_intervals(conditions):
    table, text = study_table(n_samples=3, n_images=1)
    study = summarise_growth(table, conditions(text))
    assert study.samples["interval"].eq("none: one image").all()
    assert study.trends["interval"].eq("none: 3 samples, fewer than 5").all()
    assert any("no trend can be given" in note for note in study.notes)


def test_conditions_that_go_together_are_named(conditions):
    table, _ = study_table()
    lines = [f"W{k},{700 + 10 * k},{50 + k}" for k in range(1, 11)]
    study = summarise_growth(table, conditions("\n".join(["sample,T_C,p_Pa", *lines])))
    assert any("T_C and p_Pa were changed together" in note for note in study.notes)


def test_images_are_matched_by_name_then_by_sample(conditions):
    read = conditions("image;sample;T (K)\na.spm;S1;900,5\n;S1;\n;S12;800\nb;S2;700\n")
    assert read.names == ("T_K",)
    assert read.rows[0].conditions == {"T_K": 900.5}
    matches = read.match(["a.gwy", "S12_1.spm", "S1-2", "S123", "b.png"])
    own = {image: row.sample for image, row in matches.rows.items()}
    assert own == {"a.gwy": "S1", "S12_1.spm": "S12", "S1-2": "S1", "b.png": "S2"}
    assert matches.images_without_row == ("S123",)
    assert matches.rows_without_image == ()
    assert matches.report() == ("1 images have no row in the table of conditions: S123",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column named image or sample"),
        ("sample,who\nS1,anna\n", "no numeric column"),
        ("sample,T_C\nS1,1\nS1,2\n", "sample 'S1' has two rows"),
        ("sample,T_C,T_C\nS1,1,2\n", "'T_C' comes twice"),
        ("sample,T_C\nS1,1\nS2,2\nS3,hot\n", "line 4, T_C: expected a number, got 'hot'"),
        ("sample,T_C\n,1\n", "line 2 names neither"),
        ("sample,T_C\nS1,1,2\n", "line 2 has 3 cells"),
        ("sample,T_C\nS1,inf\nS2,1\nS3,1\n", "got 'inf'"),
        ("", "empty or no text"),
        ("\n\n", "empty or no text"),
        ("sample\0,T\n", "empty or no text"),
    ],
)
def test_wrong_tables_are_refused_by_line(conditions, text, message):
    with pytest.raises(InputError, match=message):
        conditions(text)


def test_tables_from_spreadsheets_are_read(conditions, tmp_path):
    assert conditions("sample,T [°C]\nS1,1\n", "utf-8-sig").names == ("T_C",)
    assert conditions("sample,T [°C],who\nS1,1,x\n", "latin-1").ignored == ("who",)
    assert np.isnan(conditions("sample,a_C,b_C\nS1,1,\nS2,2,3\n").rows[0].conditions["b_C"])
    with pytest.raises(UnreadableFile):
        read_conditions(tmp_path / "absent.csv")


def test_wrong_studies_are_refused(conditions):
    table, text = study_table(n_samples=2)
    read = conditions(text)
    with pytest.raises(InputError, match="comes twice"):
        summarise_growth(pd.concat([table, table]), read)
    with pytest.raises(InputError, match="no column 'size'"):
        summarise_growth(table, read, quantities=["size"])
    with pytest.raises(InputError, match="no image has a row"):
        summarise_growth(table.assign(image="x" + table["image"]), read)
    with pytest.raises(InputError, match="no 'T' in this study"):
        summarise_growth(table, read).points("T", "coverage")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=5, max_size=30))
def test_rank_correlation_is_spearmans(pairs):
    x, y = np.array(pairs, float).T
    found = rank_correlation(x, y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(found.value)
        return
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


def test_rank_intervals_hold_the_truth():
    rng = np.random.default_rng(2)
    rho, hits = 0.6, 0
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman of a normal pair
    for _ in range(500):
        x, e = rng.normal(size=(2, 20))
        found = rank_correlation(x, rho * x + np.sqrt(1 - rho**2) * e)
        hits += found.low <= truth <= found.high
    assert hits >= 0.92 * 500


def test_t_intervals_hold_the_truth():
    rng = np.random.default_rng(2)
    found = [mean_interval(rng.normal(3, 1, 4)) for _ in range(600)]
    assert np.mean([f.low <= 3 <= f.high for f in found]) == pytest.approx(0.95, abs=0.025)


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=60).filter(
        lambda s: len(set(s)) > 2
    ),
    st.integers(2, 3),
    st.integers(0, 5),
)
def test_no_sample_is_in_both_parts(samples, n_folds, seed):
    folds = split_by_sample(samples, n_folds, seed=seed)
    names = np.array(samples)
    for train, test in folds:
        assert not set(names[train]) & set(names[test])
        assert len(train) + len(test) == len(samples)
        assert len(test)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(samples)))
    order = np.argsort(names, kind="stable")
    again = split_by_sample(names[order].tolist(), n_folds, seed=seed)
    assert [set(names[test]) for _, test in folds] == [set(names[order][test]) for _, test in again]


def test_folds_are_balanced_and_bounded():
    samples = ["a"] * 10 + ["b"] * 5 + ["c"] * 5
    assert sorted(len(test) for _, test in split_by_sample(samples, 2)) == [10, 10]
    with pytest.raises(InputError, match="4 folds of 3 samples"):
        split_by_sample(samples, 4)


def test_long_tables_become_one_row_per_image():
    rows = [
        ("a", "all", "coverage", "", 0.4),
        ("a", "1", "coverage", "", 0.39),
        ("a", "1", "density", "1/um2", 3.0),
        ("a", "1", "edge_density", "um/um2", 2.0),
        ("a", "2", "density", "1/um2", 9.0),
        ("a", "substrate", "Sq", "nm", 0.1),
        ("b", "all", "coverage", "", 0.0),
    ]
    long = pd.DataFrame(rows, columns=["image", "layer", "quantity", "unit", "value"])
    wide = image_quantities(long)
    assert wide.columns.tolist() == [
        "image",
        "coverage",
        "density_per_um2",
        "edge_density_um_per_um2",
        "Sq_nm_substrate",
    ]
    assert wide["density_per_um2"].tolist() == [3.0, 0.0]
    assert wide["coverage"].tolist() == [0.4, 0.0]
    with pytest.raises(InputError, match="'a' comes twice"):
        image_quantities(pd.concat([long, long]))
