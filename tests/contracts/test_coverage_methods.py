"""What every method of coverage must do."""

from dataclasses import replace

import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import InputError
from layerscope.tasks.coverage import METHODS, find_coverage


@pytest.fixture(scope="module")
def film():
    """Heights with a square of film that covers a quarter, one layer of 0.7 nm."""
    rng = np.random.default_rng(3)
    data = rng.normal(0, 0.05, (128, 160))
    data[20:84, 30:110] += 0.7
    return Micrograph(
        data.astype(np.float32), Modality.AFM, PixelSize(10, 10, "test"), "nm", name="film"
    )


@pytest.fixture(scope="module")
def picture(film):
    """Grey values of the same, the film darker by a third."""
    grey = np.where(film.data > 0.35, 90, 135) + np.random.default_rng(4).normal(0, 4, film.shape)
    return Micrograph(grey.clip(0, 255).astype(np.uint8), Modality.SEM, name="picture")


def _given(method, film, picture):
    return film if method == "terraces" else picture


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_plain_film_is_measured(method, film, picture):
    found = find_coverage(_given(method, film, picture), method=method)
    assert found.fraction == pytest.approx(0.25, abs=0.01)
    assert found.low <= 0.25 <= found.high
    assert found.high - found.low < 0.1
    assert found.method == method
    assert found.by_method == {method: found.fraction}
    assert found.doubts == ()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_map_says_the_same_as_the_number(method, film, picture):
    given = _given(method, film, picture)
    found = find_coverage(given, method=method)
    assert found.film.shape == given.shape
    assert 1 - found.film.fractions()[0] == pytest.approx(found.fraction)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_same_bytes_twice_and_input_left_alone(method, film, picture):
    given = _given(method, film, picture)
    before = given.data.tobytes()
    first, second = (find_coverage(given, method=method) for _ in range(2))
    assert given.data.tobytes() == before
    assert first.film.labels.tobytes() == second.film.labels.tobytes()
    assert (first.fraction, first.low, first.high) == (second.fraction, second.low, second.high)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_padding_and_lost_lines_are_counted_in_nothing(method, film, picture):
    given = _given(method, film, picture)
    alone = find_coverage(given, method=method)
    padded = np.pad(given.data.astype(np.float32), 64, constant_values=np.nan)
    padded[64 + 50 : 64 + 52] = np.nan
    around = find_coverage(replace(given, data=padded), method=method)
    assert around.fraction == pytest.approx(alone.fraction, abs=0.02)
    assert not around.film.valid[:64].any()
    assert not around.film.valid[114:116].any()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_excluded_pixels_are_counted_in_nothing(method, film, picture):
    given = _given(method, film, picture)
    marked = np.zeros(given.shape, bool)
    marked[-30:, -60:] = True
    data = given.data.copy()
    data[marked] = 255 if given is picture else 5
    found = find_coverage(replace(given, data=data, excluded=marked), method=method)
    assert found.fraction == pytest.approx(5120 / np.count_nonzero(~marked), abs=0.02)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_constant_picture_is_doubted_and_never_fails(method, film, picture):
    given = _given(method, film, picture)
    flat = replace(given, data=np.full(given.shape, 7, np.float32))
    found = find_coverage(flat, method=method)
    assert found.doubts
    assert 0 <= found.low <= found.fraction <= found.high <= 1


@pytest.mark.parametrize("method", sorted(METHODS))
def test_no_value_at_all_is_refused_by_name(method, film, picture):
    empty = replace(_given(method, film, picture), data=np.full((40, 40), np.nan, np.float32))
    with pytest.raises(InputError, match="no pixel has a value"):
        find_coverage(empty, method=method)
