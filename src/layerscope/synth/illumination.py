"""From a scene to light on the sensor: diffraction, defocus, halo, uneven illumination."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from layerscope.synth.camera import FloatImage, SynthCamera, blur

_CHANNEL_NM = (605.0, 535.0, 462.0)


@dataclass(frozen=True)
class Illumination:
    """How evenly and how sharply the field is seen; images of one setup share it.

    Attributes
    ----------
    vignetting : float
        Loss of light at the corners, as a fraction.
    centre : tuple of float
        Centre of the vignetting, y and x, 0 to 1.
    tilt : tuple of three (y, x) pairs
        Relative change of light across the field, per channel.
    aperture : float
        Radius of a round field stop in half diagonals; 1.2 and more is out of sight.
    defocus_px : float
        Blur added to the diffraction limit, standard deviation.
    gain : float
        Drift of the exposure.
    """

    vignetting: float = 0.0
    centre: tuple[float, float] = (0.5, 0.5)
    tilt: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    aperture: float = 2.0
    defocus_px: float = 0.0
    gain: float = 1.0

    def field(self, shape: tuple[int, int]) -> FloatImage:
        """Relative light (H, W, 3) over the field, 1 at the centre of an even one."""
        y = (np.arange(shape[0], dtype=np.float32) + 0.5) / shape[0]
        x = (np.arange(shape[1], dtype=np.float32) + 0.5) / shape[1]
        aspect = shape[0] / shape[1]
        corner2 = np.float32((aspect**2 + 1) / 4)
        dy = (y - np.float32(self.centre[0])) * np.float32(aspect)
        dx = x - np.float32(self.centre[1])
        r2 = (dy[:, None] ** 2 + dx[None, :] ** 2) / corner2
        even = 1 - np.float32(self.vignetting) * (0.6 * r2 + 0.4 * r2**2)
        if self.aperture < 1.2:
            beyond = (np.sqrt(r2) - np.float32(self.aperture)) / np.float32(0.015)
            even /= 1 + np.exp(np.minimum(beyond, 40))
        planes = [
            even * (1 + np.float32(ty) * (y[:, None] - 0.5) + np.float32(tx) * (x[None, :] - 0.5))
            for ty, tx in self.tilt
        ]
        return np.asarray(cv2.merge(planes) * np.float32(self.gain), np.float32)


def draw_illumination(generator: np.random.Generator) -> Illumination:
    """Illumination as uneven as on real micrographs: corners 0 to 4 % darker, tilt about 1 %."""
    tilt = generator.normal(0, 0.008, 2)
    tint = generator.normal(0, 0.003, (3, 2))
    return Illumination(
        vignetting=float(generator.gamma(2.0, 0.008)),
        centre=(float(generator.normal(0.5, 0.05)), float(generator.normal(0.5, 0.05))),
        tilt=tuple((float(a), float(b)) for a, b in tilt + tint),
        aperture=float(generator.uniform(1.0, 1.1)) if generator.random() < 0.12 else 2.0,
        defocus_px=float(abs(generator.normal(0.4, 0.3))),
        gain=float(np.exp(generator.normal(0, 0.04))),
    )


def form_image(
    camera: SynthCamera, scene: FloatImage, light: Illumination, pixel_size_nm: float, na: float
) -> FloatImage:
    """Light on the sensor: diffraction, defocus, the halo of bright parts, uneven illumination.

    Parameters
    ----------
    camera : SynthCamera
        Its `glare` is the halo's share.
    scene : ndarray of float32, (H, W, 3)
    light : Illumination
    pixel_size_nm, na : float

    Returns
    -------
    ndarray of float32, (H, W, 3)
    """
    sharp = blur(scene, psf_sigma_px(pixel_size_nm, na, light.defocus_px))
    if camera.glare > 0:
        quarter = cv2.resize(sharp, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        halo = cv2.resize(blur(quarter, (4.0, 4.0, 4.0)), sharp.shape[1::-1])
        sharp = sharp + np.float32(camera.glare) * (halo - sharp)
    return np.asarray(sharp * light.field((scene.shape[0], scene.shape[1])), np.float32)


def psf_sigma_px(
    pixel_size_nm: float, na: float, defocus_px: float = 0.0
) -> tuple[float, float, float]:
    """Compute the standard deviation of the point-spread function in px, channels R, G, B.

    A Gaussian of the Airy pattern's full width at half maximum, 0.51 wavelength / NA (Born & Wolf,
    Principles of Optics, 7th ed., 8.5.2), widened by defocus in quadrature.
    """
    diffraction = [0.51 * wave / na / 2.3548 / pixel_size_nm for wave in _CHANNEL_NM]
    red, green, blue = (float(np.hypot(s, defocus_px)) for s in diffraction)
    return red, green, blue
