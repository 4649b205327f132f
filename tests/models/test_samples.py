"""Samples from masks: rims, substrate, cleaning that keeps every class."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError
from layerscope.models.gmm import GmmHead
from layerscope.models.pixels import clean_samples, samples_from_masks
from layerscope.models.samples import Samples, class_sd
from layerscope.ops.tone import tone_curve

BARE = np.array([0.62, 0.44, 0.47])
CONTRAST = np.array(
    [[0, 0, 0], [-0.14, -0.14, -0.07], [-0.25, -0.26, -0.15], [-0.35, -0.37, -0.22]]
)


def _masks():
    layers = np.zeros((160, 200), np.uint8)
    layers[20:70, 20:70] = 1
    layers[20:70, 70:110] = 2
    layers[100:150, 30:90] = 3
    layers[100:140, 120:170] = 1
    layers[5:9, 150:154] = 2
    return layers


def _micrograph(noise=0.008, blur=2.0, seed=0, tone=1.0, name="chip"):
    light = BARE * (1 + CONTRAST[_masks()])
    light = np.stack([ndimage.gaussian_filter(c, blur) for c in light.transpose(2, 0, 1)], 2)
    noisy = light ** (1 / tone) + np.random.default_rng(seed).normal(0, noise, light.shape)
    return Micrograph(np.round(np.clip(noisy, 0, 1) * 255).astype(np.uint8), name=name)


def test_pixels_are_unbiased_inside_the_rim():
    samples = samples_from_masks(_micrograph(), _masks(), BARE, rim_px=6)
    assert samples.group_names == ("chip",)
    for k in range(4):
        mean = samples.contrast[samples.layers == k].mean(0)
        np.testing.assert_allclose(mean, CONTRAST[k], atol=0.002)
    assert samples.n_regions(1) == 2
    means = samples.region_means()
    assert sorted(means.layers.tolist()) == [0, 1, 1, 2, 3]
    np.testing.assert_allclose(means.contrast, CONTRAST[means.layers], atol=0.002)


def test_without_a_rim_the_blur_pulls_the_mean():
    rim = samples_from_masks(_micrograph(), _masks(), BARE, rim_px=0)
    mean = rim.contrast[rim.layers == 3].mean(0)
    assert np.all(mean > CONTRAST[3] + 0.01)


def test_rim_is_the_distance_to_any_other_region():
    """Against scipy's distance transform, region by region."""
    samples = samples_from_masks(_micrograph(), _masks(), BARE, rim_px=4, n_background=0)
    expected = 0
    for box in ([20, 70, 20, 70], [20, 70, 70, 110], [100, 150, 30, 90], [100, 140, 120, 170]):
        expected += (box[1] - box[0] - 8) * (box[3] - box[2] - 8)
    assert len(samples) == expected


def test_small_regions_are_left_out_and_named():
    samples = samples_from_masks(_micrograph(), _masks(), BARE)
    assert len(samples.notes) == 1
    assert "(2 layers) has 0 px inside its rim, under 50" in samples.notes[0]


def test_instances_separate_touching_flakes_of_one_thickness():
    instances = np.zeros((160, 200), int)
    instances[20:70, 20:45], instances[20:70, 45:110] = 1, 2
    layers = np.where(instances > 0, _masks(), 0)
    samples = samples_from_masks(_micrograph(), layers, BARE, instances=instances)
    assert samples.n_regions(1) == 2
    assert samples.n_regions(2) == 1


def test_substrate_samples_keep_away_from_flakes_and_exclusions():
    excluded = np.zeros((160, 200), bool)
    excluded[:, 100:] = True
    micrograph = _micrograph()
    masked = micrograph.after("mask", excluded=excluded)
    samples = samples_from_masks(masked, _masks(), BARE, n_background=10**6)
    free = ndimage.distance_transform_edt(_masks() == 0) > 6.5
    n_bare = np.sum(samples.layers == 0)
    assert n_bare == pytest.approx(np.sum(free[:, :100]), rel=0.01)
    assert samples.n_regions(2) == 1
    assert np.sum(samples.layers == 1) < np.sum(_masks()[:, :100] == 1)


def test_tone_and_local_background_are_undone():
    field = np.broadcast_to(np.linspace(0.9, 1.1, 200)[:, None] * BARE, (160, 200, 3))
    light = field * (1 + CONTRAST[_masks()])
    data = np.round(65535 * light ** (1 / 2.2)).astype(np.uint16)
    micrograph = Micrograph(data, white_level=65535.0)
    background = field ** (1 / 2.2)
    samples = samples_from_masks(micrograph, _masks(), background, tone=tone_curve("gamma:2.2"))
    np.testing.assert_allclose(samples.contrast, CONTRAST[samples.layers], atol=2e-4)


def test_pixels_train_a_head_that_reads_regions():
    parts = [
        clean_samples(samples_from_masks(_micrograph(seed=s, name=f"{s}"), _masks(), BARE))
        for s in range(3)
    ]
    samples = Samples.concatenate(parts)
    assert samples.n_groups == 3
    head = GmmHead.fit(samples)
    test = samples_from_masks(_micrograph(seed=9), _masks(), BARE).region_means()
    got = head.predict(test.contrast, test.contrast_se)
    assert got.n_layers.tolist() == [k if k else -1 for k in test.layers]
    assert head.card.metrics["held_out_regions"] == 15
    assert head.card.metrics["accuracy"] == 1


def test_same_seed_same_samples():
    one, two, other = (
        samples_from_masks(_micrograph(), _masks(), BARE, n_background=200, seed=s)
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.contrast, two.contrast)
    assert not np.array_equal(one.contrast, other.contrast)


