"""Levelling: laws that hold for every map, and what is reached against known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import InputError, UnknownName
from layerscope.ops.surface import LEVELLERS, flatness, level
from layerscope.ops.surface_differences import slow_error
from layerscope.ops.surface_match import match_rows
from layerscope.ops.surface_plane import base_peak
from layerscope.ops.surface_scars import find_scars
from layerscope.ops.surface_thin import ThinMap, basis_at, enlarge, make_thin
from layerscope.synth.surface import synth_surface
from layerscope.synth.surface_artefacts import Artefacts
from layerscope.synth.surface_substrate import Substrate

SHAPE = (60, 84)
SMOOTH = Substrate("sio2", 0.1, 0.0, 0.02, 20.0)
seeds = st.integers(0, 10**6)


def scan(data):
    return Micrograph(np.asarray(data, np.float32), Modality.AFM, PixelSize(10, 10, "test"), "nm")


def plane(shape=SHAPE, a=0.07, b=-0.03, c=5.0):
    y, x = np.indices(shape)
    return a * y + b * x + c


def film(seed=3, coverage=0.4, shape=(160, 192), **artefacts):
    chosen = Artefacts(noise_nm=0.05, **artefacts)
    return synth_surface(seed, shape=shape, coverage=coverage, substrate=SMOOTH, artefacts=chosen)


def away(flat, surface):
    wrong = flat.data - surface.heights_nm
    wrong = wrong[~surface.particles & ~surface.scars & np.isfinite(wrong)]
    return float(np.std(wrong))


@pytest.mark.parametrize("method", ["plane", "polynomial", "facet", "rows-polynomial", "auto"])
@given(a=st.floats(-0.2, 0.2), b=st.floats(-0.2, 0.2), c=st.floats(-100, 100))
@settings(max_examples=8, deadline=None)
def test_a_plane_becomes_zero(method, a, b, c):
    flat = level(scan(plane(a=a, b=b, c=c)), method)
    assert np.abs(flat.data).max() < 1e-3


@pytest.mark.parametrize(("degree", "total"), [(2, True), (3, True), (5, True), (3, False)])
def test_a_polynomial_becomes_zero(degree, total):
    v, u = np.linspace(-1, 1, 60)[:, None], np.linspace(-1, 1, 84)
    bent = 3 * v**degree - 2 * u**degree + (u * v if total else u**degree * v**degree)
    assert np.abs(level(scan(bent), "polynomial", degree=degree, total=total).data).max() < 1e-4
    lower = level(scan(bent), "polynomial", degree=degree - 1, total=total)
    assert np.abs(lower.data).max() > 0.1


@pytest.mark.parametrize("method", sorted(set(LEVELLERS) - {"rows-polynomial", "scars"}))
@given(seed=seeds, shift=st.floats(-1000, 1000))
@settings(max_examples=5, deadline=None)
def test_where_zero_lies_does_not_matter(method, seed, shift):
    data = film(seed % 7).micrograph.data
    shift = float(np.float32(np.round(shift)))
    one, two = level(scan(data), method), level(scan(data.astype(float) + shift), method)
    assert np.abs(one.data - two.data).max() < 0.02


@pytest.mark.parametrize("method", ["plane", "polynomial"])
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_mirrored_input_gives_mirrored_output(method, seed):
    data = np.random.default_rng(seed).normal(size=SHAPE) + plane()
    flat = level(scan(data), method).data
    for turn in (np.fliplr, np.flipud, np.transpose):
        assert np.allclose(level(scan(turn(data)), method).data, turn(flat), atol=1e-5)


@pytest.mark.parametrize("method", ["plane", "polynomial", "rows-median", "rows-trimmed"])
def test_levelling_twice_changes_nothing(method):
    once = level(film(tilt_nm=9, row_nm=0.2).micrograph, method)
    assert np.abs(level(once, method).data - once.data).max() < 1e-4


@pytest.mark.parametrize("method", ["rows-median", "rows-differences", "terraces", "auto"])
@given(seed=seeds)
@settings(max_examples=5, deadline=None)
def test_row_offsets_leave_no_trace(method, seed):
    surface = film(seed % 11, coverage=0.5)
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 0.3, (160, 1)) + 0.05 * np.cumsum(rng.normal(size=(160, 1)), axis=0)
    one = level(surface.micrograph, method).data
    two = level(scan(surface.micrograph.data + rows), method).data
    assert np.std(two - one) < 0.03  # noise is 0.05: row means may differ by rounding of labels


@given(seed=seeds, a=st.floats(-0.1, 0.1), b=st.floats(-0.1, 0.1))
@settings(max_examples=8, deadline=None)
def test_a_plane_leaves_no_trace_in_auto(seed, a, b):
    surface = film(seed % 11, coverage=0.5)
    one = level(surface.micrograph).data
    two = level(scan(surface.micrograph.data + plane((160, 192), a, b))).data
    assert np.std(two - one) < 0.02


@pytest.mark.parametrize("coverage", [0.02, 0.3, 0.5, 0.7, 0.9, 0.98])
@pytest.mark.parametrize("seed", [1, 2])
def test_auto_reaches_the_noise(seed, coverage):
    surface = synth_surface(
        seed, shape=(256, 256), coverage=coverage, substrate=SMOOTH,
        artefacts=Artefacts(tilt_nm=25, bow_nm=3, row_nm=0.3, row_walk_nm=0.08, drift_nm=2,
                            scars=8, scar_nm=2, particles=3, noise_nm=0.06),
    )  # fmt: skip
    flat = level(surface.micrograph)
    assert away(flat, surface) < 1.4 * 0.06
    step = surface.step_nm + surface.offset_nm
    is_film = surface.layers == 1
    found = np.median(flat.data[is_film]) - np.median(flat.data[surface.layers == 0])
    assert found == pytest.approx(step, rel=0.03)


def test_rows_all_film_are_not_pulled_down():
    rng = np.random.default_rng(4)
    y, x = np.indices((240, 200))
    under = (y > 40 + 0.25 * x) & (y < 170 + 0.2 * x)  # rows 90 to 170 are film from end to end
    rows = rng.normal(0, 0.3, (240, 1))
    noisy = 0.7 * under + rows + rng.normal(0, 0.05, under.shape)
    flat = level(scan(noisy)).data
    assert np.median(flat[100:160]) - np.median(flat[:35]) == pytest.approx(0.7, abs=0.03)
    fooled = level(scan(noisy), "rows-median").data
    assert abs(np.median(fooled[100:160]) - np.median(fooled[:35])) < 0.1
    assert flatness(scan(flat)) > 1.3 * flatness(scan(fooled))


@pytest.mark.parametrize(("seed", "side", "coverage"), [(0, 384, 0.35), (11164, 256, None)])
def test_rows_on_rough_oxide_lie_on_common_levels(seed, side, coverage):
    """Differences between rows alone are off by 0.3 nm and more here."""
    surface = synth_surface(seed, shape=(side, side), coverage=coverage)
    wrong = level(surface.micrograph).data - surface.heights_nm
    seen = np.where(surface.particles | surface.scars, np.nan, wrong)
    assert np.std(np.nanmedian(seen, axis=1)) < 0.06
    assert np.std(np.nanmedian(seen, axis=0)) < 0.06


def _stairs(seed, jumps, n=60):
    """Thin map of two levels whose rows walk, and how; every row has both levels somewhere."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((n, n))
    truth = 0.8 * (np.abs((x + y) % n - n / 2) < n / 5) + rng.normal(0, 0.05, (n, n))
    walk = np.cumsum(jumps * rng.choice([-1, 0, 0, 1], n))
    at = np.arange(n) * 4
    shape = (4 * n, 4 * n)
    known, basis = np.ones((n, n), bool), basis_at(at, at, shape)
    return ThinMap(truth + walk[:, None], known, at, at, shape, basis), walk


