import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.ops.tone import contrast, tone_curve
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack, contrast_ladder
from layerscope.synth.camera import CCD_LINEAR, Lobe, SynthCamera
from layerscope.synth.signals import draw_layers, synth_signals

CLEAN = {"background_error": 0.0, "channel_error": 0.0, "wrong_share": 0.0}
GAUSSIAN = SynthCamera(
    "as_assumed",
    red=(Lobe(605, 32, 32),),
    green=(Lobe(533, 33, 33),),
    blue=(Lobe(462, 27, 27),),
    lamp="halogen:3200",
    ir_cut_nm=900.0,
    flare=0.0,
)


@pytest.mark.parametrize("material", ["graphene", "hBN", "MoS2", "WS2", "WSe2", "MoSe2"])
@pytest.mark.parametrize("oxide", [90, 285, 300])
def test_known_camera_sees_the_ladder_of_the_analysis(material, oxide):
    substrate = f"SiO2({oxide}nm)/Si"
    signal, n = synth_signals(
        1, material=material, substrate=substrate, camera=GAUSSIAN, layers=[1, 2, 3, 4], **CLEAN
    )
    seen, se = contrast(signal, tone_curve("linear"))
    predicted = contrast_ladder(load(material), Stack.parse(substrate), max_layers=4)
    assert n.tolist() == [1, 2, 3, 4]
    # Blue loses its ultraviolet edge to the camera's filter, where MoS2 and WS2 absorb most.
    tolerance = np.array([0.003, 0.003, 0.03])
    assert np.all(np.abs(seen - predicted) < tolerance + 4 * se)


def test_published_graphene_monolayer_is_near():
    signal, _ = synth_signals(1, camera="ccd_linear", layers=[1] * 20, **CLEAN)
    seen = contrast(signal, tone_curve("linear"))[0].mean(axis=0)
    # Uslu et al. (2024), 90 nm oxide: R -.137, G -.140, B -.071; another camera, hence .04.
    assert np.all(np.abs(seen - [-0.137, -0.140, -0.071]) < 0.04)


def test_errors_have_the_size_asked_for():
    kinds = {"channel_error": 0.0, "wrong_share": 0.0}
    signal, _ = synth_signals(2, layers=[1] * 4000, background_error=0.01, **kinds)
    shared = np.log(signal.background / signal.background.mean(axis=0))
    assert shared.mean(axis=1).std() == pytest.approx(0.01, rel=0.15)
    assert np.corrcoef(shared.T).min() > 0.9


def test_wrong_regions_are_as_many_as_asked():
    options = {"background_error": 0.0, "channel_error": 0.0, "wrong_share": 0.1}
    signal, _ = synth_signals(2, layers=[3] * 3000, **options)
    right = np.abs(signal.level[:, 1] - np.median(signal.level[:, 1])) < 0.01
    assert 1 - right.mean() == pytest.approx(0.1, abs=0.02)


def test_oxide_error_moves_the_colour():
    options = {"layers": [1] * 10, **CLEAN}
    nominal, _ = synth_signals(3, **options)
    off, _ = synth_signals(3, oxide_error_nm=8.0, **options)
    direct, _ = synth_signals(3, substrate="SiO2(98nm)/Si", **options)
    assert np.abs(nominal.background - off.background).max() > 0.01
    np.testing.assert_allclose(off.level, direct.level)


def test_saturated_bulk_is_declared():
    signal, _ = synth_signals(1, layers=[1, 200], wrong_share=0.0)
    assert signal.saturated.tolist() == [0.0, 1.0]
    assert signal.level.max() <= 1


def test_occupancy_is_geometric_and_bounded():
    n = draw_layers(np.random.default_rng(1), 20000, max_layers=6, ratio=0.5, thick_share=0.25)
    assert n.min() == 1
    assert n.max() <= 300
    assert np.mean(n > 6) == pytest.approx(0.25, abs=0.01)
    assert np.sum(n == 2) / np.sum(n == 1) == pytest.approx(0.5, abs=0.04)


def test_same_seed_same_numbers_and_empty_set():
    one, two = synth_signals(7)[0], synth_signals(7)[0]
    np.testing.assert_array_equal(one.level, two.level)
    assert len(synth_signals(7, layers=[])[0]) == 0


def test_refuses_what_makes_no_sense():
    with pytest.raises(InputError, match="zero or positive"):
        synth_signals(1, layers=[-1])
    with pytest.raises(InputError, match="no film"):
        synth_signals(1, substrate="PDMS", oxide_error_nm=5.0)
    with pytest.raises(InputError, match="ratio"):
        synth_signals(1, occupancy_ratio=0.0)


def test_ninety_sets_are_cheap():
    import time

    start = time.process_time()
    for seed in range(90):
        synth_signals(seed, camera=CCD_LINEAR)
    assert time.process_time() - start < 4
