"""One file, one model: an ONNX graph with its card inside, run by ONNX Runtime without torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import CardMissing, InputError, UnreadableFile
from layerscope.models.card import ModelCard
from layerscope.models.judge import JUDGE_KEY, Judge
from layerscope.models.pixel_forest import PixelForest, forest_maps
from layerscope.models.session import read_content, session_of
from layerscope.models.tiling import map_image, resized, sees_whole
from layerscope.models.trees_file import read_forests
from layerscope.ops.channels import FloatImage
from layerscope.ops.guided import guided_maps
from layerscope.ops.normalisation import as_unit, normalise

CARD_KEY = "layerscope.card"
"""Where in the ONNX metadata the card is."""

SPREAD = "spread"
"""Second output of a graph that is an ensemble: standard deviation of the probabilities."""

_LARGEST_STRETCH = 8.0


@dataclass(frozen=True, eq=False)
class Member:
    """One graph of a model.

    Attributes
    ----------
    card : ModelCard
    session : onnxruntime.InferenceSession
    forests : tuple of PixelForest
        Of a graph over pixel features: its stages.
    judge : Judge or None
        Of a flake network that was taught which flakes are wanted.
    """

    card: ModelCard
    session: Any = field(repr=False)
    forests: tuple[PixelForest, ...] = field(default=(), repr=False)
    judge: Judge | None = field(default=None, repr=False)

    @property
    def tells_spread(self) -> bool:
        """Whether the graph is an ensemble by itself, and says how far its parts disagree."""
        return [o.name for o in self.session.get_outputs()][1:] == [SPREAD]

    def answer(
        self, pixels: FloatImage, pixel_size_nm: float | None
    ) -> tuple[FloatImage, FloatImage | None]:
        """Answer an image (H, W, C) with maps (H, W, K), and with their spread where it is told."""
        card, shape = self.card, pixels.shape[:2]
        if card.output == "objects":
            raise InputError(
                f"model {card.name!r} finds objects and has no maps; "
                "use 'layerscope run --task crystals --model'"
            )
        if card.output == "answers":
            raise InputError(
                f"model {card.name!r} answers questions about whole pictures and has no maps; "
                "use 'layerscope run --task categories'"
            )
        pixels = with_channels(pixels, card.channels)
        pixels = resized(pixels, _trained_shape(shape, pixel_size_nm, card))
        pixels = normalise(card.normalisation, pixels)
        if card.input == "image":
            maps = map_image(
                pixels, self._ask, stride=card.stride, margin_px=card.margin_px,
                tile_px=card.tile_px,
            )  # fmt: skip
        else:
            maps = forest_maps(pixels, self.forests, card.features)
            maps = guided_maps(maps, pixels, card.smoothing_px)
        maps, count = resized(maps, shape), len(card.classes)
        return maps[..., :count], maps[..., count:] if self.tells_spread else None

    def run(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Ask the graph itself."""
        answer: npt.NDArray[np.float32] = self.session.run(None, {self._input: batch})[0]
        return answer

    def _ask(self, window: FloatImage) -> FloatImage:
        """Probabilities of a window, and behind them their spread if the graph tells it."""
        batch = np.ascontiguousarray(window.transpose(2, 0, 1)[None])
        if self.tells_spread:
            logits, spread = (a[0] for a in self.session.run(None, {self._input: batch}))
            maps = np.concatenate([activated(logits, self.card.output), spread])
        else:
            maps = activated(self.run(batch)[0], self.card.output)
        return resized(np.ascontiguousarray(maps.transpose(1, 2, 0)), window.shape[:2])

    @property
    def _input(self) -> str:
        return str(self.session.get_inputs()[0].name)


