"""Draw the pictures of the documentation from synthetic micrographs and the package's physics.

    python docs/images/make_pictures.py

Takes about half a minute. The same version of layerscope gives the same pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from matplotlib.figure import Figure

from layerscope import finding, pipeline
from layerscope.core.run import RunResult
from layerscope.draw import draw_flakes, draw_labels, draw_outlines, label_texts, to_rgb8
from layerscope.ops.optical import fit_background
from layerscope.ops.tone import tone_curve
from layerscope.physics.materials import Material, load
from layerscope.physics.thin_film import Camera, Stack, contrast_ladder, flake_reflectance
from layerscope.report.cloud import Cloud, contrast_cloud
from layerscope.report.ladder import describe_ladder, plot_ladder
from layerscope.synth import synth_set

HERE = Path(__file__).parent
ON_90, ON_285 = "SiO2(90nm)/Si", "SiO2(285nm)/Si"
CHANNELS = ("#CC3311", "#228833", "#0077BB")
PIXEL_UM = 0.3844


def main() -> None:
    """All pictures."""
    truth = list(synth_set(1, 10))
    images = [t.micrograph for t in truth]
    scale = finding.Scale(f"{PIXEL_UM}um")
    run = pipeline.run(images, material="graphene", substrate=ON_90, scale=scale)
    save_jpeg("overlay.jpg", overlay(run, images[2]), 1200)
    save_figure("contrast_cloud.png", cloud(run, "10 synthetic micrographs, graphene on 90 nm"))
    wrong = pipeline.run(images[:4], material="graphene", substrate=ON_285, scale=scale)
    save_figure("contrast_cloud_refused.png", cloud(wrong, "90 nm chip, named as 285 nm: refused"))
    save_jpeg("steps.jpg", steps(run, images[2]), 1200)
    plot_ladder(describe_ladder("graphene", ON_90), HERE / "contrast_graphene.png")
    save_figure("oxide_map.png", oxide_map())
    save_figure("doubled_ladder.png", doubled_ladder())
    save_figure("hbn_colours.png", hbn_colours())
    save_figure("residue.png", residue())


def overlay(run: RunResult, image: Any) -> Any:
    """Overlay as a run writes it."""
    found = next(i for i in run.images if i.name == image.name)
    picture = to_rgb8(image.data, image.white_level)
    return draw_flakes(picture, found.detections, pixel_size=found.pixel_size)


def cloud(run: RunResult, title: str) -> Figure:
    """Contrast cloud as the report draws it."""
    table, fitted = run.objects, run.calibration
    value = table[[f"contrast_{c}" for c in "rgb"]].to_numpy()
    error = table[[f"contrast_{c}_se" for c in "rgb"]].to_numpy()
    ladder = fitted.setups[0].ladder if fitted else np.zeros((0, 3))
    spread = fitted.setups[0].ladder_sd if fitted else np.zeros((0, 3))
    points = Cloud(value, error, table["n_layers"].tolist(), ladder, spread)
    figure: Figure = contrast_cloud(points, title=title)
    return figure


def steps(run: RunResult, image: Any) -> Any:
    """Image, background, contrast and answer of one corner of one image, in a square."""
    rows, columns = slice(620, 1160), slice(40, 900)
    bare = fit_background(image).at(image.shape)
    level = image.data / image.white_level
    contrast = level / np.maximum(bare, 1e-3) - 1
    grey = np.clip(127 + 180 * contrast, 0, 255).astype(np.uint8)
    found = next(i for i in run.images if i.name == image.name).detections
    texts = label_texts(found, image.pixel_size)
    labelled = draw_labels(draw_outlines(to_rgb8(image.data), found), found, texts)
    tiles = [
        ("1  as photographed", image.data),
        ("2  bare substrate, fitted", to_rgb8(bare.astype(np.float32), 1.0)),
        ("3  contrast per channel (grey is 0)", grey),
        ("4  regions and layer numbers", labelled),
    ]
    parts = [_titled(np.ascontiguousarray(t[rows, columns]), text) for text, t in tiles]
    return np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])])


def _titled(tile: Any, text: str) -> Any:
    out = cv2.copyMakeBorder(tile, 46, 6, 6, 6, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    cv2.putText(out, text, (10, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (20, 20, 24), 2, cv2.LINE_AA)
    return out


def oxide_map() -> Figure:
    """Contrast of one layer of graphene over wavelength and oxide thickness."""
    oxide, wave = np.arange(20.0, 331.0, 2), np.arange(420.0, 701.0, 5)
    reflected = flake_reflectance(
        load("graphene"), [0, 0.335], Stack.parse(ON_90), wave, oxide_nm=oxide, na=0.45
    )
    contrast = reflected[:, 1] / reflected[:, 0] - 1
    figure, axis = _figure(6.4, 3.9)
    mesh = axis.pcolormesh(wave, oxide, contrast, cmap="RdBu", vmin=-0.16, vmax=0.16)
    figure.colorbar(mesh, label="contrast of one layer")
    for nm in (90, 285):
        axis.axhline(nm, color="black", lw=1, ls="--")
        axis.annotate(f"{nm} nm", (424, nm + 4), fontsize=9)
    axis.set(xlabel="wavelength / nm", ylabel="thickness of SiO$_2$ on Si / nm")
    axis.set_title("graphene, NA 0.45", fontsize=10)
    return figure


def doubled_ladder() -> Figure:
    """Levels of a linear camera, read as light and, wrongly, as sRGB."""
    background = np.array([0.45, 0.37, 0.51])
    right = contrast_ladder(load("graphene"), Stack.parse(ON_90))
    srgb = tone_curve("srgb")
    wrong = srgb.decode((1 + right) * background) / srgb.decode(background) - 1
    layers = np.arange(1, 11)
    figure, axis = _figure(6.4, 3.9)
    for name, ladder, style in (("read as linear: right", right, "o-"),
                                ("read as sRGB: wrong", wrong, "s--")):  # fmt: skip
        axis.plot(layers, ladder[:, 1], style, ms=4, label=name, color=CHANNELS[1])
    axis.plot(layers[:5], right[1::2, 1], "x", ms=8, color="black", label="right, 2, 4, 6, 8, 10")
    axis.set(xlabel="number of layers", ylabel="contrast, green channel", xticks=layers)
    axis.set_title("graphene on 90 nm, one linear camera, two readings", fontsize=10)
    axis.legend(frameon=False, fontsize=9)
    return figure


def hbn_colours() -> Figure:
    """Colour of hBN over thickness, on two oxides, as a typical camera sees it."""
    nm = np.arange(0.0, 220.0, 1.0)
    bare = {ON_90: (0.06, 0.05, 0.08), ON_285: (0.11, 0.10, 0.18)}
    figure, axes = _figure(7.4, 3.4, rows=2)
    for axis, (stack, level) in zip(axes, bare.items(), strict=True):
        contrast = contrast_ladder(load("hBN"), Stack.parse(stack), thickness_nm=nm)
        light = np.clip((1 + contrast) * np.array(level), 0, 1)
        shown = np.where(light < 0.0031, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        axis.imshow(shown[None], aspect="auto", extent=(0, 220, 0, 1))
        axis.set(yticks=[], title=f"hBN on {stack}")
        axis.title.set_fontsize(10)
    axes[-1].set_xlabel("thickness of hBN / nm")
    return figure


def residue() -> Figure:
    """Colours of graphene and of polymer films on the same chip."""
    stack, grid = Stack.parse(ON_90), np.array([380.0, 780.0])
    polymer = Material("polymer", 1.0, grid, np.full(2, 1.5), np.zeros(2), "", "polymer", "")
    film = contrast_ladder(polymer, stack, thickness_nm=np.arange(0, 161, 2), camera=Camera())
    layers = contrast_ladder(load("graphene"), stack)
    figure, axis = _figure(6.4, 4.2)
    axis.plot(layers[:, 1], layers[:, 0], "o-", color="#222222", ms=4, label="graphene, 1 to 10")
    axis.plot(film[:, 1], film[:, 0], color="#EE7733", label="polymer film")
    for nm in (10, 20, 30, 40):
        axis.annotate(f"{nm} nm", film[nm // 2, [1, 0]], fontsize=8, color="#EE7733",
                      xytext=(4, 4), textcoords="offset points")  # fmt: skip
    for n, (_, green, _) in enumerate(layers[:, [0, 1, 2]], 1):
        axis.annotate(str(n), (green, layers[n - 1, 0]), fontsize=8, xytext=(5, -9),
                      textcoords="offset points")  # fmt: skip
    axis.set(xlabel="contrast, green", ylabel="contrast, red", xlim=(-0.9, 1.3), ylim=(-0.95, 0.6))
    axis.axhline(0, color="0.8", lw=0.7, zorder=0)
    axis.axvline(0, color="0.8", lw=0.7, zorder=0)
    axis.set_title("on 90 nm SiO$_2$", fontsize=10)
    axis.legend(frameon=False, fontsize=9)
    return figure


def _figure(width: float, height: float, rows: int = 1) -> Any:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, 1)
    for axis in np.atleast_1d(axes):
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(name: str, figure: Figure) -> None:
    """PNG without a date in it."""
    figure.savefig(HERE / name, dpi=110, metadata={"Software": None}, facecolor="white")


def save_jpeg(name: str, picture: Any, width: int) -> None:
    """JPEG of `width` pixels."""
    height = round(picture.shape[0] * width / picture.shape[1])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    (HERE / name).write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(small), 82))


if __name__ == "__main__":
    main()
