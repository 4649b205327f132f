"""A mosaic and its regions at a size that can be looked at: whole, it does not fit into memory."""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import CropMasks, Detections
from layerscope.core.run import ImageResult
from layerscope.io.mosaic import Mosaic, open_mosaic

_SIDE_PX = 5000
_BAND = 64


def overview_of(image: ImageResult) -> tuple[Micrograph, Detections, PixelSize | None]:
    """Picture, regions and pixel size of a mosaic, reduced to 5000 px or less a side.

    Parameters
    ----------
    image : ImageResult
        Of a file that `is_mosaic`.

    Returns
    -------
    Micrograph
    Detections
        Without regions that are too small to be seen.
    PixelSize or None
    """
    factor = -(-max(image.shape) // _SIDE_PX)
    with open_mosaic(image.path) as mosaic:
        data = reduced(mosaic, factor)
        picture = Micrograph(data, name=image.name, white_level=mosaic.white_level)
    size = image.pixel_size
    if size is not None:
        size = PixelSize(size.y_nm * factor, size.x_nm * factor, size.source)
    return picture, reduced_regions(image.detections, factor), size


def reduced(mosaic: Mosaic, factor: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """Means of `factor` x `factor` px; a remainder at the right and bottom is left out."""
    height, width = (n // factor for n in mosaic.shape)
    parts = []
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        band = mosaic.read(top * factor, 0, bottom * factor, width * factor).data
        parts.append(cv2.resize(band, (width, bottom - top), interpolation=cv2.INTER_AREA))
    return np.concatenate(parts)


def reduced_regions(detections: Detections, factor: int) -> Detections:
    """Regions whose masks are every `factor`-th pixel; those that hold none are left out."""
    half, (height, width) = factor // 2, (n // factor for n in detections.masks.shape)
    rows, boxes, crops = [], [], []
    for i, (where, crop) in enumerate(detections.masks):
        # First pixel of the grid half, half + factor, ... inside the box, along each axis.
        top, left = (-(-(s.start - half) // factor) for s in where)
        small = crop[
            top * factor + half - where[0].start :: factor,
            left * factor + half - where[1].start :: factor,
        ][: height - top, : width - left]
        if small.any():
            rows.append(i)
            crops.append(small.copy())
            boxes.append((top, left, top + small.shape[0], left + small.shape[1]))
    chosen = detections[np.array(rows, np.int64)]
    masks = CropMasks(np.array(boxes, np.int64).reshape(-1, 4), tuple(crops), (height, width))
    return Detections(
        masks, chosen.score, chosen.flags, chosen.flake_id, chosen.signal, chosen.layers,
        chosen.provenance,
    )  # fmt: skip
