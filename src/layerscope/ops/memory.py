"""Memory that is freed and wanted again a moment later."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Let this process keep up to 256 MB that it has freed, for the next image.

    By default glibc hands large arrays back to the system at once, which then clears every page of
    the next one: a tenth of the time of an image of 1920 x 1200 px, more in virtual machines. Meant
    for processes that analyse many images, such as the workers of a scan; changes no result.

    Returns
    -------
    bool
        Whether the C library has such a setting (glibc has).
    """
    setting = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if setting is None:
        return False
    return bool(setting(_MMAP_THRESHOLD, 32 << 20) and setting(_TRIM_THRESHOLD, _KEPT_BYTES))
