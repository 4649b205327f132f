"""The files of a labelling project, but for its log.

What each file is::

    classes.toml          names, values, colours
    images.json           names and paths of the images
    scribbles/<name>.png  what teaches the classifier: 0 not said, 1 to K the class
    labels/<name>.png     label pictures: 0 nobody knows, 1 to K the class
    pictures/<hash>.png   every label picture that was accepted or imported, as it was then
    model.onnx            the classifier of all strokes, when it was asked for
    model.thresholds.json least probabilities of classes, for all images and for one
    edits.jsonl           the log, from which scribbles and labels can be made again
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from layerscope.app.palette import PaintClass, paint_classes
from layerscope.errors import CannotWrite, InputError, UnreadableFile
from layerscope.io.annotated.output import png
from layerscope.io.atomic import write_bytes
from layerscope.labelling.scribbles import Labels

CLASSES, IMAGES, LOG, MODEL = "classes.toml", "images.json", "edits.jsonl", "model.onnx"
FOLDERS = ("scribbles", "labels", "pictures")


def make_folders(folder: Path) -> None:
    """Make the folder of a project.

    Raises
    ------
    CannotWrite
        If it cannot be made.
    """
    try:
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot write {folder}: {error.strerror}; choose another -o") from None


def read_classes(folder: Path) -> tuple[PaintClass, ...]:
    """Classes of a project; none where it is new."""
    content = _toml(folder / CLASSES)
    named, colours = content.get("classes", {}), content.get("colours", {})
    if not content:
        return ()
    if not isinstance(named, dict) or not isinstance(colours, dict):
        raise InputError(f"{folder / CLASSES}: expected [classes] with lines such as flake = 1")
    if sorted(named.values()) != list(range(1, len(named) + 1)):
        raise InputError(f"{folder / CLASSES}: expected the values 1 to {len(named)}, each once")
    names = sorted(named, key=lambda name: int(named[name]))
    shown = [str(colours[n]) for n in names] if all(n in colours for n in names) else []
    return paint_classes(names, shown)


def write_classes(folder: Path, classes: Sequence[PaintClass]) -> None:
    """Write ``classes.toml``, which also readers of label pictures understand."""
    lines = ["unlabelled = 0", "", "[classes]"]
    lines += [f"{_key(c.name)} = {c.value}" for c in classes]
    lines += ["", "[colours]", *(f'{_key(c.name)} = "{c.colour}"' for c in classes), ""]
    write_bytes(folder / CLASSES, "\n".join(lines).encode())


def read_images(folder: Path) -> list[tuple[str, Path]]:
    """Names and paths of the images of a project, in their order; empty where it is new.

    Raises
    ------
    UnreadableFile
        If the list is damaged.
    """
    path = folder / IMAGES
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text("utf-8"))["images"]
        return [(str(e["name"]), (folder / str(e["path"])).resolve()) for e in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(
            f"{path}: no list of images ({error}); name the images again"
        ) from None


def write_images(folder: Path, images: Sequence[tuple[str, Path]]) -> None:
    """Write the list of images; paths are relative, so that both can be moved together."""
    entries = [{"name": name, "path": _relative(path, folder)} for name, path in images]
    document = {"version": 1, "images": entries}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    write_bytes(folder / IMAGES, (text + "\n").encode("utf-8", "surrogateescape"))


def read_labels(path: Path) -> Labels:
    """Label picture (H, W) of 8 bits.

    Raises
    ------
    UnreadableFile
        If it is none.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UnreadableFile(f"cannot read {path}: {error.strerror}") from None
    labels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
        raise UnreadableFile(f"{path}: no label picture of 8 bits")
    return np.asarray(labels, np.uint8)


def write_labels(path: Path, labels: Labels) -> None:
    """Write a label picture, whole or not at all."""
    write_bytes(path, png(labels))


class PictureStore:
    """Label pictures by the hash of their files: what was accepted stays what it was.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def keep(self, labels: Labels) -> str:
        """Write a label picture and return its hash."""
        content = png(labels)
        name = hashlib.sha256(content).hexdigest()
        path = self._folder / f"{name}.png"
        if not path.exists():
            write_bytes(path, content)
        return name

    def __call__(self, name: str) -> Labels:
        """Label picture of a hash.

        Raises
        ------
        UnreadableFile
            If it is missing or was changed.
        """
        if not name.isalnum():
            raise UnreadableFile(f"{name!r} is no hash of a label picture")
        path = self._folder / f"{name}.png"
        labels = read_labels(path)
        if hashlib.sha256(path.read_bytes()).hexdigest() != name:
            raise UnreadableFile(f"{path}: was changed after it was accepted")
        return labels


def _relative(path: Path, folder: Path) -> str:
    try:
        return os.path.relpath(path.resolve(), folder.resolve())
    except ValueError:  # another drive
        return str(path.resolve())


def _key(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path}: no TOML ({error})") from None
