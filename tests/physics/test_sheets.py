"""Materials and layers of one image told from their colours together."""

import numpy as np
import pytest

from layerscope.core.results import RegionSignal
from layerscope.errors import InputError
from layerscope.physics.sheets import pile_reflectance, possible_piles, tell_sheets
from layerscope.physics.thin_film import Stack
from layerscope.synth.camera import WAVELENGTH_NM, develop, expose, find_camera

SUBSTRATE = Stack.parse("SiO2(285nm)/Si")
PAIR = ("MoS2", "MoSe2")


def signal_of(sheets, camera, oxide_nm=285.0):
    """Colours that a camera gives of piles, without noise."""
    device, stack = find_camera(camera), SUBSTRATE.with_oxide(oxide_nm)
    light = np.stack([pile_reflectance(s, stack, WAVELENGTH_NM) for s in ((), *sheets)])
    level = develop(device, expose(device, light, light[0]).astype(np.float32)).astype(float)
    n, one = len(sheets), np.ones(len(sheets))
    rgb, ground = level[1:], np.repeat(level[:1], n, axis=0)
    little = np.full((n, 3), 1e-3)
    return RegionSignal(rgb, little, ground, little, little, np.full(n, 500), one, 0 * one)


@pytest.mark.parametrize("camera", ["ccd_linear", "cmos_srgb", "cmos_linear", "gamma_18"])
@pytest.mark.parametrize("oxide_nm", [281.0, 288.0])
def test_materials_of_a_heterostructure_are_told(camera, oxide_nm):
    truth = [(("MoS2", 1),), (("MoSe2", 1),), (("MoS2", 2),)] * 2
    told = tell_sheets(
        signal_of(truth, camera, oxide_nm), np.ones(6), possible_piles(PAIR), SUBSTRATE
    )
    assert told.tone == ("srgb" if camera in ("cmos_srgb", "gamma_18") else "linear")
    named = [told.piles[a] if a >= 0 else None for a in told.answer]
    assert np.mean([n == t for n, t in zip(named, truth, strict=True)]) >= 0.6
    assert all(n in (t, None) for n, t in zip(named, truth, strict=True))
    assert np.allclose(told.probability.sum(axis=1), 1)


def test_another_crystal_is_unknown():
    thick = [(("MoS2", 40),)]
    told = tell_sheets(
        signal_of([(("MoS2", 1),), (("MoSe2", 1),), *thick], "ccd_linear"),
        np.array([1.0, 1.0, 0.2]), possible_piles(PAIR), SUBSTRATE,
    )  # fmt: skip
    assert told.answer[2] == -1
    assert told.probability[2, -1] > 0.9


def test_piles_of_two_materials():
    piles = possible_piles(PAIR, max_layers=2)
    assert piles[:2] == ((("MoS2", 1),), (("MoS2", 2),))
    assert (("MoSe2", 1), ("MoS2", 1)) in piles
    assert len(possible_piles(PAIR, max_layers=2, stacked=False)) == 4


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(InputError):
        tell_sheets(RegionSignal.empty(), np.ones(2), possible_piles(PAIR), SUBSTRATE)
