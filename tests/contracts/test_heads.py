"""What every layer head must do, whoever wrote it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from layerscope.core.results import UNKNOWN, LayerPosterior
from layerscope.errors import InputError, UnknownName, UnreadableFile
from layerscope.models import HEADS
from layerscope.models.heads import load_head
from layerscope.models.samples import Samples

pytestmark = pytest.mark.parametrize("name", sorted(HEADS))

LADDER = np.array([[-0.14, -0.14, -0.07], [-0.25, -0.26, -0.15], [-0.35, -0.37, -0.22]])


@pytest.fixture(scope="module")
def head_of():
    rng = np.random.default_rng(0)
    index = np.arange(120) % 3
    contrast = LADDER[index] + rng.normal(0, 0.01, (120, 3))
    samples = Samples.from_regions(
        contrast, np.full((120, 3), 0.002), index + 1, [f"chip {i % 5}" for i in range(120)]
    )
    made = {}

    def make(name):
        if name not in made:
            made[name] = HEADS[name].fit(samples)
        return made[name]

    return make


def test_answers_are_posteriors(head_of, name):
    head = head_of(name)
    assert head.name == name
    assert head.classes == (1, 2, 3) == head.card.classes
    rng = np.random.default_rng(1)
    contrast = np.vstack([LADDER, rng.uniform(-1, 1, (200, 3)), np.full((1, 3), np.nan)])
    got = head.predict(contrast, np.full(contrast.shape, 0.003), max_layers=6, layer_nm=0.335)
    assert isinstance(got, LayerPosterior)
    assert got.probability.shape == (204, 8)
    assert np.all(got.probability >= 0)
    np.testing.assert_allclose(got.probability.sum(1), 1, atol=1e-12)
    assert got.n_layers[:3].tolist() == [1, 2, 3]
    assert np.all(got.confidence[:3] > 0.9)
    assert got.n_layers[-1] == UNKNOWN
    np.testing.assert_allclose(got.thickness_nm[:3], 0.335 * np.arange(1, 4))
    assert all(
        bool(why) == (n == UNKNOWN) for why, n in zip(got.withheld, got.n_layers, strict=True)
    )
    assert np.isnan(head.predict(contrast, np.zeros_like(contrast)).thickness_nm).all()


def test_far_colours_are_unknown(head_of, name):
    far = np.random.default_rng(2).uniform(2, 1000, (100, 3)) * np.random.default_rng(3).choice(
        [-1, 1], (100, 3)
    )
    got = head_of(name).predict(far, np.full((100, 3), 0.01))
    assert np.all(got.n_layers == UNKNOWN)


def test_rows_do_not_touch_each_other(head_of, name):
    contrast = np.random.default_rng(4).uniform(-0.5, 0, (30, 3))
    se = np.full((30, 3), 0.004)
    head = head_of(name)
    whole = head.predict(contrast, se).probability
    order = np.random.default_rng(5).permutation(30)
    np.testing.assert_allclose(
        head.predict(contrast[order], se).probability, whole[order], atol=1e-12
    )
    one = np.vstack(
        [head.predict(c[None], s[None]).probability for c, s in zip(contrast, se, strict=True)]
    )
    np.testing.assert_allclose(one, whole, atol=1e-9)


def test_nothing_in_nothing_out(head_of, name):
    got = head_of(name).predict(np.zeros((0, 3)), np.zeros((0, 3)), layer_nm=0.335)
    assert len(got) == 0
    assert got.probability.shape == (0, 12)


def test_saved_and_read_again_it_is_the_same_bytes_and_answers(head_of, name, tmp_path):
    head = head_of(name)
    head.save(tmp_path / "one.json")
    again = load_head(tmp_path / "one.json")
    again.save(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert type(again) is type(head)
    contrast = np.random.default_rng(6).uniform(-0.5, 0, (50, 3))
    se = np.full((50, 3), 0.004)
    np.testing.assert_array_equal(
        again.predict(contrast, se).probability, head.predict(contrast, se).probability
    )


def test_a_changed_file_is_refused(head_of, name, tmp_path):
    head_of(name).save(tmp_path / "x.json")
    text = (tmp_path / "x.json").read_text("utf-8")
    assert '"classes": [1, 2, 3]' in text
    (tmp_path / "x.json").write_text(text.replace('"classes": [1, 2, 3]', '"classes": [2, 3, 4]'))
    with pytest.raises(UnreadableFile, match="changed or damaged"):
        load_head(tmp_path / "x.json")


def test_wrong_shapes_are_named(head_of, name):
    head = head_of(name)
    for contrast, se in [
        (np.zeros((4, 2)), np.zeros((4, 2))),
        (np.zeros(3), np.zeros(3)),
        (np.zeros((4, 3)), np.zeros((3, 3))),
        (np.zeros((4, 3)), np.full((4, 3), -0.1)),
    ]:
        with pytest.raises(InputError, match="contrast"):
            head.predict(contrast, se)


def test_the_list_of_heads_imports_nothing_heavy(name):
    code = (
        "import sys, layerscope.models as m; assert len(m.HEADS) >= 2;"
        f"m.HEADS[{name!r}];"
        "print(sorted({'torch', 'scipy', 'pandas', 'matplotlib', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(UnknownName, match=name):
        HEADS[name + "x"]
