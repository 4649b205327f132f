"""What crystals are made of, at a glance: the pile whose colour they have, or that none is told."""

import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import CropMasks
from layerscope.live.crystal_analysis import texts_of
from layerscope.ops.optical import fit_background
from layerscope.physics.sheets import pile_reflectance
from layerscope.physics.thin_film import Camera, Stack
from layerscope.tasks.crystal_piles import tell_piles
from layerscope.tasks.lateral import Setup

STACK = Stack.parse("SiO2(285nm)/Si")
BARE = 0.35
SQUARES = [(40, 40), (40, 180), (140, 40), (140, 180)]


def colour(*pile):
    """Level of a pile as the usual camera sees it, on substrate of `BARE`."""
    seen = [pile_reflectance(p, STACK) @ Camera().response().T for p in (pile, ())]
    return BARE * seen[0] / seen[1]


@pytest.fixture(scope="module")
def told():
    """MoS2 of one layer and of two, a square of both, and one of a colour that nothing has."""
    image = np.full((240, 320, 3), BARE)
    one, two = colour(("MoS2", 1)), colour(("MoS2", 2))
    for (y, x), level in zip(SQUARES, (one, two, one, (0.9, 0.1, 0.9)), strict=True):
        image[y : y + 60, x : x + 60] = level
    image[150:190, 50:90] = two
    noise = np.random.default_rng(3).normal(0, 0.004, image.shape)
    pixels = np.rint(255 * np.clip(image + noise, 0, 1)).astype(np.uint8)
    boxes = np.array([(y, x, y + 60, x + 60) for y, x in SQUARES])
    masks = CropMasks(boxes, (np.ones((60, 60), bool),) * 4, (240, 320))
    micrograph = Micrograph(pixels)
    return tell_piles(micrograph, masks, fit_background(micrograph), Setup(("MoS2",), STACK))


def test_layers_are_told_by_colour_and_those_of_several_are_not(told):
    assert told.sheets == ((("MoS2", 1),), (("MoS2", 2),), None, None)
    assert (told.probability[:2] > 0.65).all()
    assert told.several.tolist() == [False, False, True, False]


def test_what_the_drawing_says(told):
    texts = texts_of(told)
    assert [t.rpartition(" ")[0].rpartition(" ")[0] for t in texts[:2]] == ["MoS2 1L", "MoS2 2L"]
    assert texts[2:] == ("several colours", "layers ?")


def test_no_crystal():
    image = Micrograph(np.full((64, 64, 3), 90, np.uint8))
    none = CropMasks.empty((64, 64))
    assert tell_piles(image, none, fit_background(image), Setup(("MoS2",), STACK)).sheets == ()
