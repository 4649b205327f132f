"""Least probabilities of classes, for all images or for one, and their file beside the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError, UnreadableFile
from layerscope.io.atomic import write_bytes
from layerscope.labelling.dataset_sources import Thresholds
from layerscope.labelling.scribbles import Labels
from layerscope.ops.channels import FloatImage

__all__ = ["Thresholds", "decide", "read_thresholds", "thresholds_path", "write_thresholds"]


def thresholds_path(model: Path) -> Path:
    """File of the thresholds that belong to a model file: ``model.thresholds.json``."""
    return model.with_suffix(".thresholds.json")


def read_thresholds(path: Path) -> Thresholds:
    """Read thresholds; where there is no file, those of the default, 0.7.

    Raises
    ------
    UnreadableFile
        If it holds something else.
    InputError
        If a threshold is not in 0 to 1.
    """
    if not path.exists():
        return Thresholds()
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        of_image = {
            (image.casefold(), name): float(value)
            for image, classes in told.get("images", {}).items()
            for name, value in classes.items()
        }
        of_class = {str(name): float(v) for name, v in told.get("classes", {}).items()}
        return Thresholds(float(told["default"]), of_class, of_image)
    except InputError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as reason:
        raise UnreadableFile(
            f"{path.name}: no thresholds ({reason}); expected default, classes and images"
        ) from None


def write_thresholds(path: Path, thresholds: Thresholds) -> None:
    """Write thresholds, the same bytes for the same ones.

    Raises
    ------
    CannotWrite
        If the disk refuses.
    """
    images: dict[str, dict[str, float]] = {}
    for (image, name), value in thresholds.of_image.items():
        images.setdefault(image, {})[name] = value
    told = {
        "default": thresholds.default, "classes": dict(thresholds.of_class), "images": images
    }  # fmt: skip
    text = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def decide(
    probabilities: FloatImage, classes: tuple[str, ...], thresholds: Thresholds, image: str
) -> Labels:
    """Class of each pixel, 1 to K, and 0 where no class reaches its threshold.

    Parameters
    ----------
    probabilities : ndarray of float32, (H, W, K)
    classes : tuple of str
    thresholds : Thresholds
    image : str
        Name of the image, which may have thresholds of its own.

    Returns
    -------
    ndarray of uint8, (H, W)
        Of several classes that reach theirs, the most probable.
    """
    least: npt.NDArray[np.float32] = np.array([thresholds.of(image, c) for c in classes], "f4")
    # Votes of 100 trees are counted exactly; 0.7 of them is 70 in float32 too.
    reached = np.where(probabilities >= least - np.float32(1e-6), probabilities, -1)
    return np.where(reached.max(axis=2) < 0, 0, reached.argmax(axis=2) + 1).astype(np.uint8)
