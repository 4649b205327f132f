"""Names, and what they stand for when they are first asked for."""

import pytest

from layerscope.errors import UnknownName
from layerscope.registry import Registry

COLOURS = Registry("colour", {"red": "math:pi", "blue": "no_such_module:thing"})


def test_names_are_listed_without_importing():
    assert list(COLOURS) == ["red", "blue"]
    assert len(COLOURS) == 2
    assert "blue" in COLOURS
    assert "green" not in COLOURS


def test_an_object_is_imported_when_asked_for():
    assert COLOURS["red"] == pytest.approx(3.14159, abs=1e-4)
    with pytest.raises(ModuleNotFoundError):
        COLOURS["blue"]


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UnknownName, match="red"):
        COLOURS["green"]
