"""An exported picture of a scan back to a scan: crop, colours to heights, pixel size.

Nothing is guessed. What a picture does not say, the user says; what nobody says stays unknown,
and the notes name it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import InputError
from layerscope.ops.picture_bar import ColourBar, Fractions, find_colour_bar, fractions_of
from layerscope.ops.picture_frame import Frame, Mask, find_frame
from layerscope.ops.picture_marks import Marks, find_marks
from layerscope.ops.picture_text import UNITS_NM, Axis, Label, marks_beside, read_axis, read_labels
from layerscope.ops.scale_bar import Box, Levels, levels_of

_LUMA = (0.299, 0.587, 0.114)
_MOST_FAR, _MOST_AMBIGUOUS = 0.3, 0.25
_MOST_DISTANT = 40.0  # levels, median; jet as JPEG of quality 75 has 30
_LEAST_PX = 8


@dataclass(frozen=True)
class _Heights:
    """Values of the micrograph and what is known of them."""

    data: npt.NDArray[Any]
    unit: str
    white_level: float
    facts: dict[str, Any]
    notes: tuple[str, ...]
    excluded: Mask | None = None


def recover_scan(
    micrograph: Micrograph,
    *,
    z_range_nm: float | tuple[float, float] | None = None,
    width_um: float | None = None,
    crop: Box | None = None,
) -> Micrograph:
    """Cut the scan out of an exported picture and turn its colours into heights.

    Parameters
    ----------
    micrograph : Micrograph
        The picture as read: grey or RGB, of any theme.
    z_range_nm : float or (float, float), optional
        Heights, nm, at the two ends of the colour bar, or the difference of the two. Used in
        place of the labels.
    width_um : float, optional
        Width of the scan in micrometres. Used in place of scale bar and axis labels.
    crop : Box, optional
        Top, left, bottom, right of the micrograph, half-open, where its sides cannot be seen.

    Returns
    -------
    Micrograph
        Modality AFM unless the picture came as SEM or TEM. `value_unit` is ``nm`` with a colour
        bar of known range, ``relative`` (0 to 1) with a colour bar alone, ``intensity`` without:
        lightness 0.299 R + 0.587 G + 0.114 B. Heights are NaN and excluded under a burnt-in
        scale bar and where a colour is far from every colour of the bar. ``metadata["picture"]``
        says what was found, ``metadata["picture_notes"]`` what was not. A picture without page
        around it keeps its size, and its values where it is grey.

    Raises
    ------
    InputError
        If the range or the width is no positive finite number, the crop is not within the
        picture, or picture or crop are under 8 px.

    Notes
    -----
    Burnt-in colours are 8 bit: a height is known to the range over the number of colours at
    best, given as ``quantisation``.
    """
    ends, width_nm = _checked(z_range_nm, width_um)
    if min(micrograph.shape) < _LEAST_PX:
        raise InputError(
            f"{micrograph.name}: expected a picture of at least 8 x 8 px, got {micrograph.shape}"
        )
    rgb = _rgb_of(micrograph)
    frame = find_frame(rgb, _checked_crop(micrograph, crop))
    bar = find_colour_bar(rgb, frame)
    labels = read_labels(rgb, frame, [bar.outer] if bar is not None else [])
    top, left, bottom, right = frame.box
    part = np.ascontiguousarray(rgb[top:bottom, left:right])
    heights = _heights(micrograph, part, frame, bar, labels, ends)
    marks = find_marks(part, "on the micrograph")
    size, size_note = _pixel_size(micrograph, rgb, frame, bar, labels, width_nm, marks)
    return _assemble(micrograph, frame, heights, marks.mask, size, size_note)


def _checked(
    z_range_nm: float | tuple[float, float] | None, width_um: float | None
) -> tuple[tuple[float, float] | None, float | None]:
    if width_um is not None and not 0 < width_um < np.inf:
        raise InputError(f"width_um = {width_um}: expected a positive width in micrometres")
    if z_range_nm is None:
        return None, None if width_um is None else width_um * 1e3
    ends = np.atleast_1d(np.asarray(z_range_nm, float))
    low, high = (0.0, float(ends[0])) if ends.size == 1 else (float(ends[0]), float(ends[-1]))
    if ends.size > 2 or not np.isfinite([low, high]).all() or not low < high:
        raise InputError(
            f"z_range_nm = {z_range_nm}: expected a positive range in nm or (lowest, highest)"
        )
    return (low, high), None if width_um is None else width_um * 1e3


def _checked_crop(micrograph: Micrograph, crop: Box | None) -> Box | None:
    if crop is None:
        return None
    height, width = micrograph.shape
    top, left, bottom, right = (int(v) for v in crop)
    big = bottom - top >= _LEAST_PX and right - left >= _LEAST_PX
    if not (big and top >= 0 and bottom <= height and left >= 0 and right <= width):
        raise InputError(
            f"crop = {crop}: expected top, left, bottom, right, 8 px or more apart, within "
            f"{height} x {width} px"
        )
    return top, left, bottom, right


def _rgb_of(micrograph: Micrograph) -> Levels:
    levels = levels_of(micrograph)
    return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)


def _heights(
    micrograph: Micrograph,
    part: Levels,
    frame: Frame,
    bar: ColourBar | None,
    labels: Sequence[Label],
    ends: tuple[float, float] | None,
) -> _Heights:
    if bar is None:
        unused = " z_range_nm is not used." if ends is not None else ""
        note = f"No colour bar was found: values are lightness, not heights.{unused}"
        return _lightness(micrograph, frame, {}, note)
    found = fractions_of(part, bar.path)
    far, ambiguous = float(found.far.mean()), found.ambiguous_share
    facts = _facts_of(bar, found)
    if far > _MOST_FAR or found.distance > _MOST_DISTANT:
        note = (
            f"The colours are not those of the colour bar at {bar.box} (median distance "
            f"{found.distance:.0f} levels, {far:.0%} of the pixels far): values are lightness."
        )
        return _lightness(micrograph, frame, facts, note)
    if ambiguous > _MOST_AMBIGUOUS:
        note = (
            f"{ambiguous:.0%} of the pixels have a colour that occurs twice on the colour bar: "
            "heights are refused, values are lightness."
        )
        return _lightness(micrograph, frame, facts, note)
    return _on_scale(bar, found, facts, _axis_of(frame, bar, labels), ends)


def _facts_of(bar: ColourBar, found: Fractions) -> dict[str, Any]:
    return {
        "colour_bar": bar.box,
        "colour_distance": found.distance,
        "far_pixels": int(found.far.sum()),
        "ambiguous_share": found.ambiguous_share,
        "n_colours": found.n_colours,
        "error_relative": found.error,
    }


def _lightness(micrograph: Micrograph, frame: Frame, facts: dict[str, Any], note: str) -> _Heights:
    top, left, bottom, right = frame.box
    data = micrograph.data[top:bottom, left:right]
    if data.ndim == 3:
        same = (data[..., 0] == data[..., 1]).all() and (data[..., 1] == data[..., 2]).all()
        data = data[..., 0] if same else (data @ np.array(_LUMA)).astype(np.float32)
    return _Heights(data.copy(), "intensity", micrograph.white_level, facts, (note,))


def _axis_of(frame: Frame, bar: ColourBar, labels: Sequence[Label]) -> tuple[float, float] | None:
    """Heights in nm at fraction 0 and 1, if the labels beside the bar can be read."""
    along = 0 if bar.is_vertical else 1
    beside = _beside(labels, bar.outer, along)
    for side, after in beside:
        marks = marks_beside(frame, bar.outer, along, after)
        axis = read_axis(side, along, (bar.box[along], bar.box[along + 2]), marks)
        if axis is not None:
            scale = UNITS_NM[axis.unit]
            first, last = _at_pixels(axis, bar.box[along + 2] - bar.box[along])
            low, high = (last, first) if bar.is_vertical else (first, last)
            # Falling heights: a sign was lost in all labels.
            return (low * scale, high * scale) if low < high else None
    return None


def _at_pixels(axis: Axis, n: int) -> tuple[float, float]:
    """Values at the middle of the first and last pixel; labels at the ends name those."""
    if axis.n_labels == 2:
        return axis.start, axis.stop
    half = (axis.stop - axis.start) / n / 2
    return axis.start + half, axis.stop - half


def _beside(labels: Sequence[Label], box: Box, along: int) -> list[tuple[list[Label], bool]]:
    """Labels before (left, above) and after a bar, with those at its ends; longer list first."""
    across = 1 - along
    sides: list[list[Label]] = [[], []]
    units = []
    for label in labels:
        reach = 2.5 * label.height + (0 if along == 0 else label.height)
        middle = label.centre(along)
        span = label.box[along + 2] - label.box[along]
        margin = max(span, label.height) * 1.2 + 4 + (label.height if label.value is None else 0)
        if not box[along] - margin <= middle <= box[along + 2] + margin:
            continue
        before, after = box[across] - label.box[across + 2], label.box[across] - box[across + 2]
        if max(before, after) > reach:
            continue
        if label.value is None:
            units.append(label)
        elif before < 0 and after < 0:
            sides[0].append(label)
            sides[1].append(label)
        else:
            sides[int(after >= 0)].append(label)
    order = sorted((1, 0), key=lambda i: len(sides[i]), reverse=True)
    return [(sides[i] + units, i == 1) for i in order if sides[i]]


def _on_scale(
    bar: ColourBar,
    found: Fractions,
    facts: dict[str, Any],
    read: tuple[float, float] | None,
    ends: tuple[float, float] | None,
) -> _Heights:
    notes = []
    if found.ambiguous_share > 0:
        notes.append(
            f"{found.ambiguous_share:.1%} of the pixels have a colour that occurs twice on the "
            "colour bar; they took the place nearest to their neighbours'."
        )
    if bar.snapped:
        notes.append("One end of the colour bar fades into the page; it was taken to be level "
                     "with the micrograph.")  # fmt: skip
    if ends is not None:
        low, high, unit, source = *ends, "nm", "user"
    elif read is not None:
        low, high, unit, source = *read, "nm", "labels of the colour bar"
    else:
        low, high, unit, source = 0.0, 1.0, "relative", "none"
        notes.append("The labels of the colour bar cannot be read: heights are relative, 0 to 1. "
                     "Give z_range_nm.")  # fmt: skip
    if source != "labels of the colour bar":
        side = "bottom" if bar.is_vertical else "left end"
        notes.append(f"The {side} of the colour bar is taken as its lowest height.")
    data = (low + (high - low) * found.values.astype(np.float64)).astype(np.float32)
    span = abs(high - low)
    ranged = facts | {
        "range": (low, high), "range_source": source,
        "quantisation": span / max(found.n_colours, 1), "error": span * found.error,
    }  # fmt: skip
    missing = np.isnan(data)
    if missing.any():
        notes.append(f"{int(missing.sum())} pixels have no colour of the bar: excluded.")
    top = max(low, high) if max(low, high) > 0 else 1.0
    return _Heights(data, unit, float(top), ranged, tuple(notes), missing)


def _pixel_size(
    micrograph: Micrograph,
    rgb: Levels,
    frame: Frame,
    bar: ColourBar | None,
    labels: Sequence[Label],
    width_nm: float | None,
    marks: Marks,
) -> tuple[PixelSize | None, str]:
    """Pixel size from the user, the file, a scale bar or the axes, in this order."""
    width = frame.box[3] - frame.box[1]
    if width_nm is not None:
        side = width_nm / width
        return PixelSize(side, side, f"width of {width_nm / 1e3:g} um given by the user"), ""
    if micrograph.pixel_size is not None:
        return micrograph.pixel_size, ""
    along = 0 if bar is None or bar.is_vertical else 1
    taken = [] if bar is None else [
        label for side, _ in _beside(labels, bar.outer, along) for label in side
    ]  # fmt: skip
    hidden = [frame.box, *([bar.outer] if bar is not None else []), *(t.box for t in taken)]
    size = marks.pixel_size or _on_page(rgb, frame, hidden)
    size = size or _from_axes(frame, [label for label in labels if label not in taken])
    return size, "" if size else "No scale was read: the pixel size is unknown. Give width_um."


def _on_page(rgb: Levels, frame: Frame, hidden: Sequence[Box]) -> PixelSize | None:
    """Scale bar beside the micrograph; micrograph, colour bar and its labels are blanked for it."""
    if frame.page is None or not frame.is_cropped:
        return None
    page = rgb.copy()
    for top, left, bottom, right in hidden:
        page[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = frame.page
    # A bar level with the micrograph's corner may be too near to the border for the finder.
    edge = frame.page.tolist()
    wide = cv2.copyMakeBorder(page, 8, 8, 8, 8, cv2.BORDER_CONSTANT, value=edge)
    return find_marks(np.asarray(wide, np.uint8), "on the page").pixel_size


def _from_axes(frame: Frame, free: Sequence[Label]) -> PixelSize | None:
    """Tick labels along the micrograph's sides, those of the colour bar left out."""
    sides: list[float | None] = []
    for along in (0, 1):
        ends = (frame.box[along], frame.box[along + 2])
        axes = [
            read_axis(side, along, ends, marks_beside(frame, frame.box, along, after))
            for side, after in _beside(free, frame.box, along)
        ]
        sides.append(next((abs(a.stop - a.start) * UNITS_NM[a.unit] / (ends[1] - ends[0])
                           for a in axes if a is not None), None))  # fmt: skip
    known = [side for side in sides if side is not None]
    if not known:
        return None
    y_nm, x_nm = sides[0] or known[0], sides[1] or known[0]
    return PixelSize(y_nm, x_nm, "labels of the axes of the picture")


