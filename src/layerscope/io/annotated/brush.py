"""Run lengths of painted masks as Label Studio stores them, read and written bit by bit.

The layout is that of ``@thi.ng/rle-pack``: 32 bits for the number of values, 5 for the bits of a
value less one, 4 times 4 for the bits of a run's length less one; then blocks of one bit (1: a
value that repeats, 0: values that differ), two bits for which of the four sizes, the length less
one, and the value or the values. The values are those of an RGBA picture, row by row; its last
channel is the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.errors import InputError

_SIZES = (3, 4, 8, 16)
_HEADER_BITS = 32 + 5 + 4 * 4


def mask_of_brush(numbers: Sequence[int], shape: tuple[int, int]) -> BoolArray:
    """Mask (H, W) of the bytes `numbers`.

    Raises
    ------
    InputError
        If they are cut off, or are not of a picture of `shape`.
    """
    data = np.asarray(numbers, np.int64)
    if len(data) < _HEADER_BITS // 8 or data.min() < 0 or data.max() > 255:
        raise InputError("a brush mask that is no list of bytes")
    bits = _Bits(data.astype(np.uint8))
    total, width = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    if total != 4 * shape[0] * shape[1]:
        raise InputError(f"a brush mask of {total} values, expected 4 x {shape[0]} x {shape[1]}")
    values = np.zeros(total, np.uint32)
    done = 0
    while done < total:
        repeats = bits.read(1)
        end = done + 1 + bits.read(sizes[bits.read(2)])
        if end > total:
            raise InputError("a brush mask whose runs are longer than the picture")
        values[done:end] = bits.read(width) if repeats else bits.read_many(end - done, width)
        done = end
    return np.asarray(values.reshape(*shape, 4)[..., 3] > 0)


def brush_of_mask(mask: BoolArray) -> list[int]:
    """Bytes of a mask (H, W), as many runs as it has along its rows."""
    flat = np.repeat(mask.ravel(), 4)
    ends = np.r_[np.flatnonzero(np.diff(flat)) + 1, len(flat)]
    words = [_word(len(flat), 32), _word(7, 5), *(_word(s - 1, 4) for s in _SIZES)]
    start = 0
    for end in ends.tolist():
        words += _runs(end - start, 255 if flat[start] else 0)
        start = end
    text = "".join(words)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _word(value: int, bits: int) -> str:
    return f"{value:0{bits}b}"


def _runs(length: int, value: int) -> list[str]:
    """Blocks of a run, split where it is longer than the largest size holds."""
    words = []
    while length > 0:
        part = min(length, 1 << _SIZES[-1])
        which = next(i for i, bits in enumerate(_SIZES) if part <= 1 << bits)
        words += ["1", _word(which, 2), _word(part - 1, _SIZES[which]), _word(value, 8)]
        length -= part
    return words


class _Bits:
    """Numbers of any width from a string of bytes, highest bit first."""

    def __init__(self, data: npt.NDArray[np.uint8]):
        self._bytes, self._array, self._at = data.tobytes(), data, 0

    def read(self, bits: int) -> int:
        end = self._at + bits
        if end > 8 * len(self._bytes):
            raise InputError("a brush mask that is cut off")
        last = -(-end // 8)
        value = int.from_bytes(self._bytes[self._at // 8 : last], "big")
        self._at = end
        return (value >> (8 * last - end)) & ((1 << bits) - 1)

    def read_many(self, count: int, bits: int) -> npt.NDArray[np.uint32]:
        start, end = self._at, self._at + count * bits
        if end > 8 * len(self._bytes):
            raise InputError("a brush mask that is cut off")
        first, last = start // 8, -(-end // 8)
        single = np.unpackbits(self._array[first:last])[start - 8 * first :][: count * bits]
        self._at = end
        weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint32)
        return single.reshape(count, bits).astype(np.uint32) @ weights
