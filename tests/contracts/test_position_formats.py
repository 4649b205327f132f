"""What every entry of the table of position formats must do; a new entry is tested here too."""

import json

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.stage import StagePosition
from layerscope.errors import UnreadableFile
from layerscope.io.positions import (
    FORMATS,
    PositionFormat,
    PositionList,
    known_position_formats,
    read_positions,
    write_positions,
)

WRITABLE = [f for f in FORMATS if f.write is not None]
PLACES = (
    StagePosition(1234.5678, -678.9, 12.25, "A 1"),
    StagePosition(-0.001, 20000.0, -3.0, 'tile "2" <é> 花'),
    StagePosition(0.0, 0.0, 0.0, "=SUM(A1)"),
)
OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0" Name="a"><StageLabel Name="A 1"/><Pixels>'
    '<Plane TheC="0" PositionX="1.2345678" PositionXUnit="mm" PositionY="-678.9" '
    'PositionYUnit="µm" PositionZ="12250" PositionZUnit="nm"/></Pixels></Image></OME>'
)


def version_1():
    def place(p):
        stages = [
            {"DEVICE": "Z", "AXES": 1, "X": p.z_um, "Y": 0, "Z": 0},
            {"DEVICE": "XY", "AXES": 2, "X": p.x_um, "Y": p.y_um, "Z": 0},
        ]
        return {"LABEL": p.label, "DEVICES": stages, "GRID_ROW": 0, "GRID_COL": 0,
                "DEFAULT_XY_STAGE": "", "DEFAULT_Z_STAGE": "", "PROPERTIES": {}}  # fmt: skip

    listed = [place(p) for p in PLACES]
    return json.dumps(
        {"VERSION": 3, "ID": "Micro-Manager XY-position list", "POSITIONS": listed}
    ).encode()


def metadata():
    frames = {
        f"FrameKey-0-0-{i}": {
            "XPositionUm": p.x_um, "YPositionUm": p.y_um, "ZPositionUm": p.z_um,
            "PositionName": p.label, "FileName": f"img_{i}.tif",
        }
        for i, p in enumerate(PLACES)
    }  # fmt: skip
    return json.dumps({"Summary": {"Slices": 1}} | frames).encode()


def tiff_bytes(path):
    tifffile.imwrite(path, np.zeros((4, 6), np.uint8), description=OME.encode(), metadata=None)
    return path.read_bytes()


def sample(form, folder):
    """Bytes of one small file of a format."""
    if form.write is not None:
        write_positions(folder / "sample", PLACES, form.name)
        return (folder / "sample").read_bytes()
    if form.name == "useq_yaml":
        lines = [f"- {{x: {p.x_um}, y: {p.y_um}, z: {p.z_um}, name: '{p.label}'}}" for p in PLACES]
        return "\n".join(["stage_positions:", *lines]).encode()
    made = {
        "micromanager1": version_1,
        "micromanager_metadata": metadata,
        "ome": OME.encode,
        "tiff": lambda: tiff_bytes(folder / "sample.tif"),
    }
    return made[form.name]()


@pytest.fixture(params=FORMATS, ids=lambda f: f.name)
def form(request):
    if request.param.name == "useq_yaml":
        pytest.importorskip("yaml")
    return request.param


def test_entry_is_complete(form):
    assert form.name.isidentifier()
    assert len(form.description) > 5
    assert form.extensions
    assert all(e == e.lower() and e.startswith(".") for e in form.extensions)
    assert form.read.__doc__


def test_names_are_unique_and_each_written_extension_means_one_format():
    assert len({f.name for f in FORMATS}) == len(FORMATS)
    assert len({f.extensions[0] for f in WRITABLE}) == len(WRITABLE)


