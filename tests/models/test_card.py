"""The card of a model: JSON and back, and what it refuses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.errors import InputError, UnreadableFile
from layerscope.models.card import VERSION, ModelCard, TrainingSet

CARD = ModelCard(
    "hBN on 90 nm",
    "phases",
    "labels",
    ("bare", "film"),
    channels=1,
    normalisation="contrast",
    pixel_size_nm=(100.0, 400.0),
    stride=32,
    margin_px=157,
    thresholds={"film": 0.4},
    network="light-n",
    parameters=154_691,
    trained_on=(TrainingSet("hBN", "CC-BY-4.0", "A. Author", 12, 4),),
    metrics={"iou": 0.81, "iou by class": {"bare": 0.9}},
    settings={"steps": 100, "loss": "bce+dice"},
    made_with={"torch": "2.13.0"},
)


def altered(**fields):
    return json.dumps({**json.loads(CARD.to_json()), **fields})


def test_json_and_back():
    assert ModelCard.from_json(CARD.to_json()) == CARD


def test_the_same_card_is_the_same_text():
    turned = ModelCard(**{k: getattr(CARD, k) for k in reversed(CARD.__dataclass_fields__)})
    assert turned.to_json() == CARD.to_json()


def test_fields_of_later_cards_of_this_version_are_ignored():
    assert ModelCard.from_json(altered(colour="blue")) == CARD


def test_a_newer_version_is_refused():
    with pytest.raises(UnreadableFile, match=f"version {VERSION + 1}"):
        ModelCard.from_json(altered(version=VERSION + 1))


@pytest.mark.parametrize(
    "fields",
    [
        {"task": "weather"},
        {"output": "text"},
        {"classes": []},
        {"classes": ["a", "a"]},
        {"classes": 3},
        {"channels": 9},
        {"channels": "three"},
        {"stride": 0},
        {"margin_px": -1},
        {"tile_px": 8},
        {"pixel_size_nm": [2.0, 1.0]},
        {"pixel_size_nm": [0.0, 1.0]},
        {"pixel_size_nm": [1.0]},
        {"thresholds": {"cat": 0.5}},
        {"thresholds": {"film": 7}},
        {"trained_on": [{"place": "here"}]},
        {"precision": "int8"},
        {"input": "sound"},
        {"features": "all"},
        {"normalisation": "magic"},
    ],
)
def test_what_cannot_be_is_refused(fields):
    with pytest.raises(UnreadableFile, match="cannot be used"):
        ModelCard.from_json(altered(**fields))


@given(st.text(max_size=60))
def test_any_text_is_a_card_or_refused(text):
    with pytest.raises(UnreadableFile):
        ModelCard.from_json(text)


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(InputError, match="finite"):
        ModelCard("a", "phases", "classes", ("b",), metrics={"iou": float("nan")}).to_json()
    with pytest.raises(InputError, match="expected"):
        ModelCard("a", "phases", "classes", ("b",), settings={"f": print}).to_json()