@dataclass(frozen=True, eq=False)
class Model:
    """A network, or several that answer together, ready to be asked.

    Attributes
    ----------
    card : ModelCard
        Of the first file.
    sha256 : str
        Of the file; of several, of their hashes.
    path : Path
        Of the first file.
    members : tuple of Member
        Several are a deep ensemble: the answer is the mean of theirs.
    turned : bool
        Ask about the image in its eight orientations and average; eight times slower.
    """

    card: ModelCard
    sha256: str
    path: Path
    members: tuple[Member, ...] = field(repr=False)
    turned: bool = False

    def predict(self, image: npt.NDArray[Any], pixel_size_nm: float | None = None) -> FloatImage:
        """Ask about every pixel of an image.

        Parameters
        ----------
        image : ndarray, (H, W) or (H, W, C)
            uint8, uint16, or floating point from 0 to 1, of any size. Grey becomes three equal
            channels, colour its mean, where the model wants the other.
        pixel_size_nm : float, optional
            The image is resampled to the range the model was trained at, where both are known.

        Returns
        -------
        ndarray of float32, (H, W, K)
            One map per name of ``card.classes``: probabilities, or shares, from 0 to 1.

        Raises
        ------
        InputError
            If the image does not fit the model.
        """
        answers = (maps for maps, _ in self._answers(image, pixel_size_nm))
        total, count = next(answers), 1
        for maps in answers:
            total, count = total + maps, count + 1
        return total if count == 1 else total / np.float32(count)

    @property
    def judge(self) -> Judge | None:
        """Of the first file."""
        return self.members[0].judge

    @property
    def tells_spread(self) -> bool:
        """Whether `predict_with_spread` can be asked."""
        return self.turned or len(self.members) > 1 or self.members[0].tells_spread

    def predict_with_spread(
        self, image: npt.NDArray[Any], pixel_size_nm: float | None = None
    ) -> tuple[FloatImage, FloatImage]:
        """Ask, and tell how much the members and orientations disagree.

        Parameters
        ----------
        image, pixel_size_nm
            As in `predict`.

        Returns
        -------
        mean, spread : ndarray of float32, (H, W, K)
            Spread is the standard deviation of the answers around their mean; what is inside of a
            member is added to what is between members.

        Raises
        ------
        InputError
            As in `predict`; or if there is only one answer.
        """
        if not self.tells_spread:
            raise InputError(
                "one network gives one answer: train with --members 3, read several files, or "
                "turned=True"
            )
        answers = self._answers(image, pixel_size_nm)
        (mean, inside), count = next(answers), 1
        square = np.zeros_like(mean) if inside is None else inside**2
        for maps, inside in answers:
            step, count = maps - mean, count + 1  # Welford, Technometrics 4, 419 (1962)
            mean = mean + step / np.float32(count)
            square += step * (maps - mean)
            if inside is not None:
                square += inside**2
        return mean, np.sqrt(square / np.float32(count))

    def is_exact(self, shape: tuple[int, int], pixel_size_nm: float | None = None) -> bool:
        """Whether the answer to an image of `shape` is that of the networks to it as a whole.

        False where a network looks at all of the image, which is larger than its window: then its
        windows overlap and are blended.
        """
        return all(
            m.card.input != "image"
            or sees_whole(
                _trained_shape(shape, pixel_size_nm, m.card), m.card.stride, m.card.margin_px,
                m.card.tile_px,
            )
            for m in self.members
        )  # fmt: skip

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Ask the graph itself about a normalised batch (N, C, H, W) or (n, features)."""
        answers = [member.run(batch) for member in self.members]
        return answers[0] if len(answers) == 1 else np.mean(answers, axis=0, dtype=np.float32)

    def _answers(
        self, image: npt.NDArray[Any], pixel_size_nm: float | None
    ) -> Iterator[tuple[FloatImage, FloatImage | None]]:
        pixels = as_unit(image)
        for member in self.members:
            for way in range(8 if self.turned else 1):
                maps, spread = member.answer(_turn(pixels, way), pixel_size_nm)
                back = None if spread is None else _turn_back(spread, way)
                yield _turn_back(maps, way), back


def _turn(image: FloatImage, way: int) -> FloatImage:
    """One of the eight orientations of a square."""
    turned = np.rot90(image, way % 4)
    return np.ascontiguousarray(turned[:, ::-1] if way >= 4 else turned)


def _turn_back(maps: FloatImage, way: int) -> FloatImage:
    return np.ascontiguousarray(np.rot90(maps[:, ::-1] if way >= 4 else maps, -(way % 4)))


def activated(logits: FloatImage, output: str) -> FloatImage:
    """Probabilities (K, H, W) of logits (K, H, W)."""
    if output == "classes":
        raised = np.exp(logits - logits.max(axis=0))
        return np.asarray(raised / raised.sum(axis=0))
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))


def with_channels(image: FloatImage, channels: int) -> FloatImage:
    """Turn grey into three equal channels, or colour into its mean, as a model wants it.

    Raises
    ------
    InputError
        For other numbers of channels.
    """
    has = image.shape[2]
    if has == channels:
        return image
    if has == 1 and channels == 3:
        return np.repeat(image, 3, axis=2)
    if has == 3 and channels == 1:
        return image.mean(axis=2, keepdims=True)
    raise InputError(f"an image of {has} channels for a model of {channels}; choose channels")


def _trained_shape(
    shape: tuple[int, int], pixel_size_nm: float | None, card: ModelCard
) -> tuple[int, int]:
    """Size of the image at the nearest pixel size that the model was trained at."""
    if pixel_size_nm is None or card.pixel_size_nm is None:
        return shape
    if not pixel_size_nm > 0:
        raise InputError(f"pixel size {pixel_size_nm} nm: expected a positive number")
    wanted = float(np.clip(pixel_size_nm, *card.pixel_size_nm))
    factor = pixel_size_nm / wanted
    if factor > _LARGEST_STRETCH:
        raise InputError(
            f"{pixel_size_nm:g} nm a pixel is {factor:.0f} times coarser than {card.name!r} was"
            f" trained at ({wanted:g} nm); take the image at a higher magnification"
        )
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def read_model(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    threads: int = 1,
    turned: bool = False,
) -> Model:
    """Open a model file, or several as an ensemble.

    Parameters
    ----------
    path : path or sequence of paths
        ONNX, written by `training.export.export_model` or `layerscope train`.
    threads : int
        Processor threads that one prediction uses; runs over many images use processes instead.
    turned : bool
        See `Model`.

    Raises
    ------
    UnreadableFile
        If a file is missing, damaged, a pickle, ONNX without a card, or of a newer version.
    InputError
        If the models of an ensemble answer different questions.
    """
    files = [Path(path)] if isinstance(path, str | os.PathLike) else [Path(p) for p in path]
    if not files:
        raise InputError("no model file: expected one or more")
    opened = [_read(file, threads) for file in files]
    members = tuple(member for member, _ in opened)
    asked = [(m.card.task, m.card.output, m.card.classes) for m in members]
    for file, other in zip(files, asked, strict=True):
        if other != asked[0]:
            raise InputError(f"{file.name}: another task or other classes than {files[0].name}")
    hashes = [sha256 for _, sha256 in opened]
    joined = hashlib.sha256("".join(hashes).encode()).hexdigest()
    return Model(
        members[0].card, hashes[0] if len(hashes) == 1 else joined, files[0], members, turned
    )


def _read(file: Path, threads: int) -> tuple[Member, str]:
    content = read_content(file)
    session = session_of(content, file, threads)
    found = session.get_modelmeta().custom_metadata_map
    if CARD_KEY not in found:
        raise CardMissing(
            f"{file.name}: an ONNX file without a card; expected one that layerscope wrote"
        )
    try:
        card = ModelCard.from_json(found[CARD_KEY])
        trees = read_forests(content) if card.input == "pixel_features" else ()
        judge = Judge.from_text(found[JUDGE_KEY]) if JUDGE_KEY in found else None
    except UnreadableFile as reason:
        raise UnreadableFile(f"{file.name}: {reason}") from None
    forests = tuple(PixelForest(stage) for stage in trees)
    return Member(card, session, forests, judge), hashlib.sha256(content).hexdigest()
