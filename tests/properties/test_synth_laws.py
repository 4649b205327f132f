import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.synth.camera import CAMERAS
from layerscope.synth.optical import match_truth, synth_flakes


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(16, 260), st.integers(16, 260)),
    camera=st.sampled_from(sorted(CAMERAS)),
    n_flakes=st.integers(0, 15),
    clutter=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_truth_is_whole_whatever_the_scene(seed, shape, camera, n_flakes, clutter):
    image = synth_flakes(seed, shape=shape, camera=camera, n_flakes=n_flakes, clutter=clutter)
    labels = image.labels
    assert image.micrograph.shape == labels.shape == shape
    assert np.count_nonzero(labels) == image.masks.area_px.sum()
    assert len(np.unique(image.flake_id)) <= n_flakes
    assert np.all(image.n_layers >= 1)
    np.testing.assert_array_equal(match_truth(image.masks, image), np.arange(len(image)))