def _assemble(
    micrograph: Micrograph,
    frame: Frame,
    heights: _Heights,
    annotated: Mask | None,
    size: PixelSize | None,
    size_note: str,
) -> Micrograph:
    top, left, bottom, right = frame.box
    excluded = np.zeros((bottom - top, right - left), bool)
    if micrograph.excluded is not None:
        excluded |= micrograph.excluded[top:bottom, left:right]
    if annotated is not None:
        excluded |= annotated
    if heights.excluded is not None:
        excluded |= heights.excluded
    data = heights.data
    if heights.unit != "intensity" and annotated is not None:
        data = np.where(annotated, np.float32(np.nan), data)
    notes = (*_frame_notes(frame), *heights.notes, *([size_note] if size_note else []))
    facts = {"crop": frame.box, "page": None if frame.page is None else tuple(frame.page.tolist()),
             "annotated_pixels": 0 if annotated is None else int(annotated.sum()),
             **heights.facts}  # fmt: skip
    modality = Modality.AFM if micrograph.modality is Modality.OPTICAL else micrograph.modality
    done = micrograph.after("recover_scan", facts | {"notes": notes})
    return replace(
        done, data=data, modality=modality, pixel_size=size, value_unit=heights.unit,
        white_level=heights.white_level, excluded=excluded if excluded.any() else None,
        metadata={**micrograph.metadata, "picture": facts, "picture_notes": notes},
    )  # fmt: skip


def _frame_notes(frame: Frame) -> list[str]:
    if not frame.is_cropped:
        what = "no page around it" if frame.page is None else "no full rectangle on the page"
        return [f"There is {what}: the picture is taken whole. If it is not one, give crop."]
    if frame.rival is not None:
        return [f"Another rectangle of similar size, at {frame.rival}, was left out."]
    return []
