"""Models that come with the package."""

from __future__ import annotations

import os
from functools import cache
from importlib import resources
from pathlib import Path

from layerscope.errors import UnknownName
from layerscope.models.file import Model, read_model

SHIPPED = ("flake-n", "film-n", "phases-tem")
"""Names that stand for a file of the package wherever a model file is asked for."""


def model_path(name: str | os.PathLike[str]) -> Path:
    """Path of a shipped model, or `name` itself if it is a path.

    Raises
    ------
    UnknownName
        If it is neither.
    """
    text = os.fspath(name)
    if text in SHIPPED:
        return Path(str(resources.files("layerscope") / "data" / "models" / f"{text}.onnx"))
    if Path(text).suffix or Path(text).exists():
        return Path(text)
    raise UnknownName.of("model", text, SHIPPED)


@cache
def _opened(name: str, threads: int) -> Model:
    return read_model(model_path(name), threads=threads)


def open_model(name: str | os.PathLike[str], *, threads: int = 1) -> Model:
    """Open a shipped model by its name, once per process, or a file by its path.

    Parameters
    ----------
    name : str or path
        One of `SHIPPED`, or a file.
    threads : int
        As in `models.file.read_model`.
    """
    if os.fspath(name) in SHIPPED:
        return _opened(os.fspath(name), threads)
    return read_model(model_path(name), threads=threads)
