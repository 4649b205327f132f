"""What is on one frame: the steps of `pipeline` on a picture in memory, with a calibration kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from layerscope import finding
from layerscope.core.calibration import Calibration
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import Detections, FloatArray
from layerscope.draw import Named
from layerscope.errors import InputError, LayerscopeError, UnknownName
from layerscope.io.sources import Source
from layerscope.live.bars import Bars, BurntIn
from layerscope.live.calibrating import CalibrationSettings, KeptCalibration, Light, Submit
from layerscope.models.heads import load_head
from layerscope.ops.lettering import Image
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack
from layerscope.tasks.finders import CLASSICAL, Finder, choose_finder
from layerscope.tasks.layers import check_calibration, count_by_head, count_by_physics

TASKS = ("flakes", "crystals")


@dataclass(frozen=True)
class Asked:
    """What is looked for; plain values, so that a process can be told.

    Attributes
    ----------
    material, substrate : str
    task : str
        ``flakes`` or ``crystals``; crystals are told by shape or, with a model, by its classes.
    optics, wanted
        As in `pipeline.run`.
    calibration : Calibration or None
        None makes one from the fields that are seen.
    head : Path or None
        File of a classifier of layers.
    finder : str
        One of `tasks.finders.FINDERS`.
    model : str or None
        Of finders with a network.
    scale_bar_length : str or None
        Of a bar that is part of the picture.
    analyse_width_px : int
        Regions are found on pixels averaged to about this width, and their borders refined.
    max_layers : int
    """

    material: str
    substrate: str
    task: str = "flakes"
    optics: finding.Optics = field(default_factory=finding.Optics)
    wanted: finding.Wanted = field(default_factory=finding.Wanted)
    calibration: Calibration | None = None
    head: Path | None = None
    finder: str = CLASSICAL
    model: str | None = None
    scale_bar_length: str | None = None
    analyse_width_px: int = 640
    max_layers: int = 10

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UnknownName.of("task", self.task, TASKS)
        if self.analyse_width_px < 64:
            raise InputError(f"analyse_width {self.analyse_width_px} px: expected 64 or more")
        if not 1 <= self.max_layers <= 30:
            raise InputError(f"max_layers {self.max_layers}: expected 1 to 30")
        unused = {
            "calibration": self.calibration, "head": self.head,
            "flat-field": self.optics.flat_field, "layers": self.wanted.layers,
        }  # fmt: skip
        told = [f"--{name}" for name, value in unused.items() if value is not None]
        if self.task == "crystals" and told:
            raise InputError(f"--task crystals does not use {', '.join(told)}: leave it out")


@dataclass(frozen=True, eq=False)
class Answer:
    """What is on one frame.

    Attributes
    ----------
    frame : int
        Its number.
    detections : Detections
        In pixels of the frame as it is shown.
    pixel_size : PixelSize or None
    level : ndarray, (3,), or None
        Bare substrate, fraction of white.
    notes : tuple of str
        What the user should know, one line each.
    error : str
        Why there is no answer, or "".
    analysis_s : float
        How long the analysis took.
    calibration : Calibration or None
        That layers were counted with.
    named : Named or None
        What the regions are, where they are told apart by name and not by layers.
    made_of : tuple of str
        Material and layers of each region that has a name, as the drawing says them; empty: not
        looked for.
    """

    frame: int
    detections: Detections
    pixel_size: PixelSize | None = None
    level: FloatArray | None = None
    notes: tuple[str, ...] = ()
    error: str = ""
    analysis_s: float = 0.0
    calibration: Calibration | None = None
    named: Named | None = None
    made_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Learned:
    """What an analysis has learned from the frames that it saw; another can go on with it."""

    light: Light = field(default_factory=Light)
    burnt_in: BurntIn = field(default_factory=BurntIn)

    def suffices(self, shape: tuple[int, ...], pixel_size: PixelSize | None) -> bool:
        """Whether a frame of this shape can be answered without learning more."""
        return pixel_size is not None or shape in self.burnt_in.sizes


class Analysis:
    """Answers frame after frame; what one frame teaches about the light is used on the next.

    Parameters
    ----------
    asked : Asked
    submit : Submit, optional
        Runs calibrations beside the analysis; by default in a process of its own.

    Raises
    ------
    LayerscopeError
        If a material, model or setting is unknown, or the calibration is for something else.
    """

    def __init__(self, asked: Asked, submit: Submit | None = None):
        self._asked, self._crystal = asked, load(asked.material)
        self._crystal.require_layer_nm()
        stack, tone = Stack.parse(asked.substrate), asked.optics.tone
        self._finder = choose_finder(asked.finder, asked.model)
        self._head = load_head(asked.head) if asked.head else None
        if asked.calibration is not None:
            check_calibration(asked.calibration, self._crystal, stack, asked.max_layers, tone)
        settings = CalibrationSettings(
            self._crystal.name, asked.substrate, tone, asked.optics.oxide_sd_nm,
            asked.max_layers, asked.optics.na,
        )  # fmt: skip
        self._kept = KeptCalibration(settings, asked.calibration, submit)
        self._bars, self._follows = Bars(asked.scale_bar_length), False

    @property
    def learned(self) -> Learned:
        """What another analysis must know to answer as this one does."""
        return Learned(self._kept.light, self._bars.known)

    def follow(self, learned: Learned) -> None:
        """Go on with what another has learned, and learn nothing of one's own."""
        self._follows, self._kept.light = True, learned.light
        self._bars.follow(learned.burnt_in)

    def answer(self, number: int, pixels: Image, pixel_size: PixelSize | None) -> Answer:
        """Find and count on one frame.

        Parameters
        ----------
        number : int
        pixels : ndarray of uint8, (H, W, 3)
        pixel_size : PixelSize or None
            Of these pixels; None looks for a scale bar in the picture, once.
        """
        try:
            return self._answered(number, pixels, pixel_size)
        except LayerscopeError as error:
            return Answer(number, Detections.empty(pixels.shape[:2]), error=str(error))

    def close(self) -> None:
        """End a calibration that is being made."""
        self._kept.close()

    def _answered(self, number: int, pixels: Image, pixel_size: PixelSize | None) -> Answer:
        size = pixel_size or self._bars.size_in(pixels)
        image = Micrograph(pixels, pixel_size=size, name="live")
        found = finding.find_on(
            self._bars.exclude(image),
            Source("live", "", image),
            optics=self._asked.optics,
            wanted=self._asked.wanted,
            substrates=self._kept.light.substrates,
            finder=self._finder_for(pixels.shape[1]),
        )
        level, notes = found.background.level, tuple[str, ...]()
        if self._head is None:
            if not self._follows:
                self._kept.see(found, pixels)
            notes = self._kept.notes(level)
        result = finding.finish(found, self._counted(found), 0, self._asked.wanted)
        return Answer(
            number, result.detections, size, level, notes,
            calibration=self._kept.calibration,
        )  # fmt: skip

    def _counted(self, found: finding.Found) -> Detections:
        asked, level = self._asked, found.background.level
        if self._head is not None:
            return count_by_head(found.detections, self._head, self._crystal, asked.max_layers)
        calibration, setup = self._kept.calibration, self._kept.setup_of(level)
        if calibration is None or setup is None:
            return found.detections
        return count_by_physics(found.detections, level, setup, calibration, asked.optics.tone)

    def _finder_for(self, width_px: int) -> Finder:
        if self._asked.finder != CLASSICAL:
            return self._finder
        return partial(self._finder, binning=max(1, round(width_px / self._asked.analyse_width_px)))
