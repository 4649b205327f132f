"""Assignment against cases worked by hand, losses against closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from layerscope.errors import InputError
from layerscope.training.yolo_assignment import Rule, assign
from layerscope.training.yolo_loss import (
    Marked,
    YoloLoss,
    box_pixels,
    distribution_loss,
    mask_loss,
    pack,
    true_sides,
)
from layerscope.training.yolo_network import BINS, Answer
from layerscope.training.yolo_overlap import complete_overlap, plain_overlap

# Four places of 8 px in a row, their centres at x = 4, 12, 20, 28.
POINTS = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0], [28.0, 4.0]])
STRIDES = torch.full((4,), 8.0)


def boxes_at(*boxes):
    return torch.tensor(boxes, dtype=torch.float32)


def given_to(scores, boxes, classes, true, **rule):
    scores = torch.tensor(scores, dtype=torch.float32)
    return assign(scores, boxes, POINTS, STRIDES, torch.tensor(classes), true, Rule(**rule))


def test_only_places_within_the_box_answer():
    true = boxes_at((0, 0, 16, 8))
    given = given_to([[0.5]] * 4, true.expand(4, 4), [0], true)
    assert given.owner.tolist() == [0, 0, -1, -1]
    np.testing.assert_allclose(given.target, [1, 1, 0, 0], rtol=1e-6)


def test_the_best_of_score_and_overlap_is_chosen():
    # Overlaps 1, 1/2; scores 0.25 and 1: agreement 0.5 and 1/64 with the usual powers.
    true = boxes_at((0, 0, 16, 8))
    boxes = boxes_at((0, 0, 16, 8), (0, 0, 8, 8), (0, 0, 1, 1), (0, 0, 1, 1))
    one = given_to([[0.25], [1.0], [1.0], [1.0]], boxes, [0], true, places=1)
    assert one.owner.tolist() == [0, -1, -1, -1]
    both = given_to([[0.25], [1.0], [1.0], [1.0]], boxes, [0], true)
    np.testing.assert_allclose(both.target, [1, 1 / 32, 0, 0], rtol=1e-5)
    # With the overlap to the power of one the second place is as good.
    even = given_to([[0.25], [1.0], [1.0], [1.0]], boxes, [0], true, beta=1.0)
    np.testing.assert_allclose(even.target, [1, 1, 0, 0], rtol=1e-5)


def test_the_score_of_the_own_class_counts():
    true = boxes_at((0, 0, 16, 8))
    given = given_to([[0.9, 0.0], [0.0, 0.9]] * 2, true.expand(4, 4), [1], true, places=1)
    assert given.owner.tolist() == [-1, 0, -1, -1]


def test_a_place_of_two_objects_goes_to_the_larger_overlap():
    true = boxes_at((0, 0, 16, 8), (8, 0, 24, 8))
    boxes = boxes_at((0, 0, 16, 8), (6, 0, 24, 8), (8, 0, 24, 8), (0, 0, 1, 1))
    given = given_to([[0.5]] * 4, boxes, [0, 0], true)
    assert given.owner.tolist() == [0, 1, 1, -1]


def test_an_object_without_a_centre_gets_the_nearest_place_of_the_finest_level():
    true = boxes_at((13, 5, 15, 7))
    given = given_to([[0.5]] * 4, boxes_at(*[(0, 0, 8, 8)] * 4), [0], true)
    assert given.owner.tolist() == [-1, 0, -1, -1]
    assert given.target[1] > 0
    coarse = assign(
        torch.full((4, 1), 0.5), boxes_at(*[(0, 0, 8, 8)] * 4), POINTS,
        torch.tensor([8.0, 16.0, 8.0, 8.0]), torch.tensor([0]), true,
    )  # fmt: skip
    assert coarse.owner.tolist() == [-1, -1, 0, -1]


def test_without_objects_no_place_answers():
    given = given_to([[0.5]] * 4, boxes_at(*[(0, 0, 8, 8)] * 4), [], torch.zeros(0, 4))
    assert given.owner.tolist() == [-1] * 4
    assert given.target.sum() == 0
    with pytest.raises(InputError):
        Rule(places=0)


def test_overlaps_of_boxes_by_hand():
    one, same = boxes_at((0, 0, 2, 2)), boxes_at((0, 0, 2, 2))
    assert complete_overlap(one, same) == pytest.approx(1)
    # Side by side: no overlap; centres 2 apart, the box around both 4 x 2.
    assert complete_overlap(one, boxes_at((2, 0, 4, 2))) == pytest.approx(-4 / 20)
    # The same centre, 4 x 1 for 2 x 2: overlap 2 of 6, and the term of the aspect ratio.
    v = 4 / math.pi**2 * (math.atan(4) - math.atan(1)) ** 2
    wanted = 1 / 3 - v * v / (1 - 1 / 3 + v)
    assert complete_overlap(one, boxes_at((-1, 0.5, 3, 1.5))) == pytest.approx(wanted, abs=1e-5)
    assert plain_overlap(one, boxes_at((1, 1, 1, 1))) == 0


@given(st.lists(st.floats(0, 100), min_size=8, max_size=8))
def test_complete_overlap_is_no_more_than_the_plain_one(numbers):
    low, size = np.array(numbers).reshape(2, 2, 2)
    one, other = (torch.tensor(np.r_[a, a + b + 0.1], dtype=torch.float32)
                  for a, b in zip(low, size, strict=True))  # fmt: skip
    plain, whole = float(plain_overlap(one, other)), float(complete_overlap(one, other))
    assert -2 <= whole <= plain + 1e-5
    assert plain == pytest.approx(float(plain_overlap(other, one)), abs=1e-5)


@given(st.floats(0, BINS - 1.02), st.integers(0, 10**6))
def test_the_distribution_of_a_side_is_taught_between_two_whole_numbers(reach, seed):
    logits = torch.tensor(np.random.default_rng(seed).normal(size=BINS), dtype=torch.float32)
    low, log_p = int(reach), logits.log_softmax(0)
    wanted = -(log_p[low] * (low + 1 - reach) + log_p[low + 1] * (reach - low))
    found = distribution_loss(logits, torch.tensor(reach))
    assert float(found) == pytest.approx(float(wanted), abs=1e-4)


def test_the_least_loss_of_a_side_is_the_entropy_of_its_place():
    share = torch.tensor([0.3, 0.7])
    logits = torch.full((BINS,), -60.0)
    logits[4:6] = share.log()
    entropy = -(share * share.log()).sum()
    assert float(distribution_loss(logits, torch.tensor(4.7))) == pytest.approx(float(entropy))


def test_sides_are_distances_in_cells():
    reach = true_sides(POINTS[:1], STRIDES[:1], boxes_at((0, 0, 20, 400)))
    np.testing.assert_allclose(reach, [[0.5, 0.5, 2, BINS - 1 - 0.01]])


def test_masks_are_taught_within_their_box():
    prototypes = torch.zeros(32, 4, 4)
    prototypes[0], prototypes[1, :, 2:] = 1, 8
    masks = torch.zeros(1, 4, 4)
    masks[0, :2, :2] = 1
    owner, box = torch.tensor([0, 0]), boxes_at((0, 0, 8, 16))
    coefficients = torch.zeros(2, 32)
    coefficients[1, 0] = 2.0
    unsure, sure = mask_loss(coefficients, prototypes, owner, box, masks).tolist()
    assert unsure == pytest.approx(math.log(2))
    wanted = [F.softplus(torch.tensor(-2.0)), F.softplus(torch.tensor(2.0))]
    assert sure == pytest.approx(float(sum(wanted)) / 2, rel=1e-5)
    # What the second prototype says lies outside of the box.
    coefficients[0, 1] = 5.0
    again = mask_loss(coefficients, prototypes, owner, box, masks)[0]
    assert float(again) == pytest.approx(math.log(2))
    assert box_pixels(boxes_at((0.5, 1, 2.2, 1.1)), (3, 4))[0].tolist() == [
        [0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0],
    ]  # fmt: skip


def marked(*objects, side=32):
    masks = np.zeros((len(objects), side // 4, side // 4), np.float32)
    for mask, (_, left, top, right, bottom) in zip(masks, objects, strict=True):
        mask[top // 4 : bottom // 4, left // 4 : right // 4] = 1
    rows = np.array(objects, np.float32).reshape(-1, 5)
    return Marked(rows[:, 0].astype(np.int64), rows[:, 1:], masks)


def right_answer(one, side=32):
    """Answer whose loss is as low as it gets: the finest level knows everything."""
    cells = side // 8
    y, x = np.mgrid[:cells, :cells] * 8 + 4.0
    points = torch.tensor(np.stack([x.ravel(), y.ravel()], 1), dtype=torch.float32)
    strides = torch.full((len(points),), 8.0)
    sides = torch.full((1, len(points), 4, BINS), -40.0)
    classes = torch.full((1, len(points), 2), -12.0)
    coefficients = torch.zeros(1, len(points), 32)
    prototypes = torch.full((1, 32, side // 4, side // 4), -20.0)
    for k, (name, box, mask) in enumerate(zip(one.classes, one.boxes, one.masks, strict=True)):
        prototypes[0, k] = torch.tensor(40 * mask - 20)
        inside = ((points > torch.tensor(box[:2])) & (points < torch.tensor(box[2:]))).all(1)
        for i in torch.nonzero(inside)[:, 0].tolist():
            reach = true_sides(points[i : i + 1], strides[:1], torch.tensor(box)[None])[0]
            for s, r in enumerate(reach.tolist()):
                sides[0, i, s, int(r)] = math.log(max(1 - r % 1, 1e-9))
                sides[0, i, s, int(r) + 1] = math.log(max(r % 1, 1e-9))
            classes[0, i, name], coefficients[0, i, k] = 12.0, 1.0
    return Answer(sides, classes, coefficients, prototypes, points, strides)


def test_a_right_answer_has_no_loss_but_the_entropy_of_its_sides():
    one = marked((0, 0, 0, 16, 16), (1, 16, 16, 32, 32))
    answer = right_answer(one)
    found = YoloLoss().parts(answer, torch.from_numpy(pack([one])))
    assert float(found.classes) < 1e-3
    assert float(found.boxes) == pytest.approx(0, abs=1e-4)
    assert float(found.masks) < 1e-3
    wrong = marked((1, 0, 0, 16, 16), (1, 16, 16, 32, 32))
    other = YoloLoss().parts(answer, torch.from_numpy(pack([wrong])))
    assert float(other.classes) > 1


def test_an_image_without_objects_teaches_classes_alone():
    empty = marked()
    packed = torch.from_numpy(pack([empty, marked((0, 0, 0, 16, 16))]))
    assert packed.shape == (2, 1, 5 + 64)
    answer = right_answer(marked((0, 0, 0, 16, 16)))
    answer = Answer(*(p.clone().requires_grad_() for p in answer[:4]), *answer[4:])
    loss = YoloLoss()(answer, packed[:1])
    loss.backward()
    assert answer.classes.grad.abs().sum() > 0
    assert answer.sides.grad.abs().sum() == 0
    with pytest.raises(InputError):
        Marked(np.zeros(1, np.int64), np.zeros((2, 4), np.float32), np.zeros((1, 8, 8), np.float32))
