"""One file per head: what a broken, changed or foreign one says; and how answers are arranged."""

from __future__ import annotations

import contextlib
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.results import THICK, UNKNOWN
from layerscope.errors import InputError, UnknownName, UnreadableFile
from layerscope.models.amm import AmmHead
from layerscope.models.gmm import GmmHead
from layerscope.models.heads import HeadCard, layer_posterior, load_head, write_head
from layerscope.models.network import Schedule


@pytest.fixture(scope="module")
def saved(tmp_path_factory, regions):
    folder = tmp_path_factory.mktemp("heads")
    samples = regions(2, 30, 1)
    GmmHead.fit(samples, description={"material": "graphène, 90 nm"}).save(folder / "gmm.json")
    AmmHead.fit(samples, schedule=Schedule(40, 60)).save(folder / "amm.json")
    return folder


def _signed(document):
    """What someone does who changes a file and signs it again."""
    body = {k: v for k, v in document.items() if k != "sha256"}
    text = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return json.dumps(body | {"sha256": hashlib.sha256(text.encode()).hexdigest()})


def test_the_file_is_readable_json_with_a_card(saved):
    document = json.loads((saved / "gmm.json").read_text("utf-8"))
    assert document["card"]["classes"] == [1, 2, 3, 4, 5]
    assert document["card"]["channels"] == ["R", "G", "B"]
    assert document["card"]["training"]["material"] == "graphène, 90 nm"
    assert set(document["card"]["thresholds"]) == {
        "gate", "temperature", "wrong_rate", "outlier_rate"
    }  # fmt: skip
    assert len(document["arrays"]["mean"]) == 5
    assert (saved / "amm.json").stat().st_size < 120_000


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 127))
def test_any_changed_byte_is_noticed(saved, at, flip):
    raw = bytearray((saved / "gmm.json").read_bytes().rstrip(b"\n"))
    raw[int(at * len(raw))] ^= flip
    path = saved / "changed.json"
    path.write_bytes(raw)
    with contextlib.suppress(UnreadableFile):
        # Only white space between tokens, which carries nothing, may be read.
        load_head(path).save(saved / "again.json")
        assert (saved / "again.json").read_bytes() == (saved / "gmm.json").read_bytes()


@pytest.mark.parametrize("kind", ["gmm", "amm"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["arrays"].pop("mean"), "malformed"),
        (lambda d: d["arrays"].update(mean=[[1, 2], [3]]), "malformed"),
        (lambda d: d["arrays"].update(mean=[1, 2, 3]), "array mean"),
        (lambda d: d["arrays"].update(mean=d["arrays"]["mean"][:-1]), "expected finite"),
        (lambda d: d["arrays"].update(prior="abc"), "malformed"),
        (lambda d: d["arrays"].update(prior=[-1.0] * len(d["arrays"]["prior"])), "prior"),
        (lambda d: d["arrays"].update(covariance=(-np.array(d["arrays"]["covariance"])).tolist()),
         "positive definite"),
        (lambda d: d["card"].update(classes=[1, 2]), "card"),
        (lambda d: d["arrays"].update(labels=[k + 0.5 for k in d["arrays"]["labels"]]), "card"),
        (lambda d: d["arrays"].update(prior=[10**400] * 2), "malformed"),
        (lambda d: d["card"].update(channels=["B", "G", "R"]), "channels"),
        (lambda d: d["card"].update(task="phases"), "task"),
        (lambda d: d["card"].update(classes=[0.5]), "classes"),
        (lambda d: d["card"].update(classes=[]), "classes"),
        (lambda d: d["card"].update(colour="red"), "malformed"),
        (lambda d: d["card"]["thresholds"].update(temperature=0.0), "thresholds"),
        (lambda d: d["card"]["thresholds"].update(wrong_rate=1.5), "thresholds"),
        (lambda d: d["card"].update(thresholds={}), "thresholds"),
        (lambda d: d["card"].update(thresholds=3), "thresholds"),
        (lambda d: d.update(card=[]), "malformed"),
        (lambda d: d.update(arrays=None), "malformed"),
        (lambda d: d.update(version=2), "version 2"),
        (lambda d: d.update(format="other"), "not a head file"),
        (lambda d: d.update(head=7), "changed or damaged"),
    ],
)  # fmt: skip
def test_signed_nonsense_is_refused_too(saved, tmp_path, kind, change, said):
    document = json.loads((saved / f"{kind}.json").read_text("utf-8"))
    change(document)
    path = tmp_path / "head.json"
    path.write_text(_signed(document), "utf-8")
    with pytest.raises(UnreadableFile, match=said) as caught:
        load_head(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b"\x80\x04\x95pickle",
        b'{"a": NaN}',
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, raw):
    path = tmp_path / "x.json"
    path.write_bytes(raw)
    with pytest.raises(UnreadableFile, match="not a head file") as caught:
        load_head(path)
    assert "\n" not in str(caught.value)


def test_missing_and_foreign_heads_are_named(saved, tmp_path):
    with pytest.raises(UnreadableFile, match="no such head"):
        load_head(tmp_path / "none.json")
    with pytest.raises(UnreadableFile, match="'gmm' head, expected 'amm'"):
        AmmHead.load(saved / "gmm.json")
    write_head(tmp_path / "f.json", "gmn", HeadCard((1,)), {})
    with pytest.raises(UnknownName, match="gmm"):
        load_head(tmp_path / "f.json")


def test_numbers_that_json_has_not_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be kept"):
        write_head(tmp_path / "x.json", "gmm", HeadCard((1,)), {"mean": [np.nan]})
    assert not (tmp_path / "x.json").exists()


def test_answers_are_arranged_by_column():
    probability = np.array([[0.1, 0.8, 0.05], [0.02, 0.03, 0.9], [0.7, 0.1, 0.1], [0, 0, 0]])
    outlier = 1 - probability.sum(1)
    got = layer_posterior(probability, outlier, (0, 2, 9), max_layers=3, layer_nm=0.7)
    np.testing.assert_allclose(got.probability.sum(1), 1)
    np.testing.assert_allclose(got.probability[0], [0, 0.8, 0, 0.05, 0.15], atol=1e-12)
    assert got.n_layers.tolist() == [2, THICK, UNKNOWN, UNKNOWN]
    assert got.withheld == (
        "", "", "colour of the bare substrate", "colour of no labelled class"
    )  # fmt: skip
    np.testing.assert_allclose(got.thickness_nm, [1.4, np.nan, np.nan, np.nan])
    assert got.branches_nm == (((1.4, 1.4, 1.0),), (), (), ())
    np.testing.assert_allclose(got.confidence, [0.8, 0.9, 0.8, 1.0])


def test_thickness_lists_every_number_the_colour_allows():
    got = layer_posterior(
        np.array([[0.005, 0.295, 0.6, 0.06]]), np.array([0.04]), (1, 2, 3, 4), layer_nm=0.335
    )
    assert got.n_layers.tolist() == [3]
    assert (got.thickness_low_nm[0], got.thickness_high_nm[0]) == pytest.approx((0.67, 1.34))
    thickness, weight = zip(*[(low, w) for low, _, w in got.branches_nm[0]], strict=True)
    assert thickness == pytest.approx((3 * 0.335, 2 * 0.335, 4 * 0.335))
    assert weight == pytest.approx(np.array([0.6, 0.295, 0.06]) / 0.96)
    without = layer_posterior(np.array([[1.0]]), np.zeros(1), (1,))
    assert np.isnan(without.thickness_nm[0])
    with pytest.raises(InputError, match="max_layers"):
        layer_posterior(np.array([[1.0]]), np.zeros(1), (1,), max_layers=0)
