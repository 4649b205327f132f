"""Values of labelled data: painting order, boxes, refusals."""

import itertools

import numpy as np
import pytest

from layerscope.core.examples import IGNORE, DataSet, Example, Instance, paint
from layerscope.errors import InputError

BIG = Instance(1, (0, 0, 4, 4), np.ones((4, 4), bool))
SMALL = Instance(2, (1, 1, 3, 3), np.ones((2, 2), bool))
BOX = Instance(3, (2, 2, 4, 6))


def test_smaller_objects_lie_on_top_whatever_the_order():
    pictures = [paint(order, (5, 6)) for order in itertools.permutations([BIG, SMALL, BOX])]
    assert all((p == pictures[0]).all() for p in pictures)
    assert pictures[0].tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 2, 2, 1, 0, 0],
        [1, 2, 2, 1, IGNORE, IGNORE],
        [1, 1, 1, 1, IGNORE, IGNORE],
        [0, 0, 0, 0, 0, 0],
    ]


def test_areas_are_of_the_mask_or_of_the_box():
    assert [i.area_px for i in (BIG, SMALL, BOX)] == [16, 4, 8]


@pytest.mark.parametrize(
    "given",
    [
        (1, (0, 0, 0, 4)),
        (1, (-1, 0, 2, 4)),
        (0, (0, 0, 1, 1)),
        (IGNORE, (0, 0, 1, 1)),
        (1, (0, 0, 2, 2), np.ones((2, 3), bool)),
    ],
)
def test_impossible_instances_are_refused(given):
    with pytest.raises(InputError):
        Instance(*given)


def test_an_example_in_memory_is_its_own_group():
    image, labels = np.zeros((3, 4), np.uint8), np.ones((3, 4), np.uint8)
    example = Example.from_arrays("a", image, labels)
    assert (example.group, example.shape, example.instances) == ("a", (3, 4), None)
    assert example.read_image().shape == (3, 4, 1)
    assert (example.label_map() == 1).all()


def test_labels_of_another_size_are_refused():
    example = Example.from_arrays("a", np.zeros((3, 4), np.uint8), np.ones((3, 5), np.uint8))
    with pytest.raises(InputError, match="label picture is 3 x 5"):
        example.label_map()


def test_data_sets_have_unique_names_and_few_enough_classes():
    example = Example.from_arrays("a", np.zeros((3, 4), np.uint8), [])
    with pytest.raises(InputError, match="two examples are named 'a'"):
        DataSet((example, example), ("background",))
    with pytest.raises(InputError, match="256 classes"):
        DataSet((example,), tuple(map(str, range(256))))
    taken = DataSet((example,), ("background", "x"), ("note",)).take([])
    assert (len(taken), taken.notes) == (0, ("note",))
