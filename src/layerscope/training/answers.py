"""Who is examined: a model file, or the folder that a finished run left behind."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.evaluation import Answer, Objects
from layerscope.core.examples import ClassPixels, Example
from layerscope.core.results import IntArray
from layerscope.errors import CardMissing, InputError, UnreadableFile
from layerscope.io.annotations import AnnotatedImage, read_coco
from layerscope.training.seen import Seen

if TYPE_CHECKING:
    from layerscope.models.file import Model
    from layerscope.models.yolo import YoloModel

BACKGROUND = "background"

_LEAST_PX = 200  # as in a run without --min-area

_Found = TypeVar("_Found")


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something that answers for images.

    Attributes
    ----------
    name : str
    classes : tuple of str
        Its own; ``classes[0]`` is the background.
    ask : callable
        Takes an `Example`, returns an `Answer` in its own classes, or raises a `LayerscopeError`
        that says why there is none.
    notes : tuple of str
    provenance : mapping
    seen : Seen
        Images that it learned from, as far as its card says.
    """

    name: str
    classes: tuple[str, ...]
    ask: Callable[[Example], Answer]
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)


def open_candidate(path: str | os.PathLike[str]) -> Candidate:
    """Open a model file, a shipped model by its name, or the folder of a run.

    Raises
    ------
    UnreadableFile
        If it is neither, or damaged.
    UnknownName
        If it is no path and no shipped model.
    """
    source = Path(path)
    if source.is_dir():
        return candidate_of_run(source)
    from layerscope.models.shipped import open_model
    from layerscope.models.yolo import read_yolo

    try:
        model = open_model(path)
    except CardMissing:
        return candidate_of_objects(read_yolo(source))
    return candidate_of_model(model)


def candidate_of_model(model: Model) -> Candidate:
    """Let a model answer."""
    card = model.card
    provenance = {
        "model": card.name,
        "model_sha256": model.sha256,
        "network": card.network,
        "metrics": dict(card.metrics),
    }
    if card.output == "answers":
        raise InputError(
            f"model {card.name!r} answers questions about whole images; its card has its held-out "
            "scores: layerscope models show"
        )
    if card.output == "objects":
        from layerscope.models.yolo import read_yolo

        return candidate_of_objects(read_yolo(model.path))
    seen = Seen.of_card(asdict(card))
    if card.output == "instances":
        ask = partial(_find_flakes, model)
        return Candidate(card.name, (BACKGROUND, "flake"), ask, (), provenance, seen)
    classes = card.classes if card.output == "classes" else (BACKGROUND, *card.classes)
    answers = {"classes": _classified, "labels": _labelled, "fraction": _covered}
    read = answers[card.output]

    def classify(example: Example) -> Answer:
        maps = model.predict(example.read_image(), example.pixel_size_nm)
        return read(maps, card.thresholds, card.classes)

    return Candidate(card.name, classes, classify, (), provenance, seen)


def candidate_of_objects(model: YoloModel) -> Candidate:
    """Let a network of objects answer, as sure as its scores say."""
    card = model.card
    provenance: dict[str, Any] = {"model": model.name, "model_sha256": model.sha256}
    if card is not None:
        provenance |= {"network": card.network, "metrics": dict(card.metrics)}
    seen = Seen() if card is None else Seen.of_card(asdict(card))

    def ask(example: Example) -> Answer:
        return Answer(model.find(example.read_image()))

    return Candidate(model.name, (BACKGROUND, *model.classes), ask, (), provenance, seen)


def _find_flakes(model: Model, example: Example) -> Answer:
    """Ask the whole finder, as a run does: background, network, rules."""
    from layerscope.core.micrograph import Micrograph
    from layerscope.tasks.learned_flakes import find_flakes_learned

    image = example.read_image()
    pixels = image[..., 0] if image.shape[2] == 1 else image
    white = 255.0 if pixels.dtype == np.uint8 else 1.0
    found, _ = find_flakes_learned(
        Micrograph(pixels, name=example.name, white_level=white), model, min_area_px=_LEAST_PX
    )
    ones = np.ones(len(found), np.int64)
    return Answer(Objects.found(found.masks, ones, np.clip(found.score, 0, 1)))


