"""Pictures of docs/howto/synth_em.md (images above, truth below) and read_em.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from layerscope.draw import draw_scale_bar
from layerscope.report.normalisation_figure import compare_normalisations
from layerscope.synth.em import SynthEm, synth_em

HERE = Path(__file__).parent
SHOWN = ((24, 6.5, "holey"), (47, 6.0, "lacey"), (62, 0.03, "holey"))
GREEN, RED, ORANGE = (0, 158, 115), (213, 94, 0), (230, 159, 0)
MASKS = ("flake_mask", "holes", "contamination")


def outlined(grey: np.ndarray, picture: SynthEm) -> np.ndarray:
    """Grey image (H, W) in colour, with the outlines of its true masks."""
    rgb = np.repeat(grey[..., None], 3, axis=2)
    for name, colour in zip(MASKS, (GREEN, RED, ORANGE), strict=True):
        mask = getattr(picture, name).astype(np.uint8)
        lines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(rgb, lines, -1, colour, 3)
    return rgb


def normalisations() -> None:
    """Draw what networks see of a thin flake on holey carbon, few counts and a hot pixel."""
    picture = synth_em(24, shape=(420, 420), pixel_size_nm=6.5, support="holey").micrograph
    counts = (picture.data.astype(np.uint16) * 12) + 400
    counts[100, 300] = 65535
    image = replace(picture, data=counts, white_level=65535.0, name="flake")
    names = ("unit", "minmax", "percentile", "clahe", "stretched_clahe", "nlm")
    sheet = cv2.imdecode(np.frombuffer(compare_normalisations([image], names), np.uint8), 1)
    cv2.imwrite(str(HERE / "normalisations.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 75])


def main() -> None:
    """Draw the sheets."""
    normalisations()
    columns = []
    for seed, pixel_nm, support in SHOWN:
        picture = synth_em(seed, shape=(360, 360), pixel_size_nm=pixel_nm, support=support)
        grey = picture.micrograph.data
        plain = np.repeat(grey[..., None], 3, axis=2)
        plain = draw_scale_bar(plain, picture.micrograph.pixel_size)
        columns.append(np.vstack([plain, np.full((6, 360, 3), 255, np.uint8),
                                  outlined(grey, picture)]))  # fmt: skip
    gap = np.full((columns[0].shape[0], 6, 3), 255, np.uint8)
    sheet = np.hstack([columns[0], gap, columns[1], gap, columns[2]])
    cv2.imwrite(str(HERE / "tem.jpg"), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])


if __name__ == "__main__":
    main()
