"""What a camera and a file make of a scene: walls of thick steps, residue, JPEG, provenance."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, Modality, PixelSize, Step
from layerscope.core.results import FloatArray
from layerscope.physics.materials import Material
from layerscope.physics.thin_film import Stack, flake_reflectance
from layerscope.synth.camera import WAVELENGTH_NM, FloatImage, SynthCamera, expose

_EDGE_LOSS = (0.85, 0.85, 0.4)
_POLYMER = Material(
    "polymer", None, np.array([380.0, 760.0]), np.array([1.5, 1.5]), np.zeros(2), "",
    "typical index of adhesive and of PMMA", "",
)  # fmt: skip
_POLYMER_NM: FloatArray = np.linspace(0, 400, 101)


def shade_walls(height_nm: npt.NDArray[np.float32]) -> FloatImage:
    """Light that walls of thick steps leave, (H, W, 3): they scatter the rest past the objective.

    A dark bluish line on the lower side only: a terrace's own pixels keep their colour; 1 px
    wide below and 2 px above about 60 nm, as on real bulk flakes.

    Parameters
    ----------
    height_nm : ndarray of float32, (H, W)
    """
    if height_nm.max() < 8:
        return np.ones((1, 1, 3), np.float32)
    near_nm = cv2.dilate(height_nm, np.ones((3, 3), np.uint8)) - height_nm
    far_nm = cv2.dilate(height_nm, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    step_nm = np.maximum(near_nm, far_nm - height_nm - 60)
    strength = 1 - np.exp(-np.maximum(step_nm - 8, 0) / 40)
    return np.asarray(1 - strength[..., None] * np.array(_EDGE_LOSS, np.float32), np.float32)


def coat(
    scene: FloatImage,
    camera: SynthCamera,
    stack: Stack,
    polymer_nm: npt.NDArray[np.float32],
    na: float,
) -> None:
    """Multiply the light under residue by what the polymer film changes.

    Parameters
    ----------
    scene : ndarray of float32, (H, W, 3)
        Changed in place.
    camera : SynthCamera
    stack : Stack
    polymer_nm : ndarray of float32, (H, W)
    na : float
    """
    reflectance = flake_reflectance(_POLYMER, _POLYMER_NM, stack, WAVELENGTH_NM, na=na)
    light = expose(camera, reflectance, reflectance[0])
    under = polymer_nm > 0.02
    for channel in range(3):
        ratio = light[:, channel] / light[0, channel]
        scene[..., channel][under] *= np.interp(polymer_nm[under], _POLYMER_NM, ratio)


def through_jpeg(
    data: npt.NDArray[np.generic], quality: int | None
) -> tuple[npt.NDArray[np.generic], bytes]:
    """Pixels as a JPEG file of that quality (1 to 100) shows them, and its bytes; None: as is."""
    if quality is None:
        return data, b""
    import simplejpeg

    encoded = bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(data), quality, "RGB", "420"))
    return np.asarray(simplejpeg.decode_jpeg(encoded, "RGB")), encoded


def as_micrograph(
    data: npt.NDArray[np.generic],
    encoded: bytes,
    name: str,
    pixel_size_nm: float,
    camera: SynthCamera,
    stack: Stack,
    material: str,
    bare: FloatArray,
) -> Micrograph:
    """Pixels with what is known of how they were made; `bare` is the light of the substrate."""
    facts = {
        "material": material,
        "true_stack": str(stack),
        "camera": camera.name,
        "lamp": camera.lamp,
        "tone": camera.tone,
        "bare_light": tuple(round(float(v), 6) for v in bare),
    }
    return Micrograph(
        data,
        Modality.OPTICAL,
        PixelSize(pixel_size_nm, pixel_size_nm, "synthetic"),
        name=name,
        white_level=camera.white_level,
        sha256=hashlib.sha256(encoded).hexdigest() if encoded else "",
        metadata=facts,
        history=(Step("synthesise", facts),),
    )
