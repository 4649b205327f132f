"""What a scan was asked: plain values, so that a run folder can be read by any worker anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.batch.seal import digest
from layerscope.errors import InputError, UnknownName
from layerscope.finding import Optics, Scale, Wanted
from layerscope.io import MAX_PIXELS
from layerscope.models.shipped import model_path
from layerscope.ops.tone import ToneCurve, tone_curve
from layerscope.physics.calibration import OXIDE_SD_NM
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack
from layerscope.tasks.finders import CLASSICAL, DEFAULT_MODEL, FINDERS, Finder, choose_finder

if TYPE_CHECKING:
    from layerscope.ops.illumination import FlatField

GIVEN = "given"
"""Folder of the run that keeps a copy of every file the user gave, for workers elsewhere."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides a number in the result.

    Attributes
    ----------
    material, substrate : str
        For example ``"graphene"`` and ``"SiO2(90nm)/Si"``.
    pixel_size, scale_bar : str or None
        For example ``"0.3844um"``.
    tone : str or None
        Name of the tone curve; None: found out.
    tone_table : tuple of (level, light)
        The points of the curve ``table``.
    na, oxide_sd_nm : float
    flat_field : str
        ``"scan"``: the median of many fields; ``"image"``: fitted to each image; or the name of a
        reference image.
    calibration, head : str or None
        Files of an earlier run; names within `GIVEN` once the scan is planned.
    min_area_px, min_area_um2, layers, residue
        As in `finding.Wanted`.
    max_layers, max_pixels : int
    finder : str
        One of `tasks.finders.FINDERS`.
    model : str or None
        Of a finder with a network: a shipped one's name or a file, and once the scan is planned
        a name within `GIVEN`.
    """

    material: str
    substrate: str
    pixel_size: str | None = None
    scale_bar: str | None = None
    tone: str | None = None
    tone_table: tuple[tuple[float, float], ...] = ()
    na: float = 0.45
    oxide_sd_nm: float = OXIDE_SD_NM
    flat_field: str = "scan"
    calibration: str | None = None
    head: str | None = None
    min_area_px: int = 200
    min_area_um2: float = 0.0
    layers: tuple[int, int] | None = None
    residue: bool = False
    max_layers: int = 10
    max_pixels: int = MAX_PIXELS
    finder: str = CLASSICAL
    model: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no image could make right, before any image is read."""
        load(self.material).require_layer_nm()
        Stack.parse(self.substrate)
        if not 1 <= self.max_layers <= 30:
            raise InputError(f"max_layers {self.max_layers}: expected 1 to 30")
        if self.calibration and self.head:
            raise InputError("give a calibration or a head, not both")
        if self.finder not in FINDERS:
            raise UnknownName.of("finder", self.finder, FINDERS)
        if self.finder == CLASSICAL and self.model:
            raise InputError("the classical finder takes no model; add --finder network or both")
        _ = self.scale, self.wanted, self.tone_curve

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Settings:
        """Read what `as_json` wrote."""
        table = tuple((float(a), float(b)) for a, b in document["tone_table"])
        layers = tuple(document["layers"]) if document["layers"] else None
        return cls(**{**document, "tone_table": table, "layers": layers})

    def as_json(self) -> dict[str, Any]:
        """Plain values, in the order of the fields."""
        return asdict(self)

    @property
    def scale(self) -> Scale:
        """Where pixel sizes come from."""
        return Scale(self.pixel_size, scale_bar_length=self.scale_bar)

    @property
    def wanted(self) -> Wanted:
        """Which regions to keep."""
        return Wanted(self.min_area_px, self.min_area_um2, self.layers, self.residue)

    @property
    def tone_curve(self) -> ToneCurve | None:
        """The camera's curve, where the user knows it."""
        return tone_curve(self.tone, self.tone_table or None) if self.tone else None

    def optics(self, flat_field: FlatField | None) -> Optics:
        """Put together what is known about the microscope."""
        return Optics(self.tone_curve, self.na, self.oxide_sd_nm, flat_field)

    def find_key(self) -> str:
        """Hash of what decides what is found on an image; the rest decides what becomes of it."""
        return self.key(*FIND_FIELDS, *(() if self.finder == CLASSICAL else ("finder", "model")))

    def make_finder(self, folder: Path) -> Finder:
        """Open the finder of a planned scan with the copy of its model in `folder`/`GIVEN`.

        Raises
        ------
        InputError
            If the copy is not what was given, or finds no flakes.
        """
        return choose_finder(self.finder, given_file(folder, self.model) if self.model else None)

    def key(self, *names: str) -> str:
        """Hash of the named fields: what a part was made with."""
        return digest({name: getattr(self, name) for name in names})

    def with_copies(self, folder: Path) -> Settings:
        """Copy the files that the user gave into `folder`/`GIVEN` and refer to those by content.

        Raises
        ------
        InputError
            If one of them cannot be read.
        """
        files = {"calibration": self.calibration, "head": self.head}
        if self.finder != CLASSICAL:
            # Shipped ones too: another version of the package may ship another file.
            files["model"] = str(model_path(self.model or DEFAULT_MODEL))
        if self.flat_field not in ("scan", "image"):
            files["flat_field"] = self.flat_field
        copies: dict[str, Any] = {
            field: _copied(name, folder / GIVEN) for field, name in files.items() if name
        }
        return replace(self, **copies) if copies else self


FIND_FIELDS = (
    "pixel_size", "scale_bar", "flat_field", "min_area_px", "min_area_um2", "max_pixels",
)  # fmt: skip
"""Fields that decide what the classical finder finds; see `Settings.find_key`."""


def given_file(folder: Path, name: str) -> Path:
    """Copy of a file that the user gave, checked against the hash in its name.

    Raises
    ------
    InputError
        If it is missing or not what was given.
    """
    path = folder / GIVEN / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give the same 'scan' command again") from None
    if hashlib.sha256(content).hexdigest()[:16] not in name:
        raise InputError(f"{path}: changed since it was given; give the same 'scan' command again")
    return path


def _copied(name: str, folder: Path) -> str:
    """Copy a file under a name that holds its hash, so that another content is another name."""
    from layerscope.io.atomic import write_bytes

    source = Path(name)
    try:
        content = source.read_bytes()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None
    copy = folder / f"{source.stem[:40]}-{hashlib.sha256(content).hexdigest()[:16]}{source.suffix}"
    if not copy.exists() or copy.read_bytes() != content:
        write_bytes(copy, content)
    return copy.name