def keep_classes(candidate: Candidate, names: Sequence[str]) -> Candidate:
    """Let only some classes of a candidate count; the others become background.

    Raises
    ------
    InputError
        If it has no class of that name.
    """
    lost = [n for n in names if n not in candidate.classes[1:]]
    if lost:
        known = ", ".join(candidate.classes[1:])
        raise InputError(f"{candidate.name} has no class {lost[0]!r}; expected some of {known}")
    kept = [i for i, name in enumerate(candidate.classes) if i and name in names]
    table = np.zeros(256, np.uint8)
    table[kept], table[255] = range(1, len(kept) + 1), 255

    def ask(example: Example) -> Answer:
        answer = candidate.ask(example)
        labels = None if answer.labels is None else table[answer.labels]
        objects = answer.objects
        if objects is not None:
            rows = np.flatnonzero(np.isin(objects.class_index, kept))
            objects = renumber(objects.take(rows), table)
        return Answer(objects, labels, None, answer.fraction)

    classes = (candidate.classes[0], *(candidate.classes[i] for i in kept))
    return replace(candidate, classes=classes, ask=ask)


_Maps = npt.NDArray[np.float32]
_Cuts = Mapping[str, float]


def _classified(maps: _Maps, cuts: _Cuts, names: Sequence[str]) -> Answer:
    return Answer(labels=maps.argmax(axis=-1).astype(np.uint8), probability=maps)


def _labelled(maps: _Maps, cuts: _Cuts, names: Sequence[str]) -> Answer:
    """Each pixel takes the map that is furthest above its threshold."""
    over = maps - np.array([cuts.get(name, 0.5) for name in names], np.float32)
    labels = np.where(over.max(axis=-1) >= 0, over.argmax(axis=-1) + 1, 0)
    return Answer(labels=labels.astype(np.uint8))


def _covered(maps: _Maps, cuts: _Cuts, names: Sequence[str]) -> Answer:
    return Answer(fraction=float(maps[..., 0].mean()))


def candidate_of_run(folder: Path) -> Candidate:
    """Let the folder of a finished run answer: its objects, or its pictures of classes.

    Raises
    ------
    UnreadableFile
        If the folder holds neither.
    """
    if (folder / "annotations.coco.json").is_file():
        return _from_coco(folder)
    for pictures, names in (("classes", _phase_names), ("masks", _layer_names)):
        if (folder / pictures).is_dir() and (folder / "run.json").is_file():
            return _from_pictures(folder, folder / pictures, names(folder))
    raise UnreadableFile(
        f"{folder}: no run of layerscope; expected annotations.coco.json, classes/ or masks/ in it"
    )


def _from_coco(folder: Path) -> Candidate:
    images = read_coco(folder / "annotations.coco.json")
    names = sorted({name for image in images for name in image.classes})
    by_stem = _by_stem([(image.file_name, image) for image in images])
    unscored = any(np.isnan(image.score).any() for image in images)
    notes = ("objects without a score count as certain",) if unscored else ()

    def ask(example: Example) -> Answer:
        found = _look_up(by_stem, example)
        return Answer(_objects(found, {name: i for i, name in enumerate(names, 1)}))

    return Candidate(folder.name, (BACKGROUND, *names), ask, notes, *_origin(folder))


def _objects(found: AnnotatedImage, index: Mapping[str, int]) -> Objects:
    classes = np.array([index[name] for name in found.classes], np.int64)
    return Objects.found(found.masks, classes, np.nan_to_num(found.score, nan=1.0))


def _from_pictures(folder: Path, pictures: Path, classes: tuple[str, ...]) -> Candidate:
    by_stem = _by_stem([(p.name, p) for p in sorted(pictures.glob("*.png"))])

    def ask(example: Example) -> Answer:
        return Answer(labels=_read_picture(_look_up(by_stem, example)))

    return Candidate(folder.name, classes, ask, (), *_origin(folder))


def _by_stem(named: Sequence[tuple[str, _Found]]) -> dict[str, list[_Found]]:
    out: dict[str, list[_Found]] = {}
    for name, found in named:
        out.setdefault(Path(name).stem.casefold(), []).append(found)
    return out


def _look_up(by_stem: Mapping[str, list[_Found]], example: Example) -> _Found:
    found = by_stem.get(example.path.stem.casefold(), [])
    if len(found) != 1:
        why = "not in this run" if not found else f"{len(found)} images of this name in the run"
        raise InputError(f"{example.path.name}: {why}")
    return found[0]


def _read_picture(path: Path) -> ClassPixels:
    try:
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as reason:
        raise UnreadableFile(f"{path}: {reason}") from None
    if pixels is None or pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise UnreadableFile(f"{path}: expected a grey picture of classes, 8 bit")
    return np.asarray(pixels, np.uint8)


