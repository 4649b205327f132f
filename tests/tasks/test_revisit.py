"""Which sites come first, why, and the way between them."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.scan import SITE_COLUMNS
from layerscope.errors import InputError, ScaleUnknown
from layerscope.io.positions import read_positions, write_positions
from layerscope.tasks.revisit import along_route, rank_sites, revisit_positions, short_route

BLANK = {"str": "", "int64": 0, "Int64": 0, "float64": np.nan, "bool": True}


def table(*rows):
    """Sites with the given columns, numbered from 1, the rest filled in."""
    filled = [
        {c.name: BLANK[c.dtype] for c in SITE_COLUMNS}
        | {"site_id": i, "flake_id": i, "score": 1.0, "n_layers": "1", "layers_probability": 1.0}
        | {"stage_x_um": float(i), "stage_y_um": 0.0, "image": f"img{i}"}
        | {"inscribed_circle_diameter_px": 30.0, "inscribed_circle_diameter_um": 10.0}
        | row
        for i, row in enumerate(rows, start=1)
    ]
    dtypes = {c.name: c.dtype for c in SITE_COLUMNS}
    return pd.DataFrame(filled, columns=list(dtypes)).astype(dtypes)


def ids(ranked):
    return ranked["site_id"].tolist()


def d_um(value, **more):
    return {"inscribed_circle_diameter_um": value, **more}


def test_worth_is_probability_times_confidence_times_diameter():
    sites = table(
        d_um(10, layers_probability=0.5),
        d_um(8, layers_probability=0.9, score=0.8),
        d_um(40, layers_probability=0.1),
    )
    ranked = rank_sites(sites)
    assert ids(ranked) == [2, 1, 3]
    assert ranked["rank"].tolist() == [1, 2, 3]
    assert ranked["expected_diameter_um"].tolist() == pytest.approx([5.76, 5.0, 4.0])
    assert ranked.columns[:2].tolist() == ["rank", "expected_diameter_um"]


def test_only_wanted_layers_and_never_unknown_or_thick():
    answers = ("1", "2", "3", "4", "thick", "unknown", "10")
    sites = table(*({"n_layers": a} for a in answers))
    ranked = rank_sites(sites, layers=(2, 4))
    assert sorted(ranked["n_layers"]) == ["2", "3", "4"]
    assert rank_sites(sites, layers=(1, 1))["n_layers"].tolist() == ["1"]


def test_unknown_comes_last_larger_first_when_nothing_is_asked():
    sites = table(
        d_um(90, n_layers="unknown"), d_um(99, n_layers="unknown"), d_um(1, n_layers="thick")
    )  # fmt: skip
    assert ids(rank_sites(sites)) == [3, 2, 1]


@pytest.mark.parametrize(
    ("limit", "column"),
    [
        ("min_inscribed_um", "inscribed_circle_diameter_um"),
        ("min_area_um2", "area_um2"),
        ("min_score", "score"),
        ("min_probability", "layers_probability"),
    ],
)
def test_limits_keep_what_reaches_them_and_drop_what_has_no_value(limit, column):
    sites = table({column: 0.4}, {column: 0.5}, {column: 0.6}, {column: np.nan})
    assert sorted(ids(rank_sites(sites, **{limit: 0.5}))) == [2, 3]


def test_cut_and_flagged_sites_can_be_left_out():
    sites = table({"complete": False}, {"flags": "edge_strip|saturated"}, {"flags": "low_contrast"})
    assert ids(rank_sites(sites, complete_only=True)) == [2, 3]
    assert ids(rank_sites(sites, without_flags=["edge_strip"])) == [1, 3]
    assert ids(rank_sites(sites, without_flags=["edge"])) == [1, 2, 3]


def test_best_counts_flakes_not_their_terraces():
    sites = table(d_um(9, flake_id=7), d_um(8, flake_id=7), d_um(7, flake_id=8), d_um(6))
    assert ids(rank_sites(sites, best=2)) == [1, 3]
    assert ids(rank_sites(sites, best=2, one_per_flake=False)) == [1, 2]
    assert ids(rank_sites(sites, best=99)) == [1, 3, 4]


def test_without_any_pixel_size_the_diameter_is_in_px():
    blank = {"inscribed_circle_diameter_um": np.nan}
    sites = table(
        {"inscribed_circle_diameter_px": 20, **blank},
        {"inscribed_circle_diameter_px": 30, **blank},
    )
    ranked = rank_sites(sites)
    assert ids(ranked) == [2, 1]
    assert ranked["expected_diameter_px"].tolist() == [30, 20]
    assert revisit_positions(ranked)[0].label == "001_1L_30px"
    with pytest.raises(ScaleUnknown, match="pixel size"):
        rank_sites(sites, min_inscribed_um=5)


def test_a_site_without_size_or_probability_is_worth_nothing():
    sites = table(d_um(np.nan), d_um(9, layers_probability=np.nan), d_um(1))
    ranked = rank_sites(sites)
    assert ids(ranked)[0] == 3
    assert ranked["expected_diameter_um"].tolist() == [1, 0, 0]


def test_empty_in_empty_out():
    ranked = rank_sites(table(), best=5, layers=(1, 1), min_inscribed_um=5)
    assert len(ranked) == 0
    assert revisit_positions(ranked, route=True) == []


def test_impossible_requests_are_refused():
    sites = table({})
    with pytest.raises(InputError, match="best 0"):
        rank_sites(sites, best=0)
    with pytest.raises(InputError, match="layers 3-1"):
        rank_sites(sites, layers=(3, 1))
    with pytest.raises(InputError, match="site_id"):
        rank_sites(sites.drop(columns="site_id"))
    with pytest.raises(InputError, match="rank"):
        revisit_positions(sites)


def test_input_is_left_alone_and_ranking_again_changes_nothing():
    sites = table(d_um(3), d_um(5))
    before = sites.copy()
    ranked = rank_sites(sites)
    pd.testing.assert_frame_equal(sites, before)
    pd.testing.assert_frame_equal(rank_sites(ranked), ranked)


@st.composite
def site_tables(draw):
    """Sites with many ties."""
    row = st.fixed_dictionaries(
        {
            "inscribed_circle_diameter_um": st.sampled_from((1.0, 2.0, 4.0, np.nan)),
            "layers_probability": st.sampled_from((0.5, 1.0, np.nan)),
            "n_layers": st.sampled_from(("1", "2", "unknown", "thick")),
            "flake_id": st.integers(1, 4),
        }
    )
    return table(*draw(st.lists(row, min_size=1, max_size=8)))


@settings(max_examples=60, deadline=None)
@given(site_tables(), st.randoms(use_true_random=False))
def test_order_of_the_table_does_not_matter(sites, random):
    shuffled = sites.iloc[random.sample(range(len(sites)), len(sites))]
    pd.testing.assert_frame_equal(rank_sites(sites), rank_sites(shuffled))


@settings(max_examples=60, deadline=None)
@given(site_tables())
def test_fewer_wanted_is_the_head_of_more(sites):
    whole = rank_sites(sites)
    pd.testing.assert_frame_equal(rank_sites(sites, best=2), whole.head(2))
    worth = whole.iloc[:, 1]  # in um, or in px where no site has a size in um
    assert (worth.diff().dropna() <= 0).all()


# Positions


def test_labels_say_rank_layers_and_size():
    sites = table(
        d_um(12.34, stage_z_um=7.5),
        d_um(5, n_layers="thick"),
        d_um(4, n_layers="unknown"),
    )
    found = revisit_positions(rank_sites(sites))
    assert [p.label for p in found] == ["001_1L_12.3um", "002_thick_5.0um", "003_unknown_4.0um"]
    assert (found[0].x_um, found[0].y_um, found[0].z_um) == (1.0, 0.0, 7.5)
    assert found[1].z_um is None


def test_sites_without_stage_position_are_named():
    ranked = rank_sites(table({}, {"stage_x_um": np.nan}))
    with pytest.raises(InputError, match=r"1 of 2 sites .* first on image img2"):
        revisit_positions(ranked)


@pytest.mark.parametrize("suffix", [".csv", ".pos", ".xml", ".json"])
def test_revisit_list_goes_to_every_microscope_and_back(tmp_path, suffix):
    ranked = rank_sites(table(*(d_um(d, stage_z_um=1.0) for d in (5, 9, 7))))
    places = revisit_positions(ranked)
    assert write_positions(tmp_path / f"r{suffix}", places) == ()
    assert list(read_positions(tmp_path / f"r{suffix}").positions) == places


def test_route_keeps_every_site_and_its_rank():
    sites = table(*({"stage_x_um": x, **d_um(d)} for x, d in ((0, 9), (100, 8), (10, 7), (90, 6))))
    ranked = rank_sites(sites)
    found = revisit_positions(ranked, route=True)
    assert revisit_positions(along_route(ranked)) == found
    assert along_route(ranked)["rank"].tolist() == [1, 3, 4, 2]
    assert [p.x_um for p in found] == [0, 10, 90, 100]
    assert [p.label[:3] for p in found] == ["001", "003", "004", "002"]


# Routes


POINTS = st.lists(
    st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=12
).map(lambda p: np.array(p, float))


def length(xy, route):
    return float(np.hypot(*np.diff(xy[route], axis=0).T).sum())


def shortest(xy):
    return min(length(xy, list(p)) for p in itertools.permutations(range(len(xy))))


@settings(max_examples=100, deadline=None)
@given(POINTS)
def test_route_visits_all_once_and_no_reversal_shortens_it(xy):
    route = short_route(xy)
    assert sorted(route.tolist()) == list(range(len(xy)))
    ways = [
        np.concatenate([route[:i], route[i:j][::-1], route[j:]])
        for i, j in itertools.combinations(range(len(xy) + 1), 2)
    ]
    assert all(length(xy, way) > length(xy, route) - 1e-6 for way in ways)


def test_route_is_close_to_the_shortest():
    xy = np.random.default_rng(5).uniform(0, 1000, (20, 7, 2))
    excess = [length(p, short_route(p)) / shortest(p) for p in xy]
    assert np.mean(excess) < 1.03
    assert max(excess) < 1.2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=20, unique=True))
def test_points_on_a_line_are_visited_along_it(x):
    xy = np.stack([np.array(x, float), np.zeros(len(x))], axis=1)
    steps = np.diff(xy[short_route(xy), 0])
    assert (steps > 0).all() or (steps < 0).all()


def test_long_route_is_far_shorter_than_by_rank():
    xy = np.random.default_rng(0).uniform(0, 1e5, (300, 2))
    # A shortest tour of many random points is 0.7124 sqrt(n A) long (Johnson and McGeoch 1996).
    assert length(xy, short_route(xy)) < 1.15 * 0.7124 * np.sqrt(300 * 1e10)
    np.testing.assert_array_equal(short_route(xy), short_route(xy))
