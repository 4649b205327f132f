"""The overview of a mosaic: pixels and regions shrink alike."""

from __future__ import annotations

import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import CropMasks
from layerscope.io.mosaic import Mosaic
from layerscope.report.overview import reduced, reduced_regions


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_regions_are_where_they_are_on_the_reduced_picture(make_detections, factor):
    labels = np.zeros((301, 402), np.uint8)
    labels[20:90, 31:77], labels[95:301, 200:402], labels[5, 5] = 1, 2, 3
    full = make_detections(labels)
    small = reduced_regions(full, factor)
    half = factor // 2
    expected = labels[half::factor, half::factor][: 301 // factor, : 402 // factor]
    numbers = [n for n in (1, 2, 3) if (expected == n).any()]
    assert np.array_equal(small.masks.labels(numbers), expected)
    assert np.array_equal(small.score, full.score[[n - 1 for n in numbers]])


def test_picture_is_the_mean_of_blocks_over_band_borders():
    data = np.random.default_rng(0).integers(0, 255, (403, 302, 3), dtype=np.uint8)
    small = reduced(Mosaic.of(Micrograph(data)), 2)
    means = data[:402].reshape(201, 2, 151, 2, 3).mean(axis=(1, 3))
    assert small.shape == (201, 151, 3)
    assert np.abs(small - means).max() <= 0.5


def test_nothing_stays_nothing():
    from layerscope.core.results import Detections

    small = reduced_regions(Detections.empty((100, 100)), 4)
    assert len(small) == 0
    assert isinstance(small.masks, CropMasks)
    assert small.masks.shape == (25, 25)
