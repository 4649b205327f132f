"""Masks of everything in a picture, by Segment Anything with weights from a folder.

Kirillov et al., arXiv 2304.02643: a grid of points is given to the network, each answers with three
masks; those are kept that it is sure of and that hardly change with the threshold. Ravi et al.,
arXiv 2408.00714, is the second version; both are read as `transformers` saves them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import CropMasks, FloatArray
from layerscope.errors import InputError, MissingExtra, UnreadableFile
from layerscope.tasks.particle_segmentation import grey_of
from layerscope.tasks.proposals import without_repeats

if TYPE_CHECKING:
    import torch

_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KINDS = {"sam": "SamModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
_LEAST_PX = 16


@dataclass(frozen=True)
class SamSettings:
    """How masks are asked for; defaults as published for automatic masks.

    Attributes
    ----------
    points_per_side : int
    least_iou : float
        Overlap with the true object that the network itself expects.
    least_stability : float
        Overlap of the mask at a threshold `offset` higher with that at one as much lower.
    offset : float
        In logits.
    most_overlap : float
        Of two boxes; of nearer ones the surer is kept.
    batch : int
        Points at once.
    """

    points_per_side: int = 32
    least_iou: float = 0.88
    least_stability: float = 0.95
    offset: float = 1.0
    most_overlap: float = 0.7
    batch: int = 64

    def __post_init__(self) -> None:
        shares = (self.least_iou, self.least_stability, self.most_overlap)
        if self.points_per_side < 1 or self.batch < 1 or not all(0 <= s <= 1 for s in shares):
            raise InputError(f"{self}: expected a point or more, and shares from 0 to 1")


class SamProposer:
    """Segment Anything, ready to propose; see `open_sam`.

    Parameters
    ----------
    model : torch.nn.Module
        SamModel or Sam2Model of `transformers`.
    side_px : int
        Of the square that it takes.
    settings : SamSettings
    """

    def __init__(self, model: Any, side_px: int, settings: SamSettings):
        self._model, self._side, self.settings = model, side_px, settings

    def propose(self, image: Micrograph) -> tuple[CropMasks, FloatArray]:
        """Masks and the overlap that the network expects, the surest first."""
        import torch

        pixels, inside = self._square(grey_of(image))
        with torch.inference_mode():
            features = self._model.get_image_embeddings(pixels)
            found = [self._ask(features, p, inside, image.shape) for p in self._grid(inside)]
        boxes = np.concatenate([np.zeros((0, 4), np.int64), *(m.boxes for m, _ in found)])
        crops = tuple(crop for masks, _ in found for crop in masks.crops)
        score = np.concatenate([np.zeros(0), *(s for _, s in found)])
        every = CropMasks(boxes, crops, image.shape)
        return without_repeats(every, score, most_overlap=self.settings.most_overlap)

    def _square(self, grey: npt.NDArray[np.float32]) -> tuple[torch.Tensor, tuple[int, int]]:
        """Picture for the network (1, 3, S, S), and its size inside of the square.

        The first version pads the right and lower side, the second stretches.
        """
        import torch

        height, width = grey.shape
        ratio = self._side / max(height, width)
        size = (self._side, self._side)
        if not self._stretches:
            size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
        small = cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA)
        scaled = (small[None] - np.array(_MEAN)[:, None, None]) / np.array(_SD)[:, None, None]
        square = np.zeros((1, 3, self._side, self._side), np.float32)
        square[0, :, : size[0], : size[1]] = scaled
        return torch.from_numpy(square), size

    @property
    def _stretches(self) -> bool:
        return type(self._model).__name__.startswith("Sam2")

    def _grid(self, inside: tuple[int, int]) -> list[npt.NDArray[np.float32]]:
        """Points x, y (B, 2) of the grid over the picture, in batches."""
        n = self.settings.points_per_side
        middle = (np.arange(n) + 0.5) / n
        y, x = np.meshgrid(middle * inside[0], middle * inside[1], indexing="ij")
        points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
        return np.array_split(points, max(1, -(-len(points) // self.settings.batch)))

    def _ask(
        self,
        features: Any,
        points: npt.NDArray[np.float32],
        inside: tuple[int, int],
        shape: tuple[int, int],
    ) -> tuple[CropMasks, FloatArray]:
        """Masks of one batch of points, at the picture's own size."""
        import torch

        asked = torch.from_numpy(points)[None, :, None]
        answer = self._model(
            image_embeddings=features, input_points=asked,
            input_labels=torch.ones(asked.shape[:3], dtype=torch.int64), multimask_output=True,
        )  # fmt: skip
        logits = answer.pred_masks[0].flatten(0, 1).float().numpy()
        iou = answer.iou_scores[0].flatten().double().numpy()
        sure = np.flatnonzero(iou >= self.settings.least_iou)
        steady = [i for i in sure.tolist() if self._stability(logits[i]) >= self._least]
        dense, score = [], []
        for i in steady:
            mask = _full_size(logits[i], self._side, inside, shape) > 0
            if np.count_nonzero(mask) >= _LEAST_PX:
                dense.append(CropMasks.from_dense([mask], shape))
                score.append(min(float(iou[i]), 1.0))
        boxes = np.concatenate([np.zeros((0, 4), np.int64), *(m.boxes for m in dense)])
        crops = tuple(np.array(m.crops[0]) for m in dense)
        return CropMasks(boxes, crops, shape), np.array(score)

    @property
    def _least(self) -> float:
        return self.settings.least_stability

    def _stability(self, logits: npt.NDArray[np.float32]) -> float:
        wide = np.count_nonzero(logits > -self.settings.offset)
        return float(np.count_nonzero(logits > self.settings.offset) / max(int(wide), 1))


def _full_size(
    logits: npt.NDArray[np.float32], side: int, inside: tuple[int, int], shape: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Logits of the square brought to the picture's size (H, W)."""
    large = cv2.resize(logits, (side, side), interpolation=cv2.INTER_LINEAR)
    cut = np.ascontiguousarray(large[: inside[0], : inside[1]])
    return np.asarray(cv2.resize(cut, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def open_sam(weights: str | Path, settings: SamSettings | None = None) -> SamProposer:
    """Open Segment Anything from a folder with ``config.json`` and its weights.

    Parameters
    ----------
    weights : path
        As `transformers` saves a SamModel or Sam2Model. Nothing is fetched.
    settings : SamSettings, optional

    Raises
    ------
    MissingExtra
        Without torch and transformers: ``pip install 'layerscope[sam]'``.
    UnreadableFile
        If the folder holds no such model.
    """
    folder = Path(weights)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = _KINDS[config["model_type"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise UnreadableFile(
            f"{folder}: no folder with config.json of a SAM or SAM2 model, as transformers saves it"
        ) from None
    try:
        import transformers
    except ImportError:
        raise MissingExtra("automatic masks by a network", "sam") from None
    try:
        model = getattr(transformers, kind).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as reason:
        told = str(reason).splitlines()[0][:120]
        raise UnreadableFile(f"{folder}: weights of {kind} cannot be read ({told})") from None
    return SamProposer(
        model.eval(), int(model.config.prompt_encoder_config.image_size), settings or SamSettings()
    )
