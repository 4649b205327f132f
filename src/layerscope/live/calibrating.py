"""The calibration of a live view: given, or made from the fields that came by, again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from layerscope.core.calibration import Calibration
from layerscope.core.results import Detections, FloatArray
from layerscope.errors import LayerscopeError
from layerscope.finding import Found
from layerscope.live.apart import Apart
from layerscope.live.motion import Thumb, shift_between, thumb_of
from layerscope.ops.lettering import Image
from layerscope.ops.optical import Background
from layerscope.ops.setups import Substrates, number_setups
from layerscope.ops.tone import ToneCurve
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack
from layerscope.tasks.layers import calibrate_setups

_MOST_FIELDS = 32

_NEW_FIELD = 0.6
"""Share of the width or height that the stage has moved by: the crystals are others then."""

_NEW_LIGHT = 0.18
"""Log distance of the substrate's level at which lamp or exposure were changed, as when watching
a folder."""


class Pending(Protocol):
    """A calibration that is being made."""

    def done(self) -> bool:
        """Whether it is there."""

    def result(self) -> Calibration:
        """Return it, or raise why there is none."""


Submit = Callable[..., Pending]
"""Called with a function and its arguments, which it runs some time, beside the analysis."""


@dataclass(frozen=True)
class CalibrationSettings:
    """What a calibration is made for; see `tasks.layers.calibrate_setups`."""

    material: str
    substrate: str
    tone: ToneCurve | None
    oxide_sd_nm: float
    max_layers: int
    na: float


@dataclass(frozen=True, eq=False)
class Light:
    """What is known of the light of what is in view.

    Attributes
    ----------
    calibration : Calibration or None
    substrates : Substrates
        Of the fields that the calibration was made from.
    trouble : str
        Why there is no calibration, or "".
    """

    calibration: Calibration | None = None
    substrates: Substrates = field(default_factory=lambda: Substrates.of([]))
    trouble: str = ""


class KeptCalibration:
    """Knows the lights and the ladders of what has been in view.

    Without a calibration from the user one is made when 1, 2, 4, 8 ... fields have been seen, and
    when the light is new. A field is one that the stage has left before the next: the same
    crystals seen a hundred times would make it too sure.

    Parameters
    ----------
    settings : CalibrationSettings
    given : Calibration or None
    submit : Submit, optional
        Default: a process of its own for each.
    """

    def __init__(
        self,
        settings: CalibrationSettings,
        given: Calibration | None,
        submit: Submit | None = None,
    ):
        self._settings, self._given = settings, given
        self._submit: Submit = submit or Apart
        self._making: Pending | None = None
        self._fields: list[tuple[Detections, Background]] = []
        self._made_from, self._at = 0, np.zeros(2)
        self._thumb: Thumb | None = None
        self.light = Light(given)

    @property
    def calibration(self) -> Calibration | None:
        """The newest, or the one that was given."""
        return self.light.calibration

    def setup_of(self, level: FloatArray) -> int | None:
        """Which setup of the calibration has this level (3,) of bare substrate; None: none yet.

        A calibration that was given is the user's to judge: its nearest.
        """
        if self.calibration is None or not self.calibration.setups:
            return None
        nearest = self.calibration.nearest(level)
        near = _is_near(level, self.calibration.setups[nearest].background)
        return nearest if near or self._given is not None else None

    def notes(self, level: FloatArray) -> tuple[str, ...]:
        """Say what the user should know of the calibration in this light (3,), one line each."""
        if self.light.trouble:
            return (self.light.trouble,)
        setup = self.setup_of(level)
        if setup is None or self.calibration is None:
            return ("calibrating: layers come in some seconds",)
        own = self.calibration.setups[setup]
        if not _is_near(level, own.background):
            return ("the light is not that of the calibration",)
        return own.reasons if own.status != "ok" else ()

    def see(self, found: Found, pixels: Image) -> None:
        """Learn from one frame, and take over a calibration that was finished meanwhile."""
        self._take()
        if self._given is not None:
            return
        level = found.background.level
        strange = not any(_is_near(level, b.level) for _, b in self._fields)
        moved = self._has_moved(pixels)
        if (strange or moved) and len(found.detections) and len(self._fields) < _MOST_FIELDS:
            self._fields.append((found.detections, found.background))
            substrates = Substrates.of([b for _, b in self._fields])
            self.light = replace(self.light, substrates=substrates)
            self._at[:] = 0
        many = len(self._fields) >= max(1, 2 * self._made_from)
        new_light = self.setup_of(level) is None and len(self._fields) > self._made_from
        if self._making is None and (many or new_light):
            self._making = self._begun()

    def close(self) -> None:
        """End a calibration that is being made."""
        if isinstance(self._making, Apart):
            self._making.close()

    def _has_moved(self, pixels: Image) -> bool:
        """Whether the stage has moved on since the last field, by shifts added up."""
        thumb, before = thumb_of(pixels), self._thumb
        self._thumb = thumb
        if before is None:
            return True
        shift = shift_between(before, thumb, pixels.shape[1])
        if shift is not None:
            self._at += (shift.y_px / pixels.shape[0], shift.x_px / pixels.shape[1])
        return shift is None or bool(np.abs(self._at).max() >= _NEW_FIELD)

    def _begun(self) -> Pending:
        self._made_from = len(self._fields)
        found, backgrounds = zip(*self._fields, strict=True)
        levels = [b.level for b in backgrounds]
        return self._submit(make_calibration, self._settings, found, levels)

    def _take(self) -> None:
        if self._making is None or not self._making.done():
            return
        making, self._making = self._making, None
        try:
            self.light = replace(self.light, calibration=making.result(), trouble="")
        except LayerscopeError as error:
            self.light = replace(self.light, trouble=f"no calibration: {error}")


def make_calibration(
    settings: CalibrationSettings, found: Sequence[Detections], levels: Sequence[FloatArray]
) -> Calibration:
    """Calibrate on fields, those of one light together.

    Parameters
    ----------
    settings : CalibrationSettings
    found : sequence of Detections
        One per field.
    levels : sequence of ndarray, (3,)
        Bare substrate of each.
    """
    return calibrate_setups(
        found, levels, number_setups(np.array(levels)), load(settings.material),
        Stack.parse(settings.substrate), tone=settings.tone, oxide_sd_nm=settings.oxide_sd_nm,
        max_layers=settings.max_layers, na=settings.na,
    )  # fmt: skip


def _is_near(a: FloatArray, b: FloatArray) -> bool:
    apart = np.log(np.maximum(a, 1e-3)) - np.log(np.maximum(b, 1e-3))
    return float(np.abs(apart).max()) <= _NEW_LIGHT
