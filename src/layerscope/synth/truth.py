"""What is really on a synthetic micrograph, on disk and against what was found."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.classes import THICK_VALUE
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import CropMasks, Detections, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes

TRUTH_COLUMNS = (
    "image", "region_id", "flake_id", "n_layers", "thickness_nm", "area_px", "y_px", "x_px",
)  # fmt: skip


@dataclass(frozen=True)
class SynthImage:
    """A synthetic micrograph and its exact truth; one row per terrace.

    Attributes
    ----------
    micrograph : Micrograph
    masks : CropMasks
        Visible, connected regions of one layer number; they do not overlap.
    flake_id : ndarray of int, (n,)
        1-based; touching terraces of one flake share it.
    n_layers : ndarray of int, (n,)
    thickness_nm : ndarray, (n,)
    material, substrate, camera : str
        The substrate as a user would name it; the true oxide is in the micrograph's metadata.
    encoded : bytes
        The JPEG file whose decoded pixels the micrograph holds; empty without JPEG.
    """

    micrograph: Micrograph
    masks: CropMasks
    flake_id: IntArray
    n_layers: IntArray
    thickness_nm: FloatArray
    material: str
    substrate: str
    camera: str
    encoded: bytes = b""

    def __len__(self) -> int:
        return len(self.n_layers)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """Terrace number (H, W), 1..n; 0 is no flake."""
        return self.masks.labels()

    @property
    def layer_labels(self) -> npt.NDArray[np.int32]:
        """Number of layers (H, W); 0 is no flake."""
        return self.masks.labels(self.n_layers.tolist())


def match_truth(
    detections: Detections | CropMasks, truth: SynthImage, *, iou: float = 0.5
) -> IntArray:
    """Which detection is each true terrace.

    Parameters
    ----------
    detections : Detections or CropMasks
    truth : SynthImage
    iou : float
        Least intersection over union, 0.5 to 1, so that at most one detection fits unless
        detections overlap each other.

    Returns
    -------
    ndarray of int, (n,)
        Index of the best detection per terrace, or -1.

    Raises
    ------
    InputError
        If the shapes differ or `iou` is out of range.
    """
    masks = detections.masks if isinstance(detections, Detections) else detections
    if masks.shape != truth.masks.shape:
        raise InputError(f"detections on {masks.shape}, truth on {truth.masks.shape}")
    if not 0.5 <= iou <= 1:
        raise InputError(f"iou {iou}: expected 0.5 to 1")
    found = np.full(len(truth), -1, np.int64)
    for i in range(len(truth)):
        near = _overlapping(truth.masks.boxes[i], masks.boxes)
        scores = [_iou(truth.masks, i, masks, int(j)) for j in near]
        if scores and max(scores) >= iou:
            found[i] = near[int(np.argmax(scores))]
    return found


def _overlapping(box: IntArray, boxes: IntArray) -> IntArray:
    if len(boxes) == 0:
        return np.zeros(0, np.int64)
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    return np.flatnonzero((low < high).all(axis=1))


def _iou(a: CropMasks, i: int, b: CropMasks, j: int) -> float:
    top, left = np.maximum(a.boxes[i, :2], b.boxes[j, :2])
    bottom, right = np.minimum(a.boxes[i, 2:], b.boxes[j, 2:])
    cut = [
        m.crops[k][top - m.boxes[k, 0] : bottom - m.boxes[k, 0],
                   left - m.boxes[k, 1] : right - m.boxes[k, 1]]
        for m, k in ((a, i), (b, j))
    ]  # fmt: skip
    common = np.count_nonzero(cut[0] & cut[1])
    return float(common / (a.area_px[i] + b.area_px[j] - common))


def write_set(images: Iterable[SynthImage], directory: str | os.PathLike[str]) -> list[Path]:
    """Write images, masks and one table of truth.

    ``NAME.jpg`` or ``NAME.png`` in `directory`, ``masks/NAME.png`` (16 bit, value = region_id),
    ``layers/NAME.png`` (8 bit, value = layers, 254 from there on) and ``truth.csv``, which is
    written last. A file is either whole or absent.

    Returns
    -------
    list of Path
        The image files, in order.
    """
    root = Path(directory)
    for folder in ("masks", "layers"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    paths, rows = [], []
    for image in images:
        name = image.micrograph.name
        path = root / f"{name}{'.jpg' if image.encoded else '.png'}"
        write_bytes(path, image.encoded or _png(image.micrograph.data))
        write_bytes(root / "masks" / f"{name}.png", _png(image.labels.astype(np.uint16)))
        layers = np.minimum(image.layer_labels, THICK_VALUE).astype(np.uint8)
        write_bytes(root / "layers" / f"{name}.png", _png(layers))
        paths.append(path)
        rows.extend(_rows(path.name, image))
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([TRUTH_COLUMNS, *rows])
    write_bytes(root / "truth.csv", table.getvalue().encode())
    return paths


def _rows(image_name: str, image: SynthImage) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for i, (where, crop) in enumerate(image.masks):
        y, x = (float(v) for v in np.argwhere(crop).mean(axis=0))
        centre = (round(where[0].start + y, 2), round(where[1].start + x, 2))
        values = (int(image.flake_id[i]), int(image.n_layers[i]))
        thickness_nm = round(float(image.thickness_nm[i]), 4)
        rows.append((image_name, i + 1, *values, thickness_nm, int(crop.sum()), *centre))
    return rows


def _png(data: npt.NDArray[np.generic]) -> bytes:
    done, encoded = cv2.imencode(".png", data[..., ::-1] if data.ndim == 3 else data)
    if not done:
        raise InputError(f"cannot write {data.dtype} {data.shape} as PNG")
    return encoded.tobytes()