def _phase_names(folder: Path) -> tuple[str, ...]:
    """Names of the classes by the value of their pixels, as the table of areas has them."""
    named = {int(row["value"]): row["class"] for row in _rows(folder / "areas.csv")}
    if sorted(named) != list(range(len(named))):
        raise UnreadableFile(
            f"{folder / 'areas.csv'}: values {sorted(named)}; expected 0, 1, 2 ..."
        )
    return tuple(named[i] for i in range(len(named)))


def _layer_names(folder: Path) -> tuple[str, ...]:
    """Layers by number; as many as any image of the run has."""
    column = [row.get("layers_max", "") for row in _rows(folder / "images.csv")]
    most = max((int(float(text)) for text in column if text not in ("", "nan")), default=1)
    return (BACKGROUND, *(f"{n}L" for n in range(1, max(1, most) + 1)))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, ValueError, csv.Error) as reason:
        raise UnreadableFile(f"{path}: {reason}") from None


def _origin(folder: Path) -> tuple[dict[str, Any], Seen]:
    """Provenance of a run, and what the card in it says of the images that taught its model."""
    try:
        document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}, Seen()
    told = document.get("provenance", {}) if isinstance(document, dict) else {}
    card = told.get("model") if isinstance(told, dict) else None
    return {"run": told}, Seen.of_card(card) if isinstance(card, dict) else Seen()


@dataclass(frozen=True)
class ClassMatch:
    """The classes of both sides in one list.

    Attributes
    ----------
    classes : tuple of str
        Those of the labels, then what only the candidate knows.
    truth, found : ndarray of uint8, (256,)
        Index in `classes` of each side's own class; 255 stays.
    notes : tuple of str
    """

    classes: tuple[str, ...]
    truth: npt.NDArray[np.uint8]
    found: npt.NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def match_classes(
    truth: Sequence[str], found: Sequence[str], *, ignore_classes: bool = False
) -> ClassMatch:
    """Bring the classes of labels and answers together by their names.

    Without a common name, equally many classes are taken in their order, and otherwise all count
    as one class; a note says so.

    Parameters
    ----------
    truth, found : sequence of str
        The first is the background.
    ignore_classes : bool
        Whether to count all classes but the background as one.
    """
    own, other = (
        [n.strip().casefold() for n in truth[1:]],
        [n.strip().casefold() for n in found[1:]],
    )
    first = [names[0].strip().casefold() for names in (truth, found)]
    if not ignore_classes and first[0] != first[1] and {first[0], *own} == {first[1], *other}:
        place = {name: i for i, name in enumerate([first[0], *own])}
        turned = _table([place[n] for n in other])
        turned[0] = place[first[1]]
        return ClassMatch(tuple(truth), _table(range(1, len(own) + 1)), turned)
    if ignore_classes or (not set(own) & set(other) and len(own) != len(other)):
        why = "" if ignore_classes else f"; {', '.join(found[1:])} is none of the labelled classes"
        one = _table([1] * len(own)), _table([1] * len(other))
        return ClassMatch((BACKGROUND, "object"), *one, (f"all classes count as one{why}",))
    if not set(own) & set(other):
        pairs = ", ".join(f"{b} = {a}" for a, b in zip(truth[1:], found[1:], strict=True))
        note = () if len(own) == 0 else (f"classes taken in their order: {pairs}",)
        same = _table(range(1, len(own) + 1))
        return ClassMatch(tuple(truth), same, same, note)
    extra = [i for i, name in enumerate(other) if name not in own]
    place = {name: i for i, name in enumerate([*own, *(other[i] for i in extra)], 1)}
    classes = (*truth, *(found[1 + i] for i in extra))
    notes = tuple(f"{found[1 + i]}: nothing is labelled so" for i in extra)
    return ClassMatch(
        classes, _table([place[n] for n in own]), _table([place[n] for n in other]), notes
    )


def _table(values: Sequence[int]) -> npt.NDArray[np.uint8]:
    out = np.full(256, 255, np.uint8)
    out[0] = 0
    out[1 : len(values) + 1] = values
    return out


def renumber(objects: Objects, table: npt.NDArray[np.uint8]) -> Objects:
    """Give objects the classes of a `ClassMatch`."""
    index: IntArray = table[objects.class_index].astype(np.int64)
    return Objects(objects.masks, index, objects.score, objects.crowd, objects.outlined)
