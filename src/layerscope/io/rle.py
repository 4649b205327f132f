"""Run-length code of masks as COCO defines it: column by column, background first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.results import BoolArray, IntArray
from layerscope.errors import InputError


def run_lengths(
    crop: BoolArray, origin: tuple[int, int] = (0, 0), shape: tuple[int, int] | None = None
) -> IntArray:
    """Lengths of the runs of a mask, alternately background and mask.

    Parameters
    ----------
    crop : ndarray of bool, (h, w)
    origin : tuple of int
        Row and column of the crop in the image.
    shape : tuple of int, optional
        Height and width of the image; default the crop's.

    Returns
    -------
    ndarray of int
        They add to the number of pixels. The first is 0 where the first pixel is set.
    """
    height, width = crop.shape if shape is None else shape
    columns = np.zeros((crop.shape[1], crop.shape[0] + 2), np.int8)
    columns[:, 1:-1] = crop.T
    change = np.diff(columns, axis=1)
    position = (np.arange(crop.shape[1])[:, None] + origin[1]) * height + origin[0]
    steps = position + np.arange(crop.shape[0] + 1)
    starts, stops = steps[change == 1], steps[change == -1]
    # A run that leaves one column at the bottom may go on at the top of the next.
    joined = stops[:-1] == starts[1:]
    starts, stops = (
        starts[np.r_[True, ~joined][: len(starts)]],
        stops[np.r_[~joined, True][: len(stops)]],
    )
    edges = np.stack([starts, stops], axis=1).ravel()
    ends = np.r_[edges, height * width]
    runs = np.diff(ends, prepend=0)
    return runs[:-1] if runs[-1] == 0 and len(runs) > 1 else runs


def mask_from_runs(runs: Sequence[int] | IntArray, shape: tuple[int, int]) -> BoolArray:
    """Mask (H, W) of the runs.

    Raises
    ------
    InputError
        If a run is negative or they do not add to the number of pixels.
    """
    lengths = np.asarray(runs, np.int64)
    if (lengths < 0).any() or int(lengths.sum()) != shape[0] * shape[1]:
        raise InputError(
            f"run lengths add to {lengths.sum()}, not to {shape[0]} x {shape[1]} pixels"
        )
    values = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, lengths).reshape(shape[1], shape[0]).T)


def compress(runs: IntArray) -> str:
    """Text form of run lengths.

    From the third run on, the difference to the run two before is stored; each number in groups of
    five bits, least first, with a sixth bit for "more follows", as characters from 48 on (the
    format of ``rleToString`` in the COCO tools, Lin et al., arXiv 1405.0312).
    """
    numbers = runs.astype(np.int64).copy()
    numbers[3:] -= runs[1:-2]
    text = bytearray()
    for value in numbers.tolist():
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            text.append((group | 32 if more else group) + 48)
    return text.decode("ascii")


def expand(text: str) -> IntArray:
    """Run lengths of their text form.

    Raises
    ------
    InputError
        If the text holds other characters or ends within a number.
    """
    runs: list[int] = []
    value = shift = 0
    for code in text.encode("ascii", "replace"):
        group = code - 48
        if not 0 <= group < 64:
            raise InputError(f"run-length text holds {chr(code)!r}; expected characters '0' to 'o'")
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            signed = value - (1 << shift) if group & 16 else value
            runs.append(signed + runs[-2] if len(runs) > 2 else signed)
            value = shift = 0
    if shift:
        raise InputError("run-length text ends within a number: the file is cut off")
    return np.array(runs, np.int64)
