"""Every section of the registry: a value for 0, 1 and many objects, and text for whoever reads."""

import numpy as np
import pandas as pd
import pytest

from layerscope.core.results import CropMasks, Detections, RegionSignal
from layerscope.core.run import ImageResult, RunResult
from layerscope.measure import measure
from layerscope.report import SECTIONS
from layerscope.report.pictures import Pictures
from layerscope.report.values import Section, Skipped


def _run(n: int) -> RunResult:
    shape, rgb = (64, 640), np.full((n, 3), 0.5)
    boxes = np.array([(4, 4 + 12 * i, 14, 14 + 12 * i) for i in range(n)], np.int64).reshape(-1, 4)
    masks = CropMasks(boxes, tuple(np.ones((10, 10), bool) for _ in range(n)), shape)
    one = np.ones(n)
    small = rgb / 500
    signal = RegionSignal(rgb * 0.9, small, rgb, small, small, np.full(n, 64), one, one * 0)
    found = Detections(masks, one, np.zeros(n, np.int64), np.arange(1, n + 1), signal)
    table = measure(found, pixel_size=None, image="a")
    image = ImageResult("a", "", "", shape, None, np.full(3, 0.5), 0, found)
    return RunResult((image,), table, None)


@pytest.mark.parametrize("n", [0, 1, 40])
@pytest.mark.parametrize("name", list(SECTIONS))
def test_gives_a_section_or_says_why_not(name, n):
    run = _run(n)
    before = run.objects.copy()
    part = SECTIONS[name](run, Pictures(run.images))
    assert isinstance(part, (Section, Skipped))
    assert part.title
    if isinstance(part, Skipped):
        assert part.reason.endswith(".")
    else:
        assert any((part.text, part.tiles, part.tables, part.plots, part.cards, part.photos))
        for table in part.tables:
            assert all(len(row) == len(table.columns) for row in table.rows)
            assert all(isinstance(cell, str) for row in table.rows for cell in row)
        assert all(plot.caption for plot in part.plots)
    pd.testing.assert_frame_equal(run.objects, before)


@pytest.mark.parametrize("name", list(SECTIONS))
def test_is_documented(name):
    assert SECTIONS[name].__doc__
