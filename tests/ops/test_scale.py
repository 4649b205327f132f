"""Pixel size from user, table and bar; bars and text drawn here in several fonts and colours."""

import io
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageDraw, ImageFont

from layerscope.core.micrograph import Micrograph, Modality, PixelSize, parse_length_nm
from layerscope.errors import InputError, UnknownName
from layerscope.io import decode, read
from layerscope.ops import scale_text
from layerscope.ops.magnification import magnification_in
from layerscope.ops.magnification_table import MagnificationTable, read_magnifications
from layerscope.ops.scale import (
    find_scale_bar,
    load_magnification_table,
    mask_annotations,
    read_scale_bar_length,
    resolve_pixel_size,
)

FONTS = Path(find_spec("matplotlib").origin).parent / "mpl-data" / "fonts" / "ttf"
SHARED = Path(__file__).parents[3] / "shared" / "data"


def wafer(shape=(480, 640), seed=0):
    """Noisy substrate with polygonal crystals, some of them with horizontal edges."""
    random = np.random.default_rng(seed)
    image = np.empty((*shape, 3), np.float32)
    image[:] = (150, 110, 140)
    for _ in range(12):
        centre = random.uniform((0, 0), shape[::-1])
        corners = (centre + random.normal(0, 45, (6, 2))).astype(np.int32)
        cv2.fillConvexPoly(image, cv2.convexHull(corners), random.uniform(60, 200, 3).tolist())
    left, top = random.integers(20, 300, 2).tolist()
    cv2.rectangle(image, (left, top), (left + 90, top + 14), (120, 150, 120), -1)
    image = cv2.GaussianBlur(image, (0, 0), 1.2) + random.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def draw(image, box, colour, text="", font="DejaVuSans", size=22, above=True):
    """Burn in a bar (left, top, width, height) and its text."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    left, top, width, height = box
    pen.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
    if text:
        place = (left + width / 2, top - 6) if above else (left + width / 2, top + height + 6)
        face = ImageFont.truetype(str(FONTS / f"{font}.ttf"), size)
        pen.text(place, text, fill=colour, font=face, anchor="md" if above else "ma")
    return Micrograph(np.asarray(picture))


COLOURS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("box", [(480, 430, 120, 8), (30, 440, 61, 3), (300, 30, 200, 2)])
@pytest.mark.parametrize("colour", COLOURS)
def test_bar_is_found_to_a_pixel(colour, box, seed):
    micrograph = draw(wafer(seed=seed), box, COLOURS[colour])
    bar = find_scale_bar(micrograph)
    assert bar is not None
    assert bar.length_px == pytest.approx(box[2], abs=0.5)
    assert bar.left == pytest.approx(box[0], abs=0.5)
    assert (bar.top, bar.thickness_px) == (box[1], box[3])
    assert bar.box == (box[1], box[0], box[1] + box[3], box[0] + box[2])


@pytest.mark.parametrize("quality", [70, 85, 95])
@pytest.mark.parametrize("colour", ["white", "black"])
def test_bar_survives_jpeg(colour, quality):
    for seed in range(4):
        drawn = draw(wafer(seed=seed), (401, 433, 150, 6), COLOURS[colour], "50 µm")
        again = decode(simplejpeg.encode_jpeg(drawn.data, quality, colorsubsampling="420"))
        assert find_scale_bar(again).length_px == pytest.approx(150, abs=1)


def test_sub_pixel_ends():
    image = wafer(seed=3)
    big = np.repeat(np.repeat(image, 4, 0), 4, 1)
    cv2.rectangle(big, (1601, 1720), (1601 + 498, 1751), (255, 255, 255), -1)  # 124.75 px wide
    small = cv2.resize(big, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    assert find_scale_bar(Micrograph(small)).length_px == pytest.approx(124.75, abs=0.1)


def test_end_caps_and_ticks_are_tolerated():
    image = wafer(seed=1)
    micrograph = draw(image, (420, 430, 160, 4), (255, 255, 255))
    data = micrograph.data.copy()
    for x in (420, 500, 578):
        data[422:442, x : x + 2] = 255
    assert find_scale_bar(Micrograph(data)).length_px == pytest.approx(160, abs=1)


@pytest.mark.parametrize("kind", ["grey", "uint16", "float", "float with nan"])
def test_other_number_types(kind):
    grey = draw(wafer(seed=2), (480, 430, 120, 8), (255, 255, 255)).data[..., 1]
    data, white = {
        "grey": (grey, 255.0),
        "uint16": (grey.astype(np.uint16) * 16, 4080.0),
        "float": (grey / np.float32(255), 1.0),
        "float with nan": (np.where(np.arange(640) < 3, np.nan, grey / np.float32(255)), 1.0),
    }[kind]
    assert find_scale_bar(Micrograph(data, white_level=white)).length_px == pytest.approx(
        120, abs=0.5
    )


@pytest.mark.parametrize("seed", range(8))
def test_no_bar_where_none_is_drawn(seed):
    micrograph = Micrograph(wafer(seed=seed))
    assert find_scale_bar(micrograph) is None
    assert mask_annotations(micrograph) is micrograph


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((1, 1), np.uint8),
        np.full((300, 1, 3), 255, np.uint8),
        np.full((400, 600, 3), 255, np.uint8),
        np.zeros((9, 900), np.uint8),
    ],
)
def test_degenerate_images_have_no_annotations(data):
    assert mask_annotations(Micrograph(data)).excluded is None


LENGTHS = {
    "10 µm": 1e4, "5um": 5e3, "200 nm": 200, "0.5 mm": 5e5, "100 µm": 1e5, "20 μm": 2e4,
    "2 um": 2e3, "50 nm": 50, "1 mm": 1e6, "500 nm": 500, "0.2 µm": 200, "25 µm": 2.5e4,
}  # fmt: skip


@pytest.mark.parametrize("font", ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "STIXGeneral"])
def test_text_is_read_or_refused_never_misread(font):
    right = 0
    for seed, (text, length_nm) in enumerate(LENGTHS.items()):
        for size, above in ((18, True), (24, False), (36, True)):
            box = (380, 380, 180, 6)
            image = draw(wafer(seed=seed % 3), box, (255, 255, 255), text, font, size, above)
            found = read_scale_bar_length(image, find_scale_bar(image))
            if found is not None:
                assert found[0] == pytest.approx(length_nm), (text, size)
                right += 1
    assert right >= 0.8 * len(LENGTHS) * 3


@pytest.mark.parametrize(
    ("font", "least"), [("DejaVuSans-Oblique", 12), ("STIXGeneralBolIta", 0), ("cmss10", 18)]
)
def test_fonts_that_are_not_known_are_not_misread(font, least, monkeypatch):
    others = tuple(f for f in scale_text._FONTS if f[:9] != font[:9])
    monkeypatch.setattr(scale_text, "_FONTS", others)
    scale_text._templates.cache_clear()
    right = 0
    for seed, (text, length_nm) in enumerate(LENGTHS.items()):
        plain = text.replace("µ", "u").replace("μ", "u")
        for size in (16, 28):
            image = draw(wafer(seed=seed % 3), (380, 380, 180, 6), (0, 0, 0), plain, font, size)
            found = read_scale_bar_length(image, find_scale_bar(image))
            assert found is None or found[0] == pytest.approx(length_nm), (text, size)
            right += found is not None
    scale_text._templates.cache_clear()
    assert right >= least


@pytest.mark.parametrize("face", [cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX])
@pytest.mark.parametrize("text", ["10 um", "200 nm", "5 um", "0.5 mm"])
def test_hershey_text(face, text):
    image = draw(wafer(seed=1), (380, 400, 180, 6), (255, 255, 255)).data.copy()
    cv2.putText(image, text, (400, 390), face, 0.9, (255, 255, 255), 2, cv2.LINE_AA)
    micrograph = Micrograph(image)
    found = read_scale_bar_length(micrograph, find_scale_bar(micrograph))
    assert found is None or found[0] == pytest.approx(parse_length_nm(text))


@pytest.mark.parametrize(
    "text", ["10 px", "20x", "scale", "Nov 21", "10 km", "7 %", "nm", "1.2.3 µm"]
)
def test_other_words_give_no_length(text):
    for font in ("DejaVuSans", "STIXGeneral"):
        image = draw(wafer(seed=2), (380, 400, 180, 6), (0, 0, 0), text, font)
        assert read_scale_bar_length(image, find_scale_bar(image)) is None


def test_bar_and_text_are_excluded_and_nothing_far_away():
    micrograph = draw(wafer(seed=1), (440, 430, 150, 6), (255, 255, 255), "10 µm")
    masked = mask_annotations(micrograph)
    burnt = (micrograph.data != wafer(seed=1)).any(axis=2)
    assert masked.excluded[burnt].all()
    assert masked.excluded.mean() < 0.04
    assert masked.history[-1].name == "mask_annotations"
    assert micrograph.excluded is None


@pytest.mark.parametrize("colour", [0, 255])
def test_banner_is_excluded(colour):
    image = wafer(seed=4)
    image[420:] = colour
    cv2.putText(image, "HV 5.00 kV  WD 4.2 mm", (20, 460), 0, 0.8, (255 - colour,) * 3, 2)
    excluded = mask_annotations(Micrograph(image)).excluded
    assert excluded[420:].all()
    assert not excluded[:414].any()


def test_earlier_exclusions_stay():
    before = np.zeros((480, 640), bool)
    before[:5] = True
    image = draw(wafer(seed=1), (440, 430, 150, 6), (255, 255, 255)).data
    assert mask_annotations(Micrograph(image, excluded=before)).excluded[:5].all()


def test_priority_of_the_sources(tmp_path):
    table = tmp_path / "scope.toml"
    table.write_text('[objectives]\n"20x" = "0.3844um"\n"100x" = "76.9nm"\n')
    image = draw(wafer(seed=1), (440, 430, 150, 6), (255, 255, 255), "30 µm")
    bare = Micrograph(wafer(seed=1))
    told = Micrograph(image.data, pixel_size=PixelSize(7, 7, "metadata: x"))
    options = {"objective": "20X", "magnification_table": table}
    by_user = resolve_pixel_size(told, pixel_size="0.5um", **options).pixel_size
    assert (by_user.x_nm, by_user.source) == (500, "user")
    by_table = resolve_pixel_size(told, **options).pixel_size
    assert by_table.x_nm == pytest.approx(384.4)
    assert by_table.source == "magnification table scope.toml: 20x"
    assert resolve_pixel_size(told).pixel_size.x_nm == 7
    by_bar = resolve_pixel_size(image).pixel_size
    assert by_bar.x_nm == pytest.approx(200, rel=5e-3)
    assert by_bar.source.startswith("scale bar of 150.0 px, 30000 nm read")
    given = resolve_pixel_size(image, scale_bar_length="15um").pixel_size
    assert given.x_nm == pytest.approx(100, rel=5e-3)
    assert "given by the user" in given.source
    assert resolve_pixel_size(bare).pixel_size is None
    in_memory = resolve_pixel_size(bare, objective="a", magnification_table={"a": "5nm"})
    assert in_memory.pixel_size.y_nm == 5
    assert in_memory.history[-1].name == "resolve_pixel_size"


def tem(times=50_000, size=None, name="GO_1"):
    said = {"magnification": times} if times else {}
    return Micrograph(wafer(seed=1)[..., 0], Modality.TEM, size, name=name, metadata=said)


MAGNIFICATIONS = MagnificationTable({20_000.0: 0.5, 50_000.0: 0.2}, None, "jem.toml")


def test_magnification_in_a_table_gives_the_pixel_size():
    found = resolve_pixel_size(tem(), magnification_table=MAGNIFICATIONS)
    assert found.pixel_size == PixelSize(
        0.2, 0.2, "magnification table jem.toml: 50000x (metadata)"
    )
    by_name = resolve_pixel_size(
        tem(None, name="GO_1_20000X_3"), magnification_table=MAGNIFICATIONS
    )
    assert (by_name.pixel_size.x_nm, by_name.pixel_size.source[-11:]) == (0.5, "(file name)")
    wide = MagnificationTable(MAGNIFICATIONS.nm_at, 2 * by_name.shape[1])
    assert resolve_pixel_size(tem(), magnification_table=wide).pixel_size.x_nm == 0.4
    assert (
        resolve_pixel_size(
            tem(), pixel_size="3nm", magnification_table=MAGNIFICATIONS
        ).pixel_size.x_nm
        == 3
    )


@pytest.mark.parametrize(
    ("image", "why"), [(tem(None), "no magnification in"), (tem(30_000), "30000x is not in")]
)
def test_a_table_without_the_magnification_is_no_guess(image, why):
    found = resolve_pixel_size(image, magnification_table=MAGNIFICATIONS)
    assert found.pixel_size is None
    assert any(why in note for note in found.metadata["notes"])


def test_sources_that_disagree_are_said_and_the_first_is_used():
    told = tem(size=PixelSize(0.21, 0.21, "metadata: TIA"))
    found = resolve_pixel_size(told, magnification_table=MAGNIFICATIONS)
    assert found.pixel_size == told.pixel_size
    assert "notes" not in found.metadata  # 5 %: the same to the width of a line
    far = tem(size=PixelSize(0.4, 0.4, "metadata: TIA"))
    found = resolve_pixel_size(far, magnification_table=MAGNIFICATIONS)
    assert found.pixel_size == far.pixel_size
    assert "0.4 nm per pixel is used (metadata: TIA), 0.2 nm says" in found.metadata["notes"][0]
    by_user = resolve_pixel_size(far, pixel_size="0.8nm")
    assert by_user.pixel_size.source == "user"
    assert "0.4 nm says metadata: TIA" in by_user.metadata["notes"][0]


def test_metadata_against_the_bar():
    drawn = draw(wafer(seed=1), (440, 430, 150, 6), (255, 255, 255), "30 nm").data
    for side_nm, notes in ((0.2, 0), (0.4, 1)):
        size = PixelSize(side_nm, side_nm, "metadata: TIA")
        found = resolve_pixel_size(Micrograph(drawn, Modality.SEM, size))
        assert found.pixel_size == size
        assert len(found.metadata.get("notes", ())) == notes
    assert not resolve_pixel_size(Micrograph(drawn, pixel_size=size)).metadata


def test_tables_of_magnifications(tmp_path):
    toml, sheet = tmp_path / "a.toml", tmp_path / "a.csv"
    toml.write_text('columns = 4096\n[magnifications]\n"20000x" = 0.5\n"50kx" = "0.2nm"\n')
    sheet.write_text("magnification,pixel_size_nm\n20000,0.5\n50kx,0.2\n")
    for path, columns in ((toml, 4096), (sheet, None)):
        table = read_magnifications(path)
        assert (table.nm_at, table.columns) == (MAGNIFICATIONS.nm_at, columns)
    toml.write_text('[objectives]\n"20x" = "0.4um"\n')
    assert read_magnifications(toml) is None


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [("a.toml", "[magnifications]\n", "expected"), ("a.toml", "[[[", "not TOML"),
     ("a.toml", '[magnifications]\n"fast" = 3\n', "magnification 'fast'"),
     ("a.toml", '[magnifications]\n"50x" = [1]\n', "expected nm per pixel"),
     ("a.toml", '[magnifications]\n"50x" = -1\n', "nm per pixel at"),
     ("a.toml", '[magnifications]\n"50kx" = 1\n"50000x" = 2\n', "twice"),
     ("a.csv", "magnification\n3\n", "expected the columns"), ("a.csv", "", "expected")],
)  # fmt: skip
def test_bad_tables_of_magnifications(tmp_path, name, text, why):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=why):
        read_magnifications(tmp_path / name)
    with pytest.raises(InputError, match="No such file"):
        read_magnifications(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "times"),
    [("GO_x50000_1", 50_000), ("GO x50k", 50_000), ("mag200k-3", 200_000), ("Mag 5000", 5000),
     ("GO_2000X_1", 2000), ("image 512x512", None), ("magnet50", None), ("x50000_20000x", None)],
)  # fmt: skip
def test_forms_of_magnifications_in_names(name, times):
    assert magnification_in(name) == times


def test_a_pattern_of_ones_own():
    assert magnification_in("GO_M50k_x200", r"_M([0-9]+k?)_") == 50_000
    assert magnification_in("GO_50000X_1", r"_M([0-9]+)_") is None
    for pattern in ("(", "_M[0-9]+_"):
        with pytest.raises(InputError, match="regular expression"):
            magnification_in("GO_M50_", pattern)


def test_what_cannot_be_resolved_is_said(tmp_path):
    bare = Micrograph(wafer(seed=1))
    table = {"10x": "1um", "20x": "0.5um", "100x": "0.1um"}
    with pytest.raises(UnknownName, match=r"Did you mean.*20x"):
        resolve_pixel_size(bare, objective="200x", magnification_table=table)
    with pytest.raises(InputError, match="needs an objective"):
        resolve_pixel_size(bare, magnification_table=table)
    with pytest.raises(InputError, match="needs a magnification table"):
        resolve_pixel_size(bare, objective="20x")
    with pytest.raises(InputError, match="not a length"):
        resolve_pixel_size(bare, pixel_size="fine")
    with pytest.raises(InputError, match="none is found"):
        resolve_pixel_size(bare, scale_bar_length="10um")


@pytest.mark.parametrize(
    ("text", "why"),
    [("[objectives]\n20x = 0.38\n", "in quotes"), ("objectives = 3\n", "expected"),
     ("[objectives]\n", "expected"), ("[[[", "not TOML"),
     ('[objectives]\n"a" = "5 apples"\n', "not a length")],
)  # fmt: skip
def test_bad_tables(tmp_path, text, why):
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=why):
        load_magnification_table(path)
    with pytest.raises(InputError, match="No such file"):
        load_magnification_table(tmp_path / "none.toml")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real micrographs are not here")
def test_no_bar_on_real_optical_images_without_one():
    folders = [
        "exfoliated/graphene/images",
        "exfoliated/graphene_90nm",
        "exfoliated/hbn",
        "hbn_coco",
    ]
    paths = [p for f in folders for p in sorted((SHARED / "optical" / f).rglob("*.jpg"))[:5]]
    assert paths
    for path in paths:
        assert mask_annotations(read(path)).excluded is None, path.name


REAL = {  # read by eye: length in nm, bar in px of the published figure
    "42750053e0": (200, 112), "62594342ac": (200, 318), "78c63579ba": (2000, 86.5),
    "9c9d1af243": (50, 79), "a4b639ab1a": (200, 88), "9ca16b98df": (500, 132),
    "1b935635dd": (3000, 246.5), "291898b7c6": (10, 94), "a8851978de": (500, 42),
    "dc20484021": (500, 157),
}  # fmt: skip


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real micrographs are not here")
@pytest.mark.parametrize("name", REAL)
def test_real_bars(name):
    micrograph = read(SHARED / "tem" / "em_particles" / "images" / f"{name}.png")
    bar = find_scale_bar(micrograph)
    length_nm, length_px = REAL[name]
    assert bar.length_px == pytest.approx(length_px, abs=1.5)
    assert read_scale_bar_length(micrograph, bar)[0] == pytest.approx(length_nm)


def test_reading_twice_gives_the_same():
    stream = io.BytesIO()
    Image.fromarray(draw(wafer(seed=5), (440, 430, 150, 6), (0, 0, 0), "10 µm").data).save(
        stream, "PNG"
    )
    once, twice = (resolve_pixel_size(decode(stream.getvalue())) for _ in range(2))
    assert once.pixel_size == twice.pixel_size
