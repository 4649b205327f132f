"""The magnification of an image: told, in its metadata, or in the name of its file."""

from __future__ import annotations

import math
import re

from layerscope.core.categories import View
from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError

_TIMES = r"(\d{1,3}(?:[ ,.']\d{3})+|\d+(?:\.\d+)?)\s?(k?)"
_IN_NAME = re.compile(
    rf"(?<![A-Za-z0-9.]){_TIMES}[x×](?![A-Za-z0-9])"
    rf"|(?<![A-Za-z0-9.])(?:[x×]|mag[-_ ]?){_TIMES}(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_LEAST = 20.0  # less is a binning or a number of frames


def parse_magnification(text: str) -> float:
    """Read ``50000``, ``50 000x`` or ``50kx``.

    Raises
    ------
    InputError
        If it is no positive number.
    """
    plain = re.sub(r"[ ']", "", text).casefold().rstrip("x×")
    try:
        times = float(plain.removesuffix("k")) * (1000 if plain.endswith("k") else 1)
    except ValueError:
        times = math.nan
    if not 0 < times < math.inf:
        raise InputError(f"magnification {text!r}: expected e.g. 50000 or 50kx")
    return times


def magnification_in(name: str, pattern: str | None = None) -> float | None:
    """Find ``_50000X_``, ``50kx``, ``x50000`` or ``mag50k`` in the name of a file.

    Parameters
    ----------
    name : str
    pattern : str, optional
        Regular expression in place of these forms; its first group is the number, with or without
        a k, such as ``_M([0-9]+k?)_``.

    Returns
    -------
    float or None
        None where there is none, or several that differ.

    Raises
    ------
    InputError
        If `pattern` is no regular expression with a group.

    >>> magnification_in("GO-3_50000X_07"), magnification_in("scan 1024x768")
    (50000.0, None)
    """
    if pattern is not None:
        return _by_pattern(name, pattern)
    found = set()
    for groups in _IN_NAME.findall(name):
        number, thousands = groups[:2] if groups[0] else groups[2:]
        plain = re.sub(r"[ ,']", "", number)
        plain = plain.replace(".", "") if re.fullmatch(r"\d{1,3}(\.\d{3})+", plain) else plain
        found.add(float(plain) * (1000 if thousands else 1))
    likely = {times for times in found if times >= _LEAST}
    return likely.pop() if len(likely) == 1 else None


def _by_pattern(name: str, pattern: str) -> float | None:
    try:
        match = re.search(pattern, name)
        number = match.group(1) if match else None
    except (re.error, IndexError) as error:
        raise InputError(
            f"{pattern!r}: expected a regular expression with one group, the number ({error})"
        ) from error
    return None if number is None else parse_magnification(number)


def view_of(image: Micrograph, name: str = "", told: float | None = None) -> View:
    """Say at what scale an image was taken.

    Parameters
    ----------
    image : Micrograph
        A number under ``magnification`` in its metadata is believed.
    name : str
        Of the file, where metadata say nothing.
    told : float, optional
        By the user; decides.
    """
    size = None if image.pixel_size is None else 1e3 * image.pixel_size.um
    if told is not None:
        return View(told, size, "user")
    stored = image.metadata.get("magnification")
    if isinstance(stored, int | float) and 0 < stored < math.inf:
        return View(float(stored), size, "metadata")
    found = magnification_in(name)
    return View(found, size, "file name" if found is not None else "")
