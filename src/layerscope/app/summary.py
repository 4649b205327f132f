"""What a log says of each image, without opening any: state, pixels per class, thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from layerscope.app.files import Thresholds
from layerscope.labelling.drawing import Box
from layerscope.labelling.edits import Edit
from layerscope.labelling.strokes import SCRIBBLES


@dataclass(frozen=True)
class ImageState:
    """What the log says of one image, without opening it.

    Attributes
    ----------
    state : str
        ``unlabelled``, ``painted``, ``imported`` or ``accepted``.
    scribbled, labelled : mapping of str to int
        Pixels per class.
    edits : int
        Of any kind.
    """

    state: str = "unlabelled"
    scribbled: Mapping[str, int] | None = None
    labelled: Mapping[str, int] | None = None
    edits: int = 0


@dataclass(frozen=True)
class Done:
    """What an edit did.

    Attributes
    ----------
    edit : Edit
    layer : str
    box : tuple of int
        Top, left, bottom, right of what may have changed.
    """

    edit: Edit
    layer: str
    box: Box


class Summary:
    """States and thresholds by the names of images.

    Attributes
    ----------
    states : dict of str to ImageState
    thresholds : dict of str to mapping
        Class to least probability.
    """

    def __init__(self) -> None:
        self.states: dict[str, ImageState] = {}
        self.thresholds: dict[str, Thresholds] = {}

    def note(self, edit: Edit) -> None:
        """Take in one more edit."""
        if edit.what == "classes":
            after = [str(name) for name, _ in edit.detail["after"]]
            self._rename(dict(zip(edit.detail["before"], after, strict=False)))
            return
        known = self.states.get(edit.image, ImageState())
        state = str(edit.detail.get("state", known.state))
        known = replace(known, state=state, edits=known.edits + 1)
        if edit.what == "thresholds":
            self.thresholds[edit.image] = dict(edit.detail["thresholds"])
        elif edit.detail.get("changed") == SCRIBBLES:
            known = replace(known, scribbled=edit.after)
        else:
            known = replace(known, labelled=edit.after)
        self.states[edit.image] = known

    def _rename(self, names: Mapping[str, str]) -> None:
        def renamed(of: Mapping[str, Any] | None) -> dict[str, Any]:
            return {names.get(name, name): value for name, value in (of or {}).items()}

        self.thresholds = {i: renamed(t) for i, t in self.thresholds.items()}
        self.states = {
            name: replace(s, scribbled=renamed(s.scribbled), labelled=renamed(s.labelled))
            for name, s in self.states.items()
        }
