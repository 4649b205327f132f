"""What every method of levelling must do."""

import inspect

import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.ops.surface import LEVELLERS, level


@pytest.fixture(scope="module")
def rough():
    rng = np.random.default_rng(7)
    y, x = np.indices((48, 64))
    data = 0.05 * x - 0.02 * y + rng.normal(0, 0.1, (48, 64)) + rng.normal(0, 0.2, (48, 1))
    data[10:30, 20:40] += 0.7
    return Micrograph(
        data.astype(np.float32), Modality.AFM, PixelSize(10, 20, "test"), "nm", name="rough"
    )


@pytest.mark.parametrize("method", sorted(LEVELLERS))
def test_contract(method, rough):
    before = rough.data.tobytes()
    flat = level(rough, method)
    assert rough.data.tobytes() == before
    assert flat.data.dtype == np.float32
    assert flat.shape == rough.shape
    assert np.isfinite(flat.data).all()
    assert (flat.name, flat.value_unit, flat.pixel_size) == ("rough", "nm", rough.pixel_size)
    assert len(flat.history) == len(rough.history) + 1
    assert flat.history[-1].parameters["method"] == method
    assert level(rough, method).data.tobytes() == flat.data.tobytes()


@pytest.mark.parametrize("method", sorted(LEVELLERS))
def test_is_described_and_its_parameters_have_defaults(method):
    function = LEVELLERS[method]
    assert inspect.getdoc(function)
    for parameter in list(inspect.signature(function).parameters.values())[2:]:
        assert parameter.kind == parameter.KEYWORD_ONLY
        assert parameter.default is not parameter.empty


@pytest.mark.parametrize("method", sorted(LEVELLERS))
@pytest.mark.parametrize("shape", [(4, 4), (4, 300), (300, 4), (5, 17)])
def test_smallest_and_longest_maps(method, shape):
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert np.isfinite(level(Micrograph(data), method).data).all()


@pytest.mark.parametrize("method", sorted(LEVELLERS))
def test_constant_map(method):
    assert np.abs(level(Micrograph(np.full((20, 30), 7.0)), method).data).max() < 1e-6
