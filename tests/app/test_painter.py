"""Answers that learn from several images."""

import cv2
import numpy as np
import pytest
from label_page import DARK, FEW_TREES, LIGHT, halves, stroke

from layerscope.app.painter import STROKES, Painter
from layerscope.errors import InputError
from layerscope.labelling.painting import PaintSession, PaintSettings, fit_pixels
from layerscope.ops.tiles import Window

CLASSES = ("dark", "light")


def painted(seed, column, value):
    """Session of a picture with one stripe of scribbles."""
    image = halves(seed)
    session = PaintSession(image, CLASSES, FEW_TREES)
    session.scribble(np.full((50, 6), value, np.uint8), 10, column)
    return image, session


def test_sessions_together_answer_as_a_classifier_of_all_images():
    (first, one), (second, two) = painted(1, 10, 1), painted(2, 70, 2)
    third = halves(3)
    asked = PaintSession(third, CLASSES, FEW_TREES)
    for session in (one, two, asked):
        session.learn_from([one, two])
    known = fit_pixels([first, second], [one.labels, two.labels], CLASSES, FEW_TREES)
    whole = Window(0, 0, *third.shape)
    for session, image in ((one, first), (asked, third)):
        assert np.array_equal(session.answer(whole).probabilities, known.probabilities(image))
    before = asked.answer(whole).probabilities
    two.rest()
    two.scribble(np.full((10, 6), 1, np.uint8), 10, 60)
    assert not np.array_equal(asked.answer(whole).probabilities, before)


def test_sessions_that_do_not_belong_together_are_refused():
    _, one = painted(1, 10, 1)
    other = PaintSession(halves(2), ("dark", "dirt"), FEW_TREES)
    with pytest.raises(InputError, match="cannot be joined"):
        one.learn_from([one, other])
    with pytest.raises(InputError, match="cannot be joined"):
        one.learn_from([PaintSession(halves(2), CLASSES, PaintSettings(trees=9))])


def test_what_is_accepted_is_what_the_written_model_says(project, tmp_path):
    painter = Painter(project, FEW_TREES)
    for index, body in ((0, DARK), (1, LIGHT)):
        painter.changed(index, project.do(index, "stroke", body).box)
    steps = list(painter.fill(2, STROKES))
    assert steps[-1] == (1, 1)
    exact = painter.classifier().probabilities(project.micrograph(2).data)
    assert np.array_equal(painter.shares(2, STROKES), np.rint(exact * 255).astype(np.uint8))


def test_grey_and_colour_images_are_learned_from_together(project, opening, images, tmp_path):
    project.close()
    colour = cv2.cvtColor(halves(1), cv2.COLOR_GRAY2BGR)
    cv2.imwrite(str(images / "b.png"), colour)
    again = opening(tmp_path / "other")
    painter = Painter(again, FEW_TREES)
    for index, body in ((0, DARK), (1, LIGHT), (1, stroke(3, (70, 5)))):
        painter.changed(index, again.do(index, "stroke", body).box)
    found = [list(painter.answer(i, STROKES, (0, 0, 72, 96), 0, lambda: True)) for i in (0, 1)]
    assert np.array_equal(found[0][-1].shares.argmax(axis=2)[:, 80:], np.ones((72, 16)))
    assert found[1][-1].shares.shape == (72, 96, 3)
