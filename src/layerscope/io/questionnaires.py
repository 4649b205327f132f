"""Questionnaires by name or path: one TOML file each, those shipped under ``data``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from layerscope.core.categories import Questionnaire
from layerscope.errors import InputError, UnknownName, UnreadableFile

DEFAULT = "graphene-tem"

_SHIPPED = Path(__file__).parents[1] / "data" / "questionnaires"


def questionnaire_names() -> tuple[str, ...]:
    """Names of those that come with the package."""
    return tuple(sorted(p.stem for p in _SHIPPED.glob("*.toml")))


def read_questionnaire(name: str) -> Questionnaire:
    """Read a questionnaire.

    Parameters
    ----------
    name : str
        One of `questionnaire_names`, or the path of a TOML file of the same form.

    Raises
    ------
    UnknownName
        If it is neither.
    UnreadableFile
        If the file is no TOML.
    InputError
        If it holds no questionnaire.
    """
    path = questionnaire_path(name)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as reason:
        raise UnreadableFile(f"questionnaire {path}: {reason.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as reason:
        raise UnreadableFile(f"questionnaire {path}: no TOML ({reason})") from None
    try:
        return Questionnaire.from_mapping(content, path.stem)
    except InputError as reason:
        raise InputError(f"{path.name}: {reason}") from None


def questionnaire_path(name: str) -> Path:
    """Path of the file of a questionnaire; see `read_questionnaire`."""
    if name.endswith(".toml"):
        return Path(name)
    path = _SHIPPED / f"{name}.toml"
    if name not in questionnaire_names():
        raise UnknownName.of("questionnaire", name, questionnaire_names())
    return path
