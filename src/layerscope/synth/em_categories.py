"""Synthetic micrographs with the answers to the questions of ``graphene-tem``, from their truth.

Each is taken at one of the magnifications of a survey, with a field of 3 um at 10 000 times. What a
magnification cannot show is answered with NA; what it shows is meant to be seen: thin carbon,
enough electrons, no single layers. A frame is drawn again until a person could tell; where none
comes the answer is left empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import IntArray
from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes
from layerscope.io.label_sheets import write_label_sheet
from layerscope.io.questionnaires import read_questionnaire
from layerscope.synth.em import PIXEL_SIZE_NM, SynthEm, synth_em
from layerscope.synth.em_answers import count_of, morphology_of
from layerscope.synth.em_optics import Microscope
from layerscope.synth.em_rare_shapes import draw_rare
from layerscope.synth.em_support import Support

MAGNIFICATIONS = (3_000, 6_000, 10_000, 20_000, 50_000)
_RARE_MAGNIFICATIONS = (6_000, 10_000)
"""Several flakes fit into the frame, and their folds are seen."""

_CONTENT = ("particle count", "material composition", "morphology", "nanostructures")
_FIELD_NM = 3e7  # at a magnification of 1: 3 um at 10 000 times
_USABLE_SHARE, _PATTERN_SHARE = 0.85, 0.12
_DIRTY_SHARE = 0.4  # of the images that can show it
_THICK_LAYERS, _THIN_LAYERS = (17, 20), (4, 7)
_MOST_TRIES = 24

_DOTS = {"none": (0, 1), "one": (1, 2), "few (<10)": (2, 9), "many (>10)": (25, 60)}
_DOT_ODDS = (0.3, 0.2, 0.25, 0.25)


@dataclass(frozen=True, eq=False)
class Categorised:
    """A micrograph and the answers that are true of it.

    Attributes
    ----------
    micrograph : Micrograph
        Its name holds the magnification, as in ``tem-0003_10000X``.
    answers : mapping of str to str
        Of the questionnaire ``graphene-tem``; empty where a person could not tell.
    """

    micrograph: Micrograph
    answers: dict[str, str]


def categorised_set(
    seed: int, number: int, *, shape: tuple[int, int] = (224, 224), rare_share: float = 0.0
) -> Iterator[Categorised]:
    """Draw micrographs with answers; the first of a longer series are those of a shorter one.

    Parameters
    ----------
    seed, number : int
    shape : tuple of int
        Rows and columns.
    rare_share : float
        Share of images, 0 to 1, that show shapes which are rare in a survey: a ``combination``, or
        ``disorganised graphene``. The others are the same images as without.

    Raises
    ------
    InputError
        If `number` is not positive, or `rare_share` is no share.
    """
    if number < 1:
        raise InputError(f"{number} images: expected 1 or more")
    if not 0 <= rare_share <= 1:
        raise InputError(f"rare share {rare_share:g}: expected 0 to 1")
    return (_draw(seed * 100_003 + i, f"tem-{i:04d}", shape, rare_share) for i in range(number))


def write_categorised(pictures: Iterable[Categorised], directory: str | os.PathLike[str]) -> int:
    """Write ``images/NAME.png`` and ``labels.csv``, as `layerscope train categories` reads them.

    Returns
    -------
    int
        Number of images.

    Raises
    ------
    CannotWrite
        If there is no room or no permission.
    """
    root, asked = Path(directory), read_questionnaire("graphene-tem")
    (root / "images").mkdir(parents=True, exist_ok=True)
    rows = {}
    for picture in pictures:
        name = f"{picture.micrograph.name}.png"
        _, encoded = cv2.imencode(".png", picture.micrograph.data)
        write_bytes(root / "images" / name, encoded.tobytes())
        rows[name] = [picture.answers[question.name] for question in asked.questions]
    write_label_sheet(root / "labels.csv", asked, rows)
    return len(rows)


def _draw(seed: int, name: str, shape: tuple[int, int], rare_share: float) -> Categorised:
    chance = np.random.default_rng([seed, 0xD15])
    if chance.random() < rare_share:
        return _rare(chance, seed, name, shape)
    rng = np.random.default_rng([seed, 0xCA7])
    times = int(rng.choice(MAGNIFICATIONS))
    pixel_nm = float(np.clip(_FIELD_NM / times / max(shape), *PIXEL_SIZE_NM))
    name = f"{name}_{times}X"
    if rng.random() < _PATTERN_SHARE:
        return _pattern(rng, name, shape)
    picture, usable = _scene(rng, seed, shape, pixel_nm), rng.random() < _USABLE_SHARE
    if not usable:
        data = _spoiled(rng, picture.micrograph.data)
        answers = {"image type": "BF", **dict.fromkeys(_CONTENT, "NA"), "usability": "no"}
        return Categorised(replace(picture.micrograph, data=data, name=name), answers)
    data, dots, dirty = picture.micrograph.data, "NA", False
    if times >= 20_000:
        data, dots = _strew_dots(rng, picture, shape)
    elif times >= 5_000:  # dirt and nanoparticles on one image look alike, also to people
        data, dirty = _strew_drops(rng, data)
    answers = {
        "image type": "BF",
        "particle count": count_of(picture.flakes),
        "material composition": _composition(picture, dirty) if times >= 5_000 else "NA",
        "morphology": morphology_of(picture) if times >= 5_000 else "NA",
        "nanostructures": dots,
        "usability": "yes",
    }
    image = replace(picture.micrograph, data=data, name=name)
    return Categorised(image, answers)


def _rare(rng: np.random.Generator, seed: int, name: str, shape: tuple[int, int]) -> Categorised:
    times = int(rng.choice(_RARE_MAGNIFICATIONS))
    pixel_nm = float(np.clip(_FIELD_NM / times / max(shape), *PIXEL_SIZE_NM))
    support, scope = _survey(rng, pixel_nm)
    picture, morphology = draw_rare(rng, seed, shape, pixel_nm, support, scope)
    answers = {
        "image type": "BF",
        "particle count": count_of(picture.flakes),
        "material composition": _composition(picture, dirty=False),
        "morphology": morphology,
        "nanostructures": "NA",
        "usability": "yes",
    }
    return Categorised(replace(picture.micrograph, name=f"{name}_{times}X"), answers)


def _scene(rng: np.random.Generator, seed: int, shape: tuple[int, int], pixel_nm: float) -> SynthEm:
    """Draw until the wanted number of particles is there: most frames of a survey have few."""
    fine = pixel_nm * max(shape) < _FIELD_NM / 15_000  # the field is smaller than most flakes
    odds = (0.2, 0.4, 0, 0, 0.4) if fine else (0.15, 0.25, 0.25, 0.25, 0.1)
    wanted = str(rng.choice(["none", "one", "few", "many", "part"], p=odds))
    thick = bool(rng.random() < 0.35)
    layers = _THICK_LAYERS if thick else _THIN_LAYERS
    crumpled = 0.0 if thick else float(rng.choice([0.0, 1.0]))
    support, scope = _survey(rng, pixel_nm)
    number = {"none": 0, "one": 1, "few": 3, "many": 20, "part": 2}[wanted]
    told = None
    for k in range(_MOST_TRIES):
        picture = synth_em(
            seed * _MOST_TRIES + k, shape=shape, pixel_size_nm=pixel_nm, n_flakes=number,
            layers=layers, crumpled_share=crumpled, contamination=0.0, support=support,
            microscope=scope,
        )  # fmt: skip
        if count_of(picture.flakes).startswith(wanted):
            told = picture
            if morphology_of(picture):
                break
    return told or picture


def _survey(rng: np.random.Generator, pixel_nm: float) -> tuple[Support, Microscope]:
    """One laboratory, one microscope: else a layer has any contrast, and nobody sees how many."""
    kind = str(rng.choice(["film", "regular"], p=[0.6, 0.4]))
    support = replace(Support.draw(rng, kind), thickness_nm=float(rng.uniform(3, 6)))
    scope = Microscope.draw(rng, pixel_nm)
    scope = replace(
        scope, dose_e_px=float(rng.uniform(4000, 8000)), black=float(rng.uniform(0, 0.15)),
        defocus_nm=scope.defocus_nm / 4, voltage_kv=200.0, mean_free_path_nm=70.0,
    )  # fmt: skip
    return support, scope


def _composition(picture: SynthEm, dirty: bool) -> str:
    if dirty:
        return "obvious impurities or contaminants"
    return "one" if len(picture.flakes) else "NA"


def _strew_dots(
    rng: np.random.Generator, picture: SynthEm, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], str]:
    """Dense particles of some nm on the flakes, dark in bright field."""
    data = picture.micrograph.data.astype(np.float32)
    rows, columns = np.nonzero(picture.flake_mask)
    if not len(rows):
        return data.astype(np.uint8), "NA"
    least, most = _DOTS[answer := str(rng.choice(list(_DOTS), p=_DOT_ODDS))]
    radius = max(2.0, 0.012 * max(shape))
    places = _apart(rng, np.stack([columns, rows], axis=1), int(rng.integers(least, most)), radius)
    if len(places) < least:  # the flakes have no room for them
        return data.astype(np.uint8), "none"
    shade = np.zeros(shape, np.float32)
    for place in places.tolist():
        cv2.circle(shade, place, round(radius * float(rng.uniform(0.8, 1.3))), 1.0, -1, cv2.LINE_AA)
    dark = cv2.GaussianBlur(shade, (0, 0), 0.7)
    return np.clip(data * (1 - 0.75 * dark), 0, 255).astype(np.uint8), answer


def _apart(rng: np.random.Generator, among: IntArray, number: int, radius: float) -> IntArray:
    """Choose up to `number` of the points (n, 2) so that discs around them do not touch."""
    kept = among[:0]
    for point in among[rng.integers(len(among), size=6 * number)]:
        if len(kept) < number and (np.hypot(*(kept - point).T) > 3.2 * radius).all():
            kept = np.concatenate([kept, point[None]])
    return kept


def _strew_drops(
    rng: np.random.Generator, data: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Draw drops of dried residue with a dark rim, or none; and say which."""
    if rng.random() >= _DIRTY_SHARE:
        return data, False
    shade = np.zeros(data.shape, np.float32)
    for _ in range(int(rng.integers(4, 10))):
        place = tuple(int(rng.uniform(0.05, 0.95) * n) for n in data.shape[::-1])
        radius = round(float(rng.uniform(0.02, 0.045)) * max(data.shape))
        cv2.circle(shade, place, radius, 0.55, -1, cv2.LINE_AA)
        cv2.circle(shade, place, radius, 0.85, max(1, radius // 3), cv2.LINE_AA)
    dark = cv2.GaussianBlur(shade, (0, 0), 0.7)
    return np.clip(data * (1 - dark), 0, 255).astype(np.uint8), True


def _spoiled(rng: np.random.Generator, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Drift or a few electrons only: no measurement is possible."""
    if rng.random() < 0.5:
        length = max(9, max(data.shape) // 12) | 1
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1 / length
        turn = cv2.getRotationMatrix2D((length // 2, length // 2), float(rng.uniform(0, 180)), 1)
        kernel = cv2.warpAffine(kernel, turn, (length, length))
        drifted = cv2.filter2D(data.astype(np.float32), -1, kernel / kernel.sum())
        return np.clip(drifted, 0, 255).astype(np.uint8)
    counts = rng.poisson(data.astype(float) / 255 * rng.uniform(1, 3))
    return np.clip(counts / max(1, counts.max()) * 255, 0, 255).astype(np.uint8)


def _pattern(rng: np.random.Generator, name: str, shape: tuple[int, int]) -> Categorised:
    """Draw a diffraction pattern of graphene: a direct beam, sextets of spots or rings."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(float)
    y, x = y - height / 2 - rng.uniform(-6, 6), x - width / 2 - rng.uniform(-6, 6)
    radius = np.hypot(y, x)
    beam = 4 * np.exp(-radius / (0.05 * height)) + 40 * np.exp(-((radius / (0.02 * height)) ** 2))
    first = height * rng.uniform(0.18, 0.3)
    rings = rng.random() < 0.4
    for order, strength in ((1.0, 1.0), (np.sqrt(3), 0.7), (2.0, 0.35)):
        if rings:
            beam += strength * np.exp(-(((radius - order * first) / (0.008 * height)) ** 2))
            continue
        start = rng.uniform(0, np.pi / 3)
        for angle in start + np.arange(6) * np.pi / 3:
            away = np.hypot(y - order * first * np.sin(angle), x - order * first * np.cos(angle))
            beam += 6 * strength * np.exp(-((away / (0.012 * height)) ** 2))
    counts = rng.poisson(np.minimum(beam, 12) * 12 + 2)
    data = np.clip(counts * 1.7, 0, 255).astype(np.uint8)
    answers = {"image type": "DP", **dict.fromkeys(_CONTENT, "NA"), "usability": "yes"}
    return Categorised(Micrograph(data, name=name), answers)
