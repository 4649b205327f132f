"""Models by name: those that come with the package, and those in folders of the user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from layerscope.errors import UnreadableFile
from layerscope.models.card import ModelCard
from layerscope.models.file import read_model
from layerscope.models.shipped import SHIPPED, model_path


@dataclass(frozen=True)
class Shelved:
    """A model file that was looked at.

    Attributes
    ----------
    name : str
        What a command calls it: the name of a shipped one, else its path.
    path : Path
    card : ModelCard
    sha256 : str
    """

    name: str
    path: Path
    card: ModelCard
    sha256: str


def list_models(folders: Iterable[Path] = ()) -> tuple[list[Shelved], list[str]]:
    """List the shipped models and those in `folders`.

    Parameters
    ----------
    folders : iterable of Path
        Looked at without their subfolders.

    Returns
    -------
    models : list of Shelved
        By folder, then name.
    refused : list of str
        Why other ONNX files are not among them, one line each.
    """
    named = [(name, model_path(name)) for name in SHIPPED]
    files = [(n, p) for n, p in named if p.exists()]
    files += [(str(p), p) for folder in folders for p in sorted(folder.glob("*.onnx"))]
    models, refused = [], []
    for name, path in files:
        try:
            found = read_model(path)
        except UnreadableFile as reason:
            refused.append(str(reason))
        else:
            models.append(Shelved(name, path, found.card, found.sha256))
    return models, refused
