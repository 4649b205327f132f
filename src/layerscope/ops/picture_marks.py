"""Scale bar and text burnt into the micrograph itself, outlined bars among them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.ops.picture_frame import Mask, runs_of
from layerscope.ops.scale import find_scale_bar
from layerscope.ops.scale_bar import Levels, ScaleBar, banner_top
from layerscope.ops.scale_text import is_readable, read_scale_bar_length, with_text

_SAME, _OPPOSITE = 24, 120  # levels
_PAD = 4  # px: edges are blurred, and JPEG rings within its block
_LEAST_PX = 32


@dataclass(frozen=True, eq=False)
class Marks:
    """What is drawn over a part of a picture.

    Attributes
    ----------
    mask : ndarray of bool, (H, W), or None
    pixel_size : PixelSize or None
        By the scale bar, if its text can be read.
    """

    mask: Mask | None = None
    pixel_size: PixelSize | None = None


def find_marks(rgb: Levels, place: str) -> Marks:
    """Find scale bar, text and banner in a part (H, W, 3); `place` is named in the source."""
    if min(rgb.shape[:2]) < _LEAST_PX:
        return Marks()
    bar, banner = _scale_bar(rgb), banner_top(rgb)
    boxes = [] if banner is None else [(banner, 0, *rgb.shape[:2])]
    if bar is not None:
        boxes += [bar.box] if bar.text_box is None else [bar.box, bar.text_box]
    mask = np.zeros(rgb.shape[:2], bool)
    for top, left, bottom, right in boxes:
        mask[max(top - _PAD, 0) : bottom + _PAD, max(left - _PAD, 0) : right + _PAD] = True
    return Marks(mask if boxes else None, _size_by(rgb, bar, place))


def _size_by(rgb: Levels, bar: ScaleBar | None, place: str) -> PixelSize | None:
    read = None if bar is None else read_scale_bar_length(Micrograph(rgb), bar)
    if bar is None or read is None:
        return None
    side = read[0] / bar.length_px
    text = f"scale bar of {bar.length_px:.1f} px {place}, {read[0]:g} nm read"
    return PixelSize(side, side, f"{text}, confidence {read[1]:.2f}")


def _scale_bar(rgb: Levels) -> ScaleBar | None:
    found = find_scale_bar(Micrograph(rgb))
    if found is None or found.thickness_px > 3 or is_readable(rgb, found):
        return found
    filled = _inside_outline(rgb, found)
    return found if filled is None else with_text(rgb, filled)


def _inside_outline(rgb: Levels, line: ScaleBar) -> ScaleBar | None:
    """Return the bar that `line` outlines, if the rows beside it are of one opposite colour."""
    top, left, bottom, right = line.box
    for row in (bottom, bottom + 1, top - 1, top - 2):
        if not 0 <= row < len(rgb) or right - left < 12:
            continue
        colour = np.median(rgb[row, left + 3 : right - 3], axis=0)
        if np.abs(colour - line.colour).max() < _OPPOSITE:
            continue
        same = np.abs(rgb[row].astype(float) - colour).max(axis=1) <= _SAME
        middle = (left + right) // 2
        run = next(((a, b) for a, b in runs_of(same) if a <= middle < b), None)
        if run is None or not 0.9 * line.length_px <= run[1] - run[0] <= line.length_px + 2:
            continue
        near = np.abs(rgb[:, run[0] : run[1]].astype(float) - colour).max(axis=2) <= _SAME
        rows = next(((a, b) for a, b in runs_of(near.mean(axis=1) >= 0.9) if a <= row < b), None)
        if rows is not None:
            return replace(
                line, left=float(run[0]), length_px=float(run[1] - run[0]), top=rows[0],
                thickness_px=rows[1] - rows[0], text_box=None,
                colour=(int(colour[0]), int(colour[1]), int(colour[2])),
                polarity="bright" if colour.mean() > np.mean(line.colour) else "dark",
                contrast=float(np.abs(colour - line.colour).max()),
            )  # fmt: skip
    return None
