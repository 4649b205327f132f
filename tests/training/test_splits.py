"""Splits never part a group, and depend on the seed and on nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError
from layerscope.training.splits import grouped_folds, hold_out

GROUPS = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60)


@settings(max_examples=80, deadline=None)
@given(GROUPS, st.integers(0, 99), st.data())
def test_folds_cover_all_once_and_never_part_a_group(groups, seed, data):
    names = sorted(set(groups))
    if len(names) < 2:
        with pytest.raises(InputError, match="expected 2 to 1"):
            grouped_folds(groups, 2, seed)
        return
    n = data.draw(st.integers(2, len(names)))
    folds = grouped_folds(groups, n, seed)
    assert len(folds) == n
    tested = np.concatenate([test for _, test in folds])
    assert sorted(tested.tolist()) == list(range(len(groups)))
    for train, test in folds:
        assert len(test)
        assert len(train)
        assert not {groups[i] for i in train} & {groups[i] for i in test}


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.integers(0, 99), st.floats(0.05, 0.95), st.randoms(use_true_random=False))
def test_order_of_examples_does_not_matter(groups, seed, share, random):
    if len(set(groups)) < 2:
        return
    order = list(range(len(groups)))
    random.shuffle(order)
    mixed = [groups[i] for i in order]
    one = {groups[i] for i in hold_out(groups, share, seed)[1]}
    assert one == {mixed[i] for i in hold_out(mixed, share, seed)[1]}
    whole = [{groups[i] for i in t} for _, t in grouped_folds(groups, 2, seed)]
    assert whole == [{mixed[i] for i in t} for _, t in grouped_folds(mixed, 2, seed)]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.floats(0.05, 0.95), st.integers(0, 99))
def test_hold_out_keeps_its_share_when_groups_are_single(n, share, seed):
    train, test = hold_out([f"g{i}" for i in range(n)], share, seed)
    assert len(train) + len(test) == n
    assert min(len(train), len(test)) >= 1
    wanted = min(max(share * n, 1), n - 1)
    assert abs(len(test) - wanted) <= 0.5 + 1e-9


def test_folds_are_as_equal_as_groups_allow():
    groups = ["a"] * 10 + ["b"] * 6 + ["c"] * 4 + ["d"] * 5 + ["e"] * 5
    assert [len(t) for _, t in grouped_folds(groups, 3, 0)] == [10, 10, 10]


def test_seeds_differ():
    groups = [f"g{i}" for i in range(20)]
    assert len({tuple(hold_out(groups, 0.3, s)[1]) for s in range(10)}) > 5


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_impossible_shares_are_refused(share):
    with pytest.raises(InputError, match="share"):
        hold_out(["a", "b"], share)


def test_one_group_cannot_be_held_out():
    with pytest.raises(InputError, match=r"groups\.csv"):
        hold_out(["a", "a"], 0.5)
