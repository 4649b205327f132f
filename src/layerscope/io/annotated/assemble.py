"""From what a reader found to a data set: numbers of classes, names, groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from layerscope.core.examples import MOST_CLASSES, DataSet, Example, Instance
from layerscope.errors import InputError
from layerscope.io.annotated.draft import Draft, Drafts, Mark, Request
from layerscope.io.annotated.groups import group_images
from layerscope.io.annotated.images import read_pixels


def assemble(found: Drafts, request: Request, group_pattern: str | None = None) -> DataSet:
    """Return the data set of `found`: classes numbered, images named and grouped.

    Parameters
    ----------
    found : Drafts
    request : Request
        Its notes become those of the data set.
    group_pattern : str, optional
        See `groups.group_images`.

    Raises
    ------
    InputError
        If no image is left, or there are too many classes.
    """
    drafts = _unique(found.images, request)
    if not drafts:
        why = f" First: {request.notes[0]}" if request.notes else ""
        raise InputError(f"{request.path}: no labelled image in it.{why}")
    classes = _classes(found, drafts)
    number = {name: i for i, name in enumerate(classes)}
    names = _names(drafts, request.images.root)
    drafts = sorted(drafts, key=lambda d: names[d.path])
    named = [names[d.path] for d in drafts]
    grouping = group_images(named, [d.split for d in drafts], request.root, group_pattern)
    examples = tuple(
        _example(draft, name, group, split, number)
        for draft, name, group, split in zip(
            drafts, named, grouping.groups, grouping.splits, strict=True
        )
    )
    notes = tuple(dict.fromkeys([*request.notes, *grouping.notes]))
    return DataSet(examples, classes, notes, grouping.source)


def _unique(drafts: Sequence[Draft], request: Request) -> list[Draft]:
    kept: dict[str, Draft] = {}
    for draft in drafts:
        if str(draft.path) in kept:
            request.notes.append(f"{draft.path.name}: labelled twice, the second time skipped")
        kept.setdefault(str(draft.path), draft)
    return list(kept.values())


def _names(drafts: Sequence[Draft], root: Path) -> dict[Path, str]:
    """Shortest of stem, file name and path below the root that no other image has."""
    forms = {
        d.path: (d.path.stem, d.path.name.replace(".", "_"), _below(d.path, root)) for d in drafts
    }
    counts = [Counter(f[i].casefold() for f in forms.values()) for i in range(3)]
    return {
        path: next((f[i] for i in range(3) if counts[i][f[i].casefold()] == 1), f[2])
        for path, f in forms.items()
    }


def _below(path: Path, root: Path) -> str:
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return "_".join(p for p in inside.with_suffix("").parts if p.casefold() not in ("images", "/"))


def _classes(found: Drafts, drafts: Sequence[Draft]) -> tuple[str, ...]:
    """Return the background, the declared classes in order, then others by name."""
    used = {m.name for d in drafts for m in d.marks or ()}
    named = dict.fromkeys([*found.classes, *sorted(used)])
    named.pop(found.background, None)
    if len(named) > MOST_CLASSES:
        raise InputError(f"{len(named)} classes; at most {MOST_CLASSES} fit a label map")
    return (found.background, *named)


def _example(draft: Draft, name: str, group: str, split: str, number: Mapping[str, int]) -> Example:
    return Example(
        name,
        draft.path,
        group,
        draft.shape,
        partial(read_pixels, draft.path),
        None if draft.marks is None else _instances(draft.marks, number),
        draft.load_labels,
        draft.label_path,
        draft.pixel_size_nm,
        split,
    )


def _instances(marks: Sequence[Mark], number: Mapping[str, int]) -> tuple[Instance, ...]:
    """Objects of the marks; one of the background is no object."""
    return tuple(
        Instance(number[m.name], m.box, m.mask, m.crowd) for m in marks if number[m.name] > 0
    )