@given(seed=seeds, jump=st.floats(0, 0.25))
@settings(max_examples=6, deadline=None)
def test_a_walk_of_the_rows_is_found(seed, jump):
    thin, walk = _stairs(seed, jump)
    slow = slow_error(thin)
    found = slow.plus(match_rows(thin.less(slow))).rows_nm
    wrong = found - walk
    assert np.std(wrong) < 0.04  # moves are multiples of 0.04 nm


def test_rows_that_scars_hide_lie_as_their_neighbours():
    thin, _ = _stairs(1, 0.0)
    known = np.ones((240, 240), bool)
    known[100:140, 30:] = False
    whole = np.kron(thin.heights, np.ones((4, 4)))
    whole[~known] += 50
    copy = make_thin(whole, known)
    assert len(copy.rows_px) < 60
    off = enlarge(match_rows(copy), copy)
    assert np.abs(off[100:140] - np.median(off)).max() < 0.06


def test_flatness_orders_what_eyes_order():
    surface = film(5, coverage=0.5, shape=(256, 256))
    truth = flatness(surface.micrograph)
    tilted = flatness(scan(surface.micrograph.data + plane((256, 256), 0.01, 0.01)))
    rows = np.random.default_rng(1).normal(0, 0.2, (256, 1))
    uneven = flatness(scan(surface.micrograph.data + rows))
    erased = flatness(level(surface.micrograph, "rows-median"))
    assert 0.9 < truth <= 1
    assert max(tilted, uneven, erased) < 0.7 * truth


@pytest.mark.parametrize("method", sorted(LEVELLERS))
def test_nan_lines_survive_and_do_no_harm(method):
    data = film(8, tilt_nm=8, row_nm=0.1).micrograph.data.copy()
    whole = level(scan(data), method).data
    holes = np.zeros(data.shape, bool)
    holes[40:43], holes[:, 100], holes[-1] = True, True, True
    data[holes] = np.nan
    flat = level(scan(data), method).data
    assert np.array_equal(np.isnan(flat), holes)
    rest = (flat - whole)[~holes]
    assert np.quantile(np.abs(rest - np.median(rest)), 0.99) < 0.15