def _cloud(sizes, stray=0, seed=0):
    rng = np.random.default_rng(seed)
    layers = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    contrast = CONTRAST[layers] + rng.normal(0, 0.01, (len(layers), 3))
    contrast[:stray] = CONTRAST[2] + rng.normal(0, 0.01, (stray, 3))
    zeros = np.zeros(len(layers), np.int64)
    return Samples(contrast, 0 * contrast, layers, zeros, np.arange(len(layers)), ("a",))


def test_cleaning_drops_pixels_of_another_class():
    samples = _cloud([1000, 1000], stray=80)
    cleaned = clean_samples(samples)
    kept = set(cleaned.region.tolist())
    assert len(kept & set(range(80))) <= 2
    assert len(kept) > 0.97 * 1920
    assert cleaned.notes == ()


def test_cleaning_never_removes_a_class():
    """A class of which three quarters look like another: published cleaning deletes it."""
    cleaned = clean_samples(_cloud([400, 5000], stray=300))
    assert np.sum(cleaned.layers == 1) == 400
    assert any(note.startswith("1 layers: ") and "kept" in note for note in cleaned.notes)
    tiny = clean_samples(_cloud([3, 2000]))
    assert np.sum(tiny.layers == 1) == 3


def test_cleaning_caps_large_classes_and_keeps_every_region():
    samples = _cloud([12000, 200])
    cleaned = clean_samples(samples)
    assert np.sum(cleaned.layers == 1) > 4500
    region = np.repeat([0, 1, 2], [11999, 1, 200])
    contrast = np.where(region[:, None] == 1, CONTRAST[1], samples.contrast)
    columns = (samples.contrast_se, samples.layers, samples.group, region, ("a",))
    for seed in range(4):
        one = clean_samples(Samples(contrast, *columns), seed=seed)
        assert len(one) < 5300
        assert set(one.region.tolist()) == {0, 1, 2}


def test_cleaning_drops_a_clump_that_is_like_no_class():
    """Dust marked along with its flake: 40 pixels that agree with each other."""
    samples = _cloud([1000, 1000])
    contrast = samples.contrast.copy()
    contrast[:40] = np.random.default_rng(1).normal([0.3, 0.1, 0.2], 0.01, (40, 3))
    columns = (samples.contrast_se, samples.layers, samples.group, samples.region, ("a",))
    kept = set(clean_samples(Samples(contrast, *columns)).region.tolist())
    assert not kept & set(range(40))
    assert len(kept) > 0.97 * 1960


def test_usual_class_width():
    """0.010, 0.010, 0.018 at no contrast; 5 % of the contrast on top in quadrature."""
    np.testing.assert_allclose(class_sd(np.zeros(3)), [0.010, 0.010, 0.018])
    np.testing.assert_allclose(class_sd(np.full(3, -0.4)), np.hypot([0.010, 0.010, 0.018], 0.02))


def test_concatenation_merges_images_by_name():
    one = Samples.from_regions([[0, 0, 0.1], [0, 0, 0.2]], np.zeros((2, 3)), [1, 2], ["b", "a"])
    two = Samples.from_regions([[0, 0, 0.3]], np.zeros((1, 3)), [2], ["b"])
    both = Samples.concatenate([one, two])
    assert both.group_names == ("a", "b")
    assert both.group.tolist() == [1, 0, 1]
    assert len(np.unique(both.region)) == 3


def test_unlabelled_and_unmeasured_regions_are_left_out():
    contrast = [[0.1, 0, 0], [np.nan, 0, 0], [0.2, 0, 0]]
    got = Samples.from_regions(contrast, np.zeros((3, 3)), [1, 2, 0], ["a", "b", "c"])
    assert got.layers.tolist() == [1]
    assert got.group_names == ("a",)


def test_region_means_and_errors_equal_numpy():
    rng = np.random.default_rng(0)
    region = rng.integers(0, 5, 200)
    contrast = rng.normal(0, 1, (200, 3))
    ones = np.ones(200, np.int64)
    got = Samples(contrast, 0 * contrast, ones, 0 * ones, region, ("a",)).region_means()
    for i, k in enumerate(np.unique(region)):
        mine = contrast[region == k]
        np.testing.assert_allclose(got.contrast[i], mine.mean(0), atol=1e-12)
        expected = mine.std(0, ddof=1) / np.sqrt(len(mine))
        np.testing.assert_allclose(got.contrast_se[i], expected, rtol=1e-9)


def test_wrong_input_is_named():
    micrograph, masks = _micrograph(), _masks()
    grey = Micrograph(micrograph.data[..., 0])
    cases = [
        (lambda: samples_from_masks(grey, masks, BARE), "grey"),
        (lambda: samples_from_masks(micrograph, masks[1:], BARE), "layer mask"),
        (lambda: samples_from_masks(micrograph, masks / 2, BARE), "expected integers"),
        (lambda: samples_from_masks(micrograph, masks.astype(int) - 1, BARE), "values 0 to"),
        (lambda: samples_from_masks(micrograph, masks, BARE[:2]), "background"),
        (lambda: samples_from_masks(micrograph, masks, BARE, instances=masks[1:]), "instances"),
        (lambda: Samples.from_regions([[0, 0, 0]], np.zeros((1, 3)), [1], []), "image names"),
        (lambda: Samples.from_regions([[0, 0]], np.zeros((1, 2)), [1], ["a"]), "contrast"),
    ]
    for call, said in cases:
        with pytest.raises(InputError, match=said):
            call()


def test_nothing_in_nothing_out():
    none = Samples.concatenate([])
    assert len(none) == len(clean_samples(none)) == len(none.region_means()) == 0
    empty = samples_from_masks(_micrograph(), np.zeros((160, 200), int), BARE, n_background=0)
    assert len(empty) == 0
