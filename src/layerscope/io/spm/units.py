"""Units as instruments write them."""

from __future__ import annotations

from layerscope.core.micrograph import parse_length_nm
from layerscope.errors import InputError

_SPELLED = {
    "~m": "um",  # NanoScope
    "angstroms": "Å",
    "nanometer": "nm",
    "nanometers": "nm",
    "nanometre": "nm",
    "nanometres": "nm",
    "micrometer": "um",
    "micrometers": "um",
    "micrometre": "um",
    "micrometres": "um",
    "microns": "um",
    "meter": "m",
    "meters": "m",
    "metre": "m",
    "metres": "m",
}


def nm_per(unit: str) -> float | None:
    """Nanometres in one `unit`, or None if it is no unit of length.

    Parameters
    ----------
    unit : str
        ``nm``, ``µm``, ``~m`` (NanoScope's micrometre), ``metres`` ...; upper case matters only
        for ``M``, which is no metre.
    """
    plain = unit.strip().strip("[]()").strip()
    if not plain or plain[0] == "M":
        return None
    try:
        return parse_length_nm(f"1 {_SPELLED.get(plain.casefold(), plain)}")
    except InputError:
        return None


def split_quantity(text: str) -> tuple[float, str]:
    """Split text into number and unit: ``84.8435 ~m`` or ``1e-6``.

    Raises
    ------
    ValueError
        If it does not start with a number.
    """
    number, _, unit = text.strip().replace("\t", " ").partition(" ")
    return float(number), unit.strip()
