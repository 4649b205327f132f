"""Ways to find flakes, by name: classical, a network, or both."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import Detections
from layerscope.errors import InputError, UnknownName
from layerscope.models.file import Model
from layerscope.models.shipped import open_model
from layerscope.ops.optical import Background
from layerscope.tasks.flakes import find_flakes
from layerscope.tasks.joined_flakes import join_detections
from layerscope.tasks.learned_flakes import check_model, find_flakes_learned

Finder = Callable[..., tuple[Detections, Background]]
"""Called as `tasks.flakes.find_flakes`: micrograph, substrate_level=, flat_field=, min_area_px=."""

CLASSICAL = "classical"
FINDERS = (CLASSICAL, "network", "both")
DEFAULT_MODEL = "flake-n"


def choose_finder(name: str, model: str | os.PathLike[str] | Model | None = None) -> Finder:
    """Return the finder called `name`.

    Parameters
    ----------
    name : str
        One of `FINDERS`.
    model : str, path or Model, optional
        Name of a shipped model or a model file; default the shipped `DEFAULT_MODEL`. Only for
        finders with a network.

    Raises
    ------
    UnknownName
        No such finder.
    InputError
        If a model was given to the classical finder, or it finds no flakes.
    """
    if name not in FINDERS:
        raise UnknownName.of("finder", name, FINDERS)
    if name == CLASSICAL:
        if model is not None:
            raise InputError("the classical finder takes no model; add --finder network or both")
        return find_flakes
    opened = model if isinstance(model, Model) else open_model(model or DEFAULT_MODEL)
    check_model(opened)
    if name == "network":
        return partial(_by_network, opened)
    return partial(find_flakes_jointly, opened)


def _by_network(
    model: Model, micrograph: Micrograph, **asked: Any
) -> tuple[Detections, Background]:
    found, background = find_flakes_learned(micrograph, model, **asked)
    return (model.judge.judged(found) if model.judge else found), background


def find_flakes_jointly(
    model: Model, micrograph: Micrograph, **asked: Any
) -> tuple[Detections, Background]:
    """Find flakes with both; the substrate is the classical finder's.

    Parameters
    ----------
    model : Model
    micrograph : Micrograph
    **asked
        As of `tasks.flakes.find_flakes`, without rules and binning.
    """
    classical, background = find_flakes(micrograph, **asked)
    known = {**asked, "substrate_level": background.level}
    learned, _ = find_flakes_learned(micrograph, model, **known)
    found = join_detections(classical, learned)
    return (model.judge.judged(found) if model.judge else found), background
