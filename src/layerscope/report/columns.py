"""Reading the objects table: columns that may be absent, and numbers as a reader wants them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.core.results import FLAG_MEANING, THICK, UNKNOWN, Flag, FloatArray

if TYPE_CHECKING:
    import pandas as pd

_PROBABILITY = re.compile(r"p_(\d+)L")
MEANING = {flag.names[0]: text for flag, text in FLAG_MEANING.items()}
"""Flag name as it stands in the table -> what it means."""


def numbers(objects: pd.DataFrame, *names: str) -> FloatArray:
    """First of the columns `names` that exists, as floats (n,); NaN where there is no number."""
    import pandas as pd

    for name in names:
        if name in objects:
            column = pd.to_numeric(objects[name], errors="coerce")
            return np.asarray(column.to_numpy(dtype=float, na_value=np.nan), float)
    return np.full(len(objects), np.nan)


def words(objects: pd.DataFrame, name: str) -> list[str]:
    """Column `name` as text, "" where absent or missing."""
    if name not in objects:
        return [""] * len(objects)
    return ["" if _is_missing(value) else str(value) for value in objects[name].tolist()]


def answers(objects: pd.DataFrame) -> list[str]:
    """Answer per region: ``"1"``, ``"2"`` ..., ``"thick"`` or ``"unknown"``."""
    return [_answer(text) for text in words(objects, "n_layers")]


def _answer(text: str) -> str:
    text = text.strip().lower().removesuffix("l").removesuffix(".0")
    if text == str(THICK):
        return "thick"
    known = (text.isdigit() and int(text) > 0) or text == "thick"
    return text if known and text != str(UNKNOWN) else "unknown"


def answer_order(names: Iterable[str]) -> list[str]:
    """Distinct answers of `names`: numbers ascending, then thick, then unknown."""
    late = {"thick": 1_000_000, "unknown": 2_000_000}
    return sorted(set(names), key=lambda name: late[name] if name in late else int(name))


def answer_text(answer: str) -> str:
    """``"1 layer"``, ``"3 layers"``, ``"thick"``, ``"layers unknown"``."""
    if answer.isdigit():
        return "1 layer" if answer == "1" else f"{answer} layers"
    return "layers unknown" if answer == "unknown" else "thick"


def layer_probabilities(objects: pd.DataFrame) -> tuple[list[str], FloatArray]:
    """Answers ``1..N, thick, unknown`` that have a column, and their probabilities (n, k)."""
    found = [m for m in map(_PROBABILITY.fullmatch, map(str, objects.columns)) if m]
    found.sort(key=lambda m: int(m.group(1)))
    names = [(m.group(1), m.group(0)) for m in found]
    names += [(a, f"p_{a}") for a in ("thick", "unknown") if f"p_{a}" in objects]
    columns = [np.nan_to_num(numbers(objects, column)) for _, column in names]
    probability = np.column_stack(columns) if columns else np.zeros((len(objects), 0))
    return [answer for answer, _ in names], probability


def flag_names(value: Any) -> tuple[str, ...]:
    """Names of the flags in one cell: bits, or names joined by any of ``;|,`` and blanks."""
    if _is_missing(value):
        return ()
    if isinstance(value, (int, np.integer)):
        return tuple(Flag(int(value)).names)
    text = str(value).strip()
    return tuple(Flag(int(text)).names) if text.isdigit() else tuple(re.findall(r"[\w-]+", text))


def plain_flag(name: str) -> str:
    """Flag name as words: ``touches_border`` -> ``touches border``."""
    return name.replace("_", " ")


def count_flakes(objects: pd.DataFrame) -> int:
    """Distinct (image, flake_id); regions where there is no flake_id."""
    keys = [name for name in ("image", "flake_id") if name in objects]
    return len(objects) if len(keys) < 2 else len(objects[keys].drop_duplicates())


def of_image(objects: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of image `name`, in their order."""
    return objects[objects["image"] == name] if "image" in objects else objects.iloc[:0]


_SMALL = 1e-4
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def figures_of(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant figures, thousands apart; – where not finite.

    Below a ten-thousandth as a power of ten: nobody counts zeros.
    """
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) < _SMALL:
        part, _, power = f"{value:.{digits - 1}e}".partition("e")
        return f"{part} × 10{str(int(power)).translate(_RAISED)}".replace("-", "−")
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{decimals}f}".replace(",", "\u202f").replace("-", "−")


def percent(value: float) -> str:
    """Probability as text; never 100 % or 0 %, which no measurement can claim."""
    if not np.isfinite(value):
        return "–"
    if value > 0.99:
        return "> 99 %"
    return "< 1 %" if value < 0.01 else f"{100 * value:.0f} %"


def interval(value: float, low: float, high: float, unit: str) -> str:
    """``value unit (low–high)``; the interval is left out where it is not finite."""
    if not np.isfinite(value):
        return "–"
    text = f"{figures_of(value)} {unit}".strip()
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{text} (no interval)"
    if low == high:
        return f"{text} (≥ 95 % sure)"
    return f"{text} ({figures_of(low)}–{figures_of(high)})"


def percent_text(value: float, low: float, high: float) -> str:
    """Coverage with its interval: ``40.0 % [39.3–40.4]``."""
    if not np.isfinite(value):
        return "unknown"
    return f"{100 * value:.1f} % [{100 * low:.1f}–{100 * high:.1f}]"


def value_text(value: float, low: float, high: float) -> str:
    """Return a figure with its interval: ``0.66 [0.64–0.68]``; – where it was not measured."""
    if not np.isfinite(value):
        return "–"
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{figures_of(value)} (no interval)"
    return f"{figures_of(value)} [{figures_of(low)}–{figures_of(high)}]"


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or str(value) == "<NA>"