def test_reads_its_sample_in_micrometres(form, tmp_path):
    path = tmp_path / f"list{form.extensions[0]}"
    path.write_bytes(sample(form, tmp_path))
    found = read_positions(path)
    assert isinstance(found, PositionList)
    assert found.format == form.name.removesuffix("_yaml")
    for got, put in zip(found.positions, PLACES, strict=False):
        assert (got.x_um, got.y_um, got.z_um) == pytest.approx(
            (put.x_um, put.y_um, put.z_um), abs=1e-3
        )
        assert got.label == put.label


def test_content_decides_not_the_name(form, tmp_path):
    path = tmp_path / ("list.yaml" if form.name == "useq_yaml" else "list.dat")
    path.write_bytes(sample(form, tmp_path))
    assert read_positions(path).format == form.name.removesuffix("_yaml")


def test_truncated_anywhere_is_a_shorter_list_or_one_line(form, tmp_path):
    data = sample(form, tmp_path)
    path = tmp_path / f"cut{form.extensions[0]}"
    refusals = []
    for kept in range(0, len(data), 10):
        path.write_bytes(data[:kept])
        try:
            assert len(read_positions(path)) <= len(PLACES)
        except UnreadableFile as error:
            refusals.append(str(error))
    assert len(refusals) > 1
    assert all("cut" in line and "\n" not in line for line in refusals)


LABELS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), max_size=20)
LENGTHS = st.floats(-1e6, 1e6)


@st.composite
def lists(draw):
    """Lists in which all positions have z, or none."""
    focus = LENGTHS if draw(st.booleans()) else st.none()
    place = st.builds(StagePosition, LENGTHS, LENGTHS, focus, LABELS)
    return draw(st.lists(place, min_size=1, max_size=5))


@pytest.mark.parametrize("form", WRITABLE, ids=lambda f: f.name)
@settings(max_examples=60, deadline=None)
@given(places=lists())
def test_round_trip(tmp_path_factory, form, places):
    path = tmp_path_factory.getbasetemp() / f"round{form.extensions[0]}"
    assert write_positions(path, places) == ()
    found = read_positions(path)
    assert found.format == form.name
    assert [p.label for p in found.positions] == [p.label for p in places]
    for got, put in zip(found.positions, places, strict=True):
        assert got.x_um == pytest.approx(put.x_um, abs=1e-4)
        assert got.y_um == pytest.approx(put.y_um, abs=1e-4)
        assert (got.z_um is None) == (put.z_um is None)
        assert got.z_um is None or got.z_um == pytest.approx(put.z_um, abs=1e-4)


@pytest.mark.parametrize("form", WRITABLE, ids=lambda f: f.name)
def test_same_positions_same_bytes_and_empty_stays_empty(form, tmp_path):
    paths = [tmp_path / f"{i}{form.extensions[0]}" for i in "ab"]
    for path in paths:
        write_positions(path, PLACES)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    write_positions(paths[0], [])
    with pytest.raises(UnreadableFile, match="empty"):
        read_positions(paths[0])


@pytest.mark.parametrize("form", WRITABLE, ids=lambda f: f.name)
def test_a_position_without_focus_never_gets_one(form, tmp_path):
    """A made-up z of 0 would drive the objective into the wafer."""
    path = tmp_path / f"z{form.extensions[0]}"
    write_positions(path, [PLACES[0], StagePosition(1, 2, None, "no z")])
    found = {p.label: p for p in read_positions(path).positions}
    assert found["no z"].z_um is None


def test_outside_format_joins_by_entry_point(monkeypatch, tmp_path):
    outside = PositionFormat(
        "foo",
        "Foo list",
        (".foo",),
        lambda content: content.head.startswith(b"FOO\0"),
        lambda content: PositionList((StagePosition(1, 2),), ("",), "foo"),
    )

    class Entry:
        name, value = "foo", f"{__name__}:OUTSIDE"

    monkeypatch.setitem(globals(), "OUTSIDE", outside)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry])
    known_position_formats.cache_clear()
    (tmp_path / "x.foo").write_bytes(b"FOO\0\1\2")
    try:
        assert read_positions(tmp_path / "x.foo").format == "foo"
    finally:
        known_position_formats.cache_clear()
