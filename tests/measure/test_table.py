"""One table from the arrays of many images."""

import numpy as np
import pandas as pd
import pytest

from layerscope.core.results import Detections
from layerscope.errors import InputError
from layerscope.measure import measure, measure_columns, table_of


def squares(make_detections, sides):
    labels = np.zeros((60, 200), np.int32)
    for number, side in enumerate(sides):
        labels[5 : 5 + side, 5 + 40 * number : 5 + 40 * number + side] = number + 1
    return make_detections(labels)


def test_arrays_of_images_make_the_table_of_their_tables(make_detections):
    found = [squares(make_detections, sides) for sides in ([8, 20, 31], [12], [9, 9])]
    parts = [measure_columns(f, pixel_size=None, image=str(i)) for i, f in enumerate(found)]
    tables = [measure(f, pixel_size=None, image=str(i)) for i, f in enumerate(found)]
    together = pd.concat(tables, ignore_index=True)
    pd.testing.assert_frame_equal(table_of(parts), together)


def test_no_regions_give_the_same_columns(make_detections):
    none = table_of([measure_columns(Detections.empty((60, 200)), pixel_size=None)])
    some = measure(squares(make_detections, [8]), pixel_size=None)
    assert len(none) == 0
    assert none.dtypes.to_dict() == some.dtypes.to_dict()


def test_parts_must_match(make_detections):
    part = measure_columns(squares(make_detections, [8]), pixel_size=None)
    other = {name: values for name, values in part.items() if name != "area_px"}
    for parts in ([], [part, other]):
        with pytest.raises(InputError, match="same columns"):
            table_of(parts)