@pytest.mark.parametrize("method", sorted(set(LEVELLERS) - {"scars"}))
def test_masked_pixels_count_in_no_fit(method):
    data = film(8, tilt_nm=8).micrograph.data.copy()
    mask = np.zeros(data.shape, bool)
    mask[50:90, 50:120] = True
    one = level(scan(data), method, mask=mask).data
    data[mask] += 40
    two = level(scan(data), method, mask=mask)
    assert np.abs((two.data - one)[~mask]).max() < 2e-3
    assert two.history[-1].parameters["left_out"] == pytest.approx(mask.mean(), abs=1e-5)


def test_excluded_pixels_are_masked_too():
    data = plane()
    burnt = np.zeros(SHAPE, bool)
    burnt[-8:] = True
    data[burnt] = 300
    image = scan(data)
    image = image.after("mark", excluded=burnt)
    assert np.abs(level(image, "plane").data[~burnt]).max() < 1e-3


def test_scars_are_found_and_islands_are_not():
    surface = film(2, coverage=0.4, shape=(256, 256), scars=12, scar_nm=2.0)
    use = np.ones((256, 256), bool)
    found = find_scars(surface.micrograph.data.astype(float), use)
    assert found[surface.scars].mean() > 0.9
    assert found[~surface.scars].mean() < 0.005
    healed = level(surface.micrograph, "scars")
    wrong = np.abs(healed.data - surface.heights_nm)[surface.scars]
    assert np.mean(wrong < 0.3) > 0.75


def test_facets_of_a_staircase_come_out_level():
    width, y, x = 40, *np.indices((120, 200))
    staircase = 0.5 * (x // width) + 0.02 * x + 0.01 * y
    flat = level(scan(staircase), "facet").data
    for k in range(5):
        assert np.ptp(flat[:, k * width + 1 : (k + 1) * width - 1]) < 0.02


def test_base_is_flat_under_high_islands():
    y, x = np.indices((128, 128))
    base = 2e-4 * (x - 64) ** 2 + 0.02 * y + np.random.default_rng(0).normal(0, 0.03, (128, 128))
    base[30:60, 30:60] += 8
    flat = level(scan(base), "flatten-base").data
    ground = np.ones((128, 128), bool)
    ground[26:64, 26:64] = False
    assert np.std(flat[ground]) < 0.04
    assert np.median(flat[32:58, 32:58]) == pytest.approx(8, abs=0.15)


@given(mean=st.floats(-5, 5), width=st.floats(0.05, 2))
@settings(max_examples=15, deadline=None)
def test_base_peak_of_a_gaussian(mean, width):
    values = np.random.default_rng(1).normal(mean, width, 40000)
    found, spread = base_peak(values)
    assert found == pytest.approx(mean, abs=0.1 * width)
    assert spread == pytest.approx(width, rel=0.15)


def test_drift_is_slow_and_rows_stay():
    y = np.linspace(-1, 1, 160)[:, None]
    rng = np.random.default_rng(3)
    fast = rng.normal(0, 0.2, (160, 1))
    data = 3 * y + 2 * y**2 + fast + rng.normal(0, 0.02, (160, 192))
    flat = level(scan(data), "drift").data
    left = np.median(flat, axis=1)
    assert np.corrcoef(left, fast[:, 0])[0, 1] > 0.95


def test_history_says_what_was_done():
    flat = level(film(3, tilt_nm=10, scars=4).micrograph)
    step = flat.history[-1]
    assert step.name == "level"
    assert step.parameters["method"] == "auto"
    assert step.parameters["chosen"] in step.parameters["flatness_by_candidate"]
    told = level(flat, "rows-trimmed", trim=0.1).history
    assert [h.name for h in told] == ["level", "level"]
    assert told[-1].parameters["trim"] == 0.1
    assert level(flat, "polynomial").history[-1].parameters["degree"] == 2


@pytest.mark.parametrize(
    ("method", "parameters", "word"),
    [
        ("polynomial", {"degree": 6}, "0 to 5"),
        ("rows-median", {"quantile": 2.0}, "0 to 1"),
        ("rows-trimmed", {"trim": 0.5}, "below 0.5"),
        ("rows-polynomial", {"degree": 9}, "0 to 5"),
        ("drift", {"degree": 0}, "1 to 5"),
        ("scars", {"low": 0.9}, "low"),
        ("plane", {"degree": 2}, "plane has no degree"),
    ],
)
def test_refuses_parameters(method, parameters, word):
    with pytest.raises(InputError, match=word):
        level(scan(plane()), method, **parameters)


def test_refuses_what_cannot_be_levelled():
    with pytest.raises(UnknownName, match="plane"):
        level(scan(plane()), "plain")
    with pytest.raises(InputError, match="mask"):
        level(scan(plane()), mask=np.zeros((3, 3), bool))
    with pytest.raises(InputError, match="left to fit"):
        level(scan(plane()), mask=np.ones(SHAPE, bool))
    with pytest.raises(InputError, match="left to fit"):
        flatness(scan(np.full(SHAPE, np.nan)))
    with pytest.raises(InputError, match=r"\(H, W\)"):
        level(Micrograph(np.zeros((20, 20, 3), np.uint8)))
