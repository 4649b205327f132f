"""Pictures of docs/howto/prepare_masks.md and risk_report.md; the second needs ``pdftoppm``."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np

from layerscope.core.results import FloatArray
from layerscope.io.ilastik.exports import write_probabilities
from layerscope.labelling.dataset import prepare
from layerscope.labelling.dataset_settings import PrepareSettings
from layerscope.labelling.dataset_sources import MaskSource
from layerscope.report.dataset_folder import PreparedFolder
from layerscope.synth.em_files import em_set, write_em

HERE = Path(__file__).parent
PAGES = (1, 4, 6)


def soft(mask: np.ndarray, rng: np.random.Generator) -> FloatArray:
    """Probabilities (H, W) such as a forest gives: unsure at the edges and here and there."""
    noisy = mask.astype(np.float32) + rng.normal(0, 0.35, mask.shape).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noisy, (0, 0), 2.2), 0, 1)


def masks_over_image(folder: Path) -> None:
    """Draw overlay and probability of one synthetic image, side by side."""
    (picture,) = em_set(24, 1, shape=(420, 560), pixel_size_nm=6.5, support="holey")
    write_em([picture], folder / "em")
    rng = np.random.default_rng(0)
    for name, mask in (("flake", picture.flake_mask), ("hole", picture.holes)):
        (folder / name).mkdir()
        path = folder / name / f"{picture.micrograph.name}_Probabilities.h5"
        write_probabilities(path, soft(mask, rng)[..., None])
    sources = tuple(MaskSource(folder / name, name) for name in ("flake", "hole"))
    settings = PrepareSettings(sources, both=(frozenset(("flake", "hole")),))
    prepare([folder / "em" / "images"], settings, on_image=PreparedFolder(folder / "out"))
    stem = folder / "out" / "qc" / picture.micrograph.name
    panels = [cv2.imread(f"{stem}_{end}.png") for end in ("overlay", "probability_flake")]
    height = 520
    sized = [
        cv2.resize(
            p, (round(p.shape[1] * height / p.shape[0]), height), interpolation=cv2.INTER_AREA
        )
        for p in panels
    ]
    cv2.imwrite(str(HERE / "prepare_qc.jpg"), np.hstack(sized), [cv2.IMWRITE_JPEG_QUALITY, 80])


def pages_of_report(folder: Path) -> None:
    """Draw three pages of a report on six synthetic images."""
    drawn = f"layerscope synth em -n 6 --size 640x560 --pixel-size 10nm --seed 21 -o {folder}/em"
    found = f"layerscope run --task particles --labels {folder}/em -o {folder}/r {folder}/em/images"
    told = "--sample GO-12 --reference R-2026-17 --date 2026-11-21"
    report = f"layerscope report {folder}/r -o {folder} {told}"
    shown = f"pdftoppm -r 60 -png {folder}/report.pdf {folder}/p"
    for command in (drawn, found, report, shown):
        subprocess.run(shlex.split(command), check=True)
    pages = [cv2.imread(str(folder / f"p-{page:02d}.png")) for page in PAGES]
    framed = [
        cv2.copyMakeBorder(p, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=(180,) * 3) for p in pages
    ]
    path = str(HERE / "risk_report.jpg")
    cv2.imwrite(path, np.hstack(framed), [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    for draw in (masks_over_image, pages_of_report):
        with tempfile.TemporaryDirectory() as place:
            draw(Path(place))
