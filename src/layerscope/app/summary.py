"""What a log says of each image, without opening any: state, pixels per class, thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from layerscope.labelling.drawing import Box
from layerscope.labelling.edits import Edit
from layerscope.labelling.strokes import SCRIBBLES
from layerscope.labelling.thresholds import Thresholds

_LEAST = 0.01
"""Least threshold: with up to nine classes the most probable one always reaches it. Logs of earlier
versions have 0, where nothing was set."""


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
    thresholds : Thresholds
        What `layerscope classify` goes by, too.
    """

    def __init__(self) -> None:
        self.states: dict[str, ImageState] = {}
        self.thresholds = Thresholds()

    def note(self, edit: Edit) -> None:
        """Take in one more edit."""
        if edit.what == "classes":
            after = [str(name) for name, _ in edit.detail["after"]]
            self._rename(dict(zip(edit.detail["before"], after, strict=False)))
            return
        if edit.what == "thresholds":
            self._set(edit.image, edit.detail["thresholds"])
        if not edit.image:
            return
        known = self.states.get(edit.image, ImageState())
        state = str(edit.detail.get("state", known.state))
        known = replace(known, state=state, edits=known.edits + 1)
        counted = edit.detail.get("changed")
        if counted == SCRIBBLES:
            known = replace(known, scribbled=edit.after)
        elif counted:
            known = replace(known, labelled=edit.after)
        self.states[edit.image] = known

    def _set(self, image: str, told: Mapping[str, float]) -> None:
        """Thresholds of one image; without a name those of all, also of images that had others."""
        values = {name: max(float(value), _LEAST) for name, value in told.items()}
        if not image:
            self.thresholds = replace(self.thresholds, of_class=values, of_image={})
            return
        of_image = {(image.casefold(), name): value for name, value in values.items()}
        self.thresholds = replace(
            self.thresholds, of_image={**self.thresholds.of_image, **of_image}
        )

    def _rename(self, names: Mapping[str, str]) -> None:
        def renamed(of: Mapping[str, Any] | None) -> dict[str, Any]:
            return {names.get(name, name): value for name, value in (of or {}).items()}

        known = self.thresholds
        of_image = {(i, names.get(n, n)): v for (i, n), v in known.of_image.items()}
        self.thresholds = replace(known, of_class=renamed(known.of_class), of_image=of_image)
        self.states = {
            name: replace(s, scribbled=renamed(s.scribbled), labelled=renamed(s.labelled))
            for name, s in self.states.items()
        }
