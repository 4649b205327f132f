"""NumPy arrays as scans: values only, so unit and pixel size come from the user."""

from __future__ import annotations

from layerscope.errors import UnreadableFile
from layerscope.io.raster import decode_npy
from layerscope.io.spm.scan import Channel, Scan


def scan_npy(data: bytes, *, max_pixels: int) -> Scan:
    """Return the one channel of an .npy file of shape (H, W), first row on top.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds another shape.
    """
    found = decode_npy(data, max_pixels=max_pixels)
    if found.data.ndim != 2:
        raise UnreadableFile(f"an array of shape {found.metadata['shape']}; expected (H, W)")
    channel = Channel("array", "", found.shape, None, load=lambda: found.data)
    notes = found.metadata["notes"]
    return Scan((channel,), {k: v for k, v in found.metadata.items() if k != "notes"}, notes)
