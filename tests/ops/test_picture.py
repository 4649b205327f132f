"""Exported pictures of scans: crop, colours back to heights, range and scale."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import InputError
from layerscope.ops.picture import recover_scan
from layerscope.synth.surface import Artefacts, synth_surface
from layerscope.synth.surface_picture import COLOUR_MAPS, annotated_picture

THEMES = {"dark": ((0, 0, 0), (255, 255, 255)), "light": ((255, 255, 255), (0, 0, 0)),
          "grey": ((212, 208, 200), (0, 0, 0)),
          "blue": ((20, 30, 70), (255, 255, 255))}  # fmt: skip
MAPS = ("gray", "afmhot", "copper", "viridis", "jet")
SIDES = ("right", "left", "below", "above")
LOW, HIGH, WIDTH_NM = -1.5, 10.8, 5000.0
DATA = Path(__file__).parents[2].parent / "shared" / "data"


@dataclass(frozen=True)
class Layout:
    """How a picture is laid out."""

    theme: str = "dark"
    colour_map: str = "afmhot"
    side: str = "right"
    framed: bool = False
    shape: tuple[int, int] = (240, 300)
    gap: int = 12
    margin: int = 60
    quality: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Drawn:
    """A picture and its truth."""

    rgb: npt.NDArray[np.uint8]
    share: npt.NDArray[np.float64]
    crop: tuple[int, int, int, int]
    bar: tuple[int, int, int, int]


def scan(shape: tuple[int, int], seed: int) -> npt.NDArray[np.float64]:
    """Islands on a rough slope, 0 to 1, as smooth as a tip leaves them."""
    rng = np.random.default_rng(seed)
    broad = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 9)
    rough = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 2)
    steps = (broad > 0.3 * broad.std()) + 1.0 * (broad > 1.2 * broad.std())
    height = cv2.GaussianBlur(steps, (0, 0), 1.2) + 0.25 * rough / rough.std()
    low, high = np.percentile(height, (0.5, 99.5))
    return np.clip((height - low) / (high - low), 0, 1)


def colours(name: str) -> npt.NDArray[np.uint8]:
    return np.round(matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).astype(
        np.uint8
    )


def draw(layout: Layout, *, labels: bool = True, scale_bar: bool = True) -> Drawn:
    """Draw with labels at both ends of the colour bar, as most vendors do."""
    page, ink = THEMES[layout.theme]
    height, width = layout.shape
    thick, m, gap = 14, layout.margin, layout.gap
    top = m + (thick + gap) * (layout.side == "above")
    left = m + (thick + gap) * (layout.side == "left")
    crop = (top, left, top + height, left + width)
    size = (width + 2 * m + thick + gap, height + 2 * m + thick + gap)
    picture = Image.new("RGB", size, page)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    lookup, share = colours(layout.colour_map), scan(layout.shape, layout.seed)
    painted = lookup[np.round(share * 255).astype(int)]
    picture.paste(Image.fromarray(painted), (left, top))
    vertical = layout.side in ("right", "left")
    length = height if vertical else width
    stripe = lookup[np.round(np.linspace(0, 255, length)).astype(int)]
    column = np.repeat(stripe[:, None], thick, axis=1)
    bar_image = column[::-1] if vertical else column.transpose(1, 0, 2)
    at = {"right": (top, crop[3] + gap), "left": (top, left - gap - thick),
          "below": (crop[2] + gap, left),
          "above": (top - gap - thick, left)}[layout.side]  # fmt: skip
    bar = (at[0], at[1], at[0] + bar_image.shape[0], at[1] + bar_image.shape[1])
    picture.paste(Image.fromarray(np.ascontiguousarray(bar_image)), (at[1], at[0]))
    for box in (crop, bar) if layout.framed else ():
        pen.rectangle((box[1] - 1, box[0] - 1, box[3], box[2]), outline=ink)
    if labels:
        _label(pen, font, layout.side, bar, ink)
    if scale_bar:
        row = crop[2] + 8 if layout.side != "below" else bar[2] + 30
        pen.rectangle((left + 2, row, left + 2 + width // 5 - 1, row + 3), fill=ink)
        pen.text((left + 2, row + 8), "1 um", fill=ink, font=font)
    return Drawn(compress(np.asarray(picture), layout.quality), share, crop, bar)


def _label(pen: ImageDraw.ImageDraw, font: ImageFont.ImageFont, side: str,
           bar: tuple[int, int, int, int], ink: tuple[int, int, int]) -> None:  # fmt: skip
    low, high = f"{LOW} nm", f"{HIGH} nm"
    if side in ("right", "left"):
        at, anchor = (bar[3] + 5, "l") if side == "right" else (bar[1] - 5, "r")
        pen.text((at, bar[0]), high, fill=ink, font=font, anchor=anchor + "a")
        pen.text((at, bar[2]), low, fill=ink, font=font, anchor=anchor + "d")
    else:
        row, anchor = (bar[2] + 5, "a") if side == "below" else (bar[0] - 5, "d")
        pen.text((bar[1], row), low, fill=ink, font=font, anchor="l" + anchor)
        pen.text((bar[3], row), high, fill=ink, font=font, anchor="r" + anchor)


def compress(rgb: npt.NDArray[np.uint8], quality: int | None) -> npt.NDArray[np.uint8]:
    if quality is None:
        return rgb
    memory = io.BytesIO()
    Image.fromarray(rgb).save(memory, "JPEG", quality=quality)
    return np.asarray(Image.open(memory))


def off(found: Micrograph, drawn: Drawn) -> int:
    return int(np.abs(np.subtract(found.metadata["picture"]["crop"], drawn.crop)).max())


def rms(found: Micrograph, drawn: Drawn) -> float:
    low, high = found.metadata["picture"]["range"]
    error = (found.data - low) / (high - low) - drawn.share
    return float(np.sqrt(np.nanmean(error**2)))


def layouts(n: int, seed: int) -> list[Layout]:
    rng = np.random.default_rng(seed)
    return [
        Layout(
            theme=str(rng.choice(list(THEMES))), colour_map=str(rng.choice(MAPS)),
            side=str(rng.choice(SIDES)), framed=bool(rng.integers(2)),
            shape=(int(rng.integers(120, 320)), int(rng.integers(120, 320))),
            gap=int(rng.integers(6, 30)), margin=int(rng.integers(72, 90)),
            quality=None if rng.random() < 0.2 else int(rng.integers(75, 96)),
            seed=int(rng.integers(1 << 30)),
        )
        for _ in range(n)
    ]  # fmt: skip


@pytest.mark.thorough
def test_crops_of_many_layouts() -> None:
    """Within one pixel in 95 %; never more than three off."""
    away = np.array([off(recover_scan(Micrograph(d.rgb)), d) for d in map(draw, layouts(60, 1))])
    assert (away <= 1).mean() >= 0.95
    assert away.max() <= 3


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("colour_map", MAPS)
def test_range_and_scale_of_a_lossless_picture_are_exact(theme: str, colour_map: str) -> None:
    side = SIDES[(MAPS.index(colour_map) + list(THEMES).index(theme)) % 4]
    drawn = draw(Layout(theme, colour_map, side, theme == "light", (260, 300), margin=72))
    found = recover_scan(Micrograph(drawn.rgb))
    assert found.modality is Modality.AFM
    assert found.value_unit == "nm"
    assert found.metadata["picture"]["range"] == pytest.approx((LOW, HIGH), abs=1e-9)
    assert found.metadata["picture"]["crop"] == drawn.crop
    assert found.require_scale().x_nm == pytest.approx(1000 / 60, rel=0.01)
    assert rms(found, drawn) < 0.005


@pytest.mark.parametrize("colour_map", MAPS)
def test_heights_survive_jpeg(colour_map: str) -> None:
    drawn = draw(Layout("light", colour_map, "right", framed=True, quality=90))
    found = recover_scan(Micrograph(drawn.rgb), z_range_nm=(LOW, HIGH))
    assert off(found, drawn) == 0
    assert rms(found, drawn) < 0.015
    assert np.isnan(found.data).mean() < 0.01


@pytest.mark.parametrize("colour_map", COLOUR_MAPS)
@pytest.mark.parametrize("inside", [False, True])
def test_pictures_of_the_synthesiser(colour_map: str, inside: bool) -> None:
    """Ticks beside the colour bar; the burnt-in bar is excluded."""
    surface = synth_surface(4, shape=(360, 400), coverage=0.4, artefacts=Artefacts())
    truth = annotated_picture(surface.micrograph, colour_map=colour_map, bar_inside=inside)
    found = recover_scan(Micrograph(truth.rgb))
    span = truth.high_nm - truth.low_nm
    facts = found.metadata["picture"]
    assert facts["crop"] == truth.crop
    assert facts["colour_bar"] == truth.colour_bar
    assert found.value_unit == "nm"
    assert np.allclose(facts["range"], (truth.low_nm, truth.high_nm), atol=0.005 * span)
    # White letters on a white island cannot be read: no pixel size then, never a wrong one.
    assert inside or found.pixel_size is not None
    if found.pixel_size is not None:
        assert found.pixel_size.x_nm == pytest.approx(truth.pixel_size.x_nm, rel=0.005)
    heights = np.clip(surface.micrograph.data, truth.low_nm, truth.high_nm)
    assert np.sqrt(np.nanmean((found.data - heights) ** 2)) < 0.006 * span
    if inside:
        bar = tuple(np.subtract(truth.scale_bar, truth.crop[:2] * 2))
        assert found.excluded is not None
        assert found.excluded[bar[0] : bar[2], bar[1] : bar[3]].all()


@pytest.mark.parametrize("colour_map", ["afmhot", "gray", "coolwarm"])
def test_a_figure_of_matplotlib(colour_map: str) -> None:
    """Axes with ticks, antialiased frames; the unit over the colour bar and under the axis."""
    from matplotlib.figure import Figure

    heights = LOW + (HIGH - LOW) * scan((256, 256), 3)
    figure = Figure(figsize=(6, 5), dpi=200)
    axes = figure.add_subplot()
    shown = axes.imshow(heights, cmap=colour_map, extent=(0, 5, 0, 5))
    axes.set_xlabel("µm")
    figure.colorbar(shown).ax.set_title("nm")
    memory = io.BytesIO()
    figure.savefig(memory, format="png")
    found = recover_scan(Micrograph(np.asarray(Image.open(memory).convert("RGB"))))
    assert found.value_unit == "nm"
    span = HIGH - LOW
    assert np.allclose(found.metadata["picture"]["range"], (LOW, HIGH), atol=0.005 * span)
    assert found.require_scale().x_nm == pytest.approx(5000 / found.shape[1], rel=0.003)
    small = cv2.resize(found.data, (256, 256), interpolation=cv2.INTER_AREA)
    assert np.sqrt(np.nanmean((small - heights) ** 2)) < 0.02 * span


def test_without_labels_heights_are_relative_and_said_so() -> None:
    drawn = draw(Layout(), labels=False, scale_bar=False)
    found = recover_scan(Micrograph(drawn.rgb))
    assert found.value_unit == "relative"
    assert found.pixel_size is None
    assert any("z_range_nm" in note for note in found.metadata["picture_notes"])
    assert any("width_um" in note for note in found.metadata["picture_notes"])
    assert rms(found, drawn) < 0.005


def test_what_the_user_says_wins() -> None:
    drawn = draw(Layout())
    found = recover_scan(Micrograph(drawn.rgb), z_range_nm=7.0, width_um=3.0)
    assert found.metadata["picture"]["range"] == (0.0, 7.0)
    assert found.require_scale().x_nm == pytest.approx(10.0)


def test_lightness_where_there_is_no_colour_bar() -> None:
    lookup, share = colours("afmhot"), scan((200, 220), 3)
    rgb = np.zeros((260, 300, 3), np.uint8)
    rgb[20:220, 30:250] = lookup[np.round(share * 255).astype(int)]
    found = recover_scan(Micrograph(rgb))
    assert found.value_unit == "intensity"
    assert found.shape == (200, 220)
    expected = rgb[20:220, 30:250] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found.data, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_pure_micrograph_comes_back_unchanged(dtype: type) -> None:
    rng = np.random.default_rng(5)
    data = (scan((150, 170), 5) * 180 + rng.normal(20, 3, (150, 170))).clip(0, 255).astype(dtype)
    found = recover_scan(Micrograph(data))
    assert found.data.dtype == dtype
    np.testing.assert_array_equal(found.data, data)
    assert "taken whole" in found.metadata["picture_notes"][0]


def test_a_colour_that_occurs_twice_is_refused() -> None:
    """A cyclic map says two heights for most of its colours."""
    ramp = np.abs(np.linspace(-1, 1, 256))[:, None] * np.array([255, 200, 120])
    rgb = np.full((300, 400, 3), 255, np.uint8)
    share = scan((200, 220), 9)
    rgb[40:240, 40:260] = ramp[np.round(share * 255).astype(int)].astype(np.uint8)
    rgb[40:240, 280:296] = ramp[np.round(np.linspace(255, 0, 200)).astype(int)][:, None]
    found = recover_scan(Micrograph(rgb), z_range_nm=10.0)
    assert found.value_unit == "intensity"
    assert any("occurs twice" in note for note in found.metadata["picture_notes"])


def test_a_bar_of_another_picture_is_not_used() -> None:
    drawn = draw(Layout(colour_map="viridis", theme="light"))
    rgb = drawn.rgb.copy()
    top, left, bottom, right = drawn.crop
    grey = np.round(drawn.share * 255).astype(np.uint8)
    rgb[top:bottom, left:right] = grey[..., None]
    found = recover_scan(Micrograph(rgb))
    assert found.value_unit == "intensity"
    assert any("not those of the colour bar" in note for note in found.metadata["picture_notes"])


def test_a_chart_is_not_cropped() -> None:
    picture = Image.new("RGB", (400, 300), "white")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((50, 30, 370, 250), outline="black")
    pen.line([(50 + 8 * i, 140 + int(80 * np.sin(i / 5))) for i in range(40)], fill="blue", width=2)
    found = recover_scan(Micrograph(np.asarray(picture)))
    assert found.shape == (300, 400)


@pytest.mark.parametrize("coverage", [0.05, 0.2, 0.4, 0.7])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_substrate_of_the_pages_colour(coverage: float, seed: int) -> None:
    """Sides that cannot be seen: right, or whole and said so; with the crop from the user right."""
    surface = synth_surface(seed, shape=(300, 340), coverage=coverage, artefacts=Artefacts())
    data = surface.micrograph.data
    low = float(np.percentile(data, 97 * (1 - coverage)))
    truth = annotated_picture(
        surface.micrograph, colour_map="hot", range_nm=(low, float(data.max()))
    )
    found = recover_scan(Micrograph(truth.rgb))
    if found.metadata["picture"]["crop"] != truth.crop:
        assert found.shape == truth.rgb.shape[:2]
        assert "give crop" in found.metadata["picture_notes"][0]
    told = recover_scan(Micrograph(truth.rgb), crop=truth.crop)
    assert told.shape == data.shape
    assert told.value_unit in ("nm", "relative")
    assert told.metadata["picture"]["colour_bar"] == truth.colour_bar


@pytest.mark.parametrize("crop", [(0, 0, 50, 40), (5, 5, 6, 40), (-1, 0, 30, 30)])
def test_a_crop_outside_of_the_picture_is_refused(crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError, match="crop"):
        recover_scan(Micrograph(np.zeros((40, 40), np.uint8)), crop=crop)


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf])
def test_impossible_ranges_and_widths_are_refused(value: float) -> None:
    micrograph = Micrograph(np.zeros((40, 40), np.uint8))
    with pytest.raises(InputError, match="z_range_nm"):
        recover_scan(micrograph, z_range_nm=value)
    with pytest.raises(InputError, match="width_um"):
        recover_scan(micrograph, width_um=value)


def test_a_tiny_picture_is_refused() -> None:
    with pytest.raises(InputError, match="8 x 8"):
        recover_scan(Micrograph(np.zeros((4, 40), np.uint8)))


def test_the_files_own_scale_is_kept() -> None:
    size = PixelSize(3.0, 3.0, "file")
    found = recover_scan(Micrograph(draw(Layout()).rgb, pixel_size=size, modality=Modality.SEM))
    assert found.pixel_size == size
    assert found.modality is Modality.SEM


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(8, 70), st.integers(8, 70)), st.integers(0, 255), st.integers(0, 1 << 20)
)
def test_any_small_picture_gives_an_answer(shape: tuple[int, int], level: int, seed: int) -> None:
    """Flat, noise, or noise on a page: never an exception, the crop inside of the picture."""
    rng = np.random.default_rng(seed)
    rgb = np.full((*shape, 3), level, np.uint8)
    top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
    part = rgb[top : top + 40, left : left + 40]
    part[:] = rng.integers(0, 256, part.shape)
    found = recover_scan(Micrograph(rgb))
    box = found.metadata["picture"]["crop"]
    assert 0 <= box[0] < box[2] <= shape[0]
    assert 0 <= box[1] < box[3] <= shape[1]
    assert found.shape == (box[2] - box[0], box[3] - box[1])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from(sorted(THEMES)), st.sampled_from(SIDES),
       st.booleans(), st.integers(6, 40), st.integers(100, 260), st.integers(100, 260))  # fmt: skip
def test_random_layouts(
    seed: int, theme: str, side: str, framed: bool, gap: int, height: int, width: int
) -> None:
    layout = Layout(theme, "viridis", side, framed, (height, width), gap, 75, None, seed)
    drawn = draw(layout)
    found = recover_scan(Micrograph(drawn.rgb))
    assert off(found, drawn) <= 1
    if found.value_unit == "nm":
        assert found.metadata["picture"]["range"] == pytest.approx((LOW, HIGH), abs=1e-9)


@pytest.mark.skipif(not DATA.exists(), reason="real micrographs are not here")
def test_banners_of_real_micrographs() -> None:
    """Banner heights read off the pictures by eye; a micrograph without page stays whole."""
    expected = {"2bc87a8698": 485, "427ebc9e15": 449, "39dda96b25": 515, "9318f3ce70": 512}
    for name, bottom in expected.items():
        rgb = np.asarray(Image.open(DATA / f"tem/em_particles/images/{name}.png").convert("RGB"))
        box = recover_scan(Micrograph(rgb)).metadata["picture"]["crop"]
        assert box[:2] == (0, 0)
        assert box[3] == rgb.shape[1]
        assert abs(box[2] - bottom) <= 1


def test_a_sign_off_the_page_is_not_taken_for_none() -> None:
    """Cut through the minus of the lower label: no range, never a positive one."""
    drawn = draw(Layout(side="left", margin=72))
    for cut in range(8, 26):
        found = recover_scan(Micrograph(np.ascontiguousarray(drawn.rgb[:, cut:])))
        read = found.metadata["picture"]["range"]
        assert read == (0.0, 1.0) or np.allclose(read, (LOW, HIGH))
