"""Stage positions as programs and people really write them, and as nobody should."""

import json
import os
import sys

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.core.stage import StagePosition
from layerscope.errors import InputError, MissingExtra, UnknownName, UnreadableFile
from layerscope.io import read
from layerscope.io.positions import (
    PositionList,
    position_of,
    read_images,
    read_positions,
    write_positions,
)
from layerscope.io.positions.assign import assign_positions, place_images
from layerscope.io.positions.names import Grid, positions_from_names
from layerscope.io.sources import Source, name_sources


@pytest.fixture
def listed(tmp_path):
    """Write a file and read it as a list of positions."""

    def write_and_read(name, content, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_positions(path, **options)

    return write_and_read


def xy(found):
    return [(p.x_um, p.y_um) for p in found.positions]


def xyz(position):
    return position.x_um, position.y_um, position.z_um


# Tables


@pytest.mark.parametrize(
    ("heading", "scale_um"),
    [
        ("x_um,y_um,z_um", 1), ("X (um),Y (um),Z (um)", 1), ("X [µm];Y [µm];Z [µm]", 1),
        ("stage_x_mm\tstage_y_mm\tstage_z_mm", 1000), ("XPositionUm,YPositionUm,ZPositionUm", 1),
        ("Position X (mm),Position Y (mm),Position Z (mm)", 1000), ("x_nm,y_nm,z_nm", 1e-3),
        ("Stage X microns,Stage Y microns,Focus (um)", 1), ("X um,Y um,Z um", 1),
        ("PosX_um,PosY_um,PosZ_um", 1), ("xum,yum,zum", 1), ("x_cm,y_cm,z_cm", 1e4),
    ],
)  # fmt: skip
def test_headers_name_axis_and_unit(listed, heading, scale_um):
    cells = ",".join(["12.5", "-3.25", "7"]).replace(",", max(",;\t", key=heading.count))
    (found,) = listed("a.csv", f"{heading}\n{cells}\n").positions
    assert xyz(found) == pytest.approx((12.5 * scale_um, -3.25 * scale_um, 7 * scale_um))


@pytest.mark.parametrize("heading", ["x,y", "stage_x,stage_y", "x_px,y_px", "X (pixel),Y (pixel)"])
def test_numbers_without_a_unit_are_refused_not_guessed(listed, heading):
    with pytest.raises(UnreadableFile, match="no unit of length"):
        listed("a.csv", f"{heading}\n1,2\n")


def test_unit_can_be_said_but_pixels_stay_pixels(listed):
    assert xy(listed("a.csv", "x,y\n1,2\n", unit="mm")) == [(1000, 2000)]
    with pytest.raises(UnreadableFile, match="x_px"):
        listed("a.csv", "x_px,y_px\n1,2\n", unit="um")
    with pytest.raises(InputError, match="furlong"):
        listed("a.csv", "x,y\n1,2\n", unit="furlong")


def test_stage_columns_win_over_pixels_and_rows_without_position_are_counted(listed):
    """The images table of a scan, in which a failed image has no position."""
    found = listed("images.csv", "image,x_px,y_px,stage_x_um,stage_y_um\na,1,2,5,6\nb,1,2,,\n")
    assert xy(found) == [(5, 6)]
    assert found.files == ("a",)
    assert found.notes == ("rows without x and y left out: 1",)
    assert xy(listed("sites.csv", "x_um,y_um,stage_x_um,stage_y_um\n1,2,5,6\n")) == [(5, 6)]


def test_windows_spreadsheet_with_decimal_comma(listed):
    found = listed("a.csv", "Name;X (µm);Y (µm)\r\nA;12,5;-3,25\r\n".encode("cp1252"))
    assert xy(found) == [(12.5, -3.25)]
    assert found.positions[0].label == "A"


def test_an_image_name_in_any_column_of_names_is_the_file(listed):
    found = listed("a.csv", "name,x_um,y_um\nchip/a.tif,1,2\n")
    assert found.files == ("chip/a.tif",)
    found = listed("a.csv", "File Name,Label,x_um,y_um\nb.tif,P1,1,2\n")
    assert (found.files, found.positions[0].label) == (("b.tif",), "P1")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("label,x_um,y_um\na,nan,1\n", "row 2: x is 'nan'"),
        ("label,x_um,y_um\na,1,2\nb,1,\n", "row 3: y is nothing"),
        ("label,x_um,y_um\na,1e999,2\n", "row 2: x is '1e999'"),
        ("label,x_um,y_um\na,one,2\n", "row 2: x is 'one'"),
        ("label,x_um\na,1\n", "no column y"),
        ("x_um,X (um),y_um\n1,2,3\n", "both name x"),
        ('x_um,y_um\n"1,234",2\n', "row 2: x is '1,234'"),  # thousands, not a decimal comma
        ("label,x_um,y_um\n", "the list is empty"),
        ("centroid_x_um,centroid_y_um\n1,2\n", "no column x"),
    ],
)
def test_faulty_tables_are_refused_in_one_line(listed, text, line):
    with pytest.raises(UnreadableFile, match=line) as caught:
        listed("a.csv", text)
    assert "\n" not in str(caught.value)


def test_table_that_breaks_off_is_noted(listed):
    assert "is the file complete" in listed("a.csv", "x_um,y_um\n1,2\n3,4").notes[0]


def test_spreadsheet_formulas_become_text_and_numbers_stay_numbers(tmp_path):
    labels = ["=cmd|'/c calc'!A1", "+1", "-1", "@x", "\tx", "\rx", "'=x", "plain"]
    places = [StagePosition(-1.5, 2, None, label) for label in labels]
    path = tmp_path / "a.csv"
    write_positions(path, places, extra={"=note": labels, "n": [-1] * 8, "d_um": [0.1 + 0.2] * 8})
    text = path.read_bytes().decode()
    assert text.splitlines()[1] == "'=cmd|'/c calc'!A1,-1.5,2,,'=cmd|'/c calc'!A1,-1,0.3"
    assert text.startswith("label,x_um,y_um,z_um,'=note,n,d_um\r\n")
    assert [p.label for p in read_positions(path).positions] == labels


def test_extra_columns_must_be_as_long_as_the_list(tmp_path):
    with pytest.raises(InputError, match="2 values for 1 positions"):
        write_positions(tmp_path / "a.csv", [StagePosition(0, 0)], extra={"n": [1, 2]})


# Micro-Manager


def leaf(kind, value):
    return {"type": kind, "array" if isinstance(value, list) else "scalar": value}


def multi_stage(label, devices, xy_stage="", z_stage=""):
    """One entry of a Micro-Manager 2 list."""
    return {
        "DefaultXYStage": leaf("STRING", xy_stage),
        "DefaultZStage": leaf("STRING", z_stage),
        "DevicePositions": leaf(
            "PROPERTY_MAP",
            [
                {"Device": leaf("STRING", d), "Position_um": leaf("DOUBLE", v)}
                for d, v in devices.items()
            ],
        ),
        "Label": leaf("STRING", label),
    }


def property_map(*entries):
    listed = {"StagePositions": leaf("PROPERTY_MAP", list(entries))}
    return json.dumps({"format": "Micro-Manager Property Map", "major_version": 2, "map": listed})


def test_micromanager_uses_the_default_devices_and_keeps_their_names(listed):
    devices = {"PFSOffset": [9], "Other": [1, 1], "ZDrive": [42.5], "XYStage": [1, 2]}
    found = listed("a.pos", property_map(multi_stage("P", devices, "XYStage", "ZDrive")))
    assert xyz(found.positions[0]) == (1, 2, 42.5)
    assert found.stages == ("XYStage", "ZDrive")


def test_micromanager_focus_is_not_guessed_among_several_drives(listed):
    found = listed("a.pos", property_map(multi_stage("P", {"A": [9], "B": [1], "XY": [1, 2]})))
    assert xyz(found.positions[0]) == (1, 2, None)
    assert "several focus drives" in found.notes[0]


def test_micromanager_without_stage_is_refused(listed):
    with pytest.raises(UnreadableFile, match="position P7 has no stage"):
        listed("a.pos", property_map(multi_stage("P7", {"Z": [1]})))


def test_micromanager_written_as_its_own_serialiser_does(tmp_path):
    places = [StagePosition(1, 2, 3, "A"), StagePosition(4, 5, None, "B")]
    write_positions(tmp_path / "a.pos", places, stages=("XY", "Z"))
    document = json.loads((tmp_path / "a.pos").read_bytes())
    first, second = document["map"]["StagePositions"]["array"]
    assert (document["major_version"], document["minor_version"]) == (2, 0)
    assert first["DefaultXYStage"] == {"type": "STRING", "scalar": "XY"}
    assert first["DevicePositions"]["array"][1] == {
        "Device": {"type": "STRING", "scalar": "XY"},
        "Position_um": {"type": "DOUBLE", "array": [1, 2]},
    }
    assert second["DefaultZStage"]["scalar"] == ""
    assert [len(p["DevicePositions"]["array"]) for p in (first, second)] == [2, 1]


def test_metadata_of_a_stack_gives_one_place_per_file(listed):
    tags = {"XPositionUm": 1, "YPositionUm": 2, "PositionName": "P", "FileName": "a.tif"}
    frames = {f"FrameKey-0-0-{z}": tags | {"ZPositionUm": z} for z in range(3)}
    other = {"Metadata-Default/img_1.tif": {"XPositionUm": 3, "YPositionUm": 4}}
    found = listed("metadata.txt", json.dumps({"Summary": {}} | frames | other))
    assert xy(found) == [(1, 2), (3, 4)]
    assert found.files == ("a.tif", "Default/img_1.tif")


@pytest.mark.parametrize(
    "summary",
    [
        {"InitialPositionList": [{"Label": "P", "DeviceCoordinatesUm": {"XY": [1, 2], "Z": [3]}}]},
        {"StagePositions": [multi_stage("P", {"XY": [1, 2], "Z": [3]})]},
    ],
)
def test_metadata_of_an_acquisition_gives_its_plan_where_images_say_nothing(listed, summary):
    found = listed("metadata.txt", json.dumps({"Summary": summary}))
    assert xyz(found.positions[0]) == (1, 2, 3)
    assert "planned positions" in found.notes[0]


# Nikon


def nis(points, *, z="true"):
    body = "".join(
        f'<Point{i:05d} runtype="NDSetupMultipointListItem"><bChecked runtype="bool" '
        f'value="{checked}"/><strName runtype="CLxStringW" value="{name}"/>'
        f'<dXPosition runtype="double" value="{x}"/><dYPosition runtype="double" value="{y}"/>'
        f'<dZPosition runtype="double" value="5.5"/></Point{i:05d}>'
        for i, (checked, name, x, y) in enumerate(points)
    )
    return (
        '<?xml version="1.0" encoding="UTF-16"?><variant version="1.0"><no_name runtype='
        f'"CLxListVariant"><bIncludeZ runtype="bool" value="{z}"/>{body}</no_name></variant>'
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-8-sig"])
def test_nis_in_every_encoding_that_programs_write(listed, encoding):
    """Some declare UTF-16 and write UTF-8, or leave out the mark."""
    found = listed("a.xml", nis([("true", "µ #1", 9000.0, -1.25)]).encode(encoding))
    assert xyz(found.positions[0]) == (9000, -1.25, 5.5)
    assert found.positions[0].label == "µ #1"


def test_nis_leaves_out_unchecked_points_and_unused_z(listed):
    found = listed("a.xml", nis([("true", "a", 1, 2), ("false", "b", 3, 4)], z="false"))
    assert [xyz(p) for p in found.positions] == [(1, 2, None)]
    assert found.notes == ("unchecked points left out: 1",)


def test_nis_is_written_in_utf_16_and_says_when_z_is_lost(tmp_path):
    path = tmp_path / "a.xml"
    places = [StagePosition(1, 2, 3, "a"), StagePosition(4, 5, None, "b")]
    assert write_positions(path, places) == ("positions without z: 1 of 2, so none is used",)
    data = path.read_bytes()
    assert data[:2] in (b"\xff\xfe", b"\xfe\xff")
    assert 'bIncludeZ runtype="bool" value="false"' in data.decode("utf-16")


def test_labels_that_no_file_can_hold_are_replaced_and_said(tmp_path):
    for name in ("a.xml", "a.pos", "a.csv", "a.json"):
        (note,) = write_positions(tmp_path / name, [StagePosition(0, 0, None, "a\udc80\x01b")])
        assert "replaced: 1" in note
        assert read_positions(tmp_path / name).positions[0].label == "a\ufffd\ufffdb"


# Hostile and damaged files


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.xml", b'<!DOCTYPE l [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><variant>&c;</variant>',
         "refused as unsafe"),
        ("a.xml", '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><OME>&a;</OME>'
         .encode("utf-16"), "refused as unsafe"),
        ("a.xml", b"<variant>" + b" " * 10_000_001 + b"</variant>", "over the limit"),
        ("a.xml", b"<a>" * 100_000 + b"</a>" * 100_000, "nested deeper"),
        ("a.xml", b"<html><body>moved</body></html>", "a web page"),
        ("a.xml", b"<plan><x/></plan>", "XML of another kind"),
        ("a.json", b"[" * 100_000, "nested too deep"),
        ("a.json", b'{"stage_positions": [{"x": NaN, "y": 1}]}', "x is nan"),
        ("a.json", b'{"stage_positions": [{"x": true, "y": 1}]}', "x is True"),
        ("a.json", b'{"stage_positions": [7]}', "expected x, y, z, name"),
        ("a.json", b'{"stage_positions": {"plate": 96}}', "is no list"),
        ("a.json", b'{"stage_positions": []}', "empty"),
        ("a.json", b'{"other": 1}', "JSON without stage positions"),
        ("a.json", b"[1, 2", "unfinished JSON"),
        ("a.pos", bytes(range(256)), "binary"),
        ("a.pos", b"\0" * 500, "empty"),
        ("a.txt", b"hello\nworld\n", "a text without columns"),
        ("a.xml", nis([]).encode(), "empty"),
        ("a.xml", nis([("true", "a", "", 2)]).encode(), "dXPosition is nothing"),
    ],
)  # fmt: skip
def test_bad_file_gives_one_line_and_quickly(listed, name, content, line):
    with pytest.raises(UnreadableFile, match=line) as caught:
        listed(name, content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.pos")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("pipe.pos", "loop", "absent.csv", "nul\0.csv"):
        with pytest.raises(UnreadableFile):
            read_positions(tmp_path / name)
    with pytest.raises(UnreadableFile, match="folder without TIFF images"):
        read_positions(tmp_path)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_no_bytes_crash_the_reader(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(data)
    try:
        read_positions(path)
    except UnreadableFile as error:
        line = str(error)
    else:
        line = ""
    assert "\n" not in line


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(("Label", "DevicePositions", "Device", "Position_um", "array", "scalar",
                         "DEVICES", "AXES", "X", "Y", "x", "y", "name")), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from(("map", "POSITIONS", "stage_positions", "Summary", "FrameKey-0-0-0")))
def test_no_json_crashes_the_reader(tmp_path_factory, inner, key):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    inner = {"StagePositions": inner} if key in ("map", "Summary") else inner
    path.write_text(json.dumps({key: inner}))
    try:
        found = read_positions(path)
    except UnreadableFile as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert len(found) > 0


def test_yaml_without_pyyaml_says_what_to_install(listed, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtra, match="pip install pyyaml"):
        listed("a.yaml", "stage_positions:\n- {x: 1, y: 2}\n")


def test_yaml_is_read_as_data_only(listed):
    pytest.importorskip("yaml")
    found = listed("a.yaml", "stage_positions:\n- {x: 1, y: 2, name: P}\n- [3, 4, 5]\n")
    assert xy(found) == [(1, 2), (3, 4)]
    with pytest.raises(UnreadableFile, match="damaged YAML"):
        listed("a.yaml", "stage_positions: !!python/object/apply:os.system ['true']\n")


def test_writing_to_an_unknown_form_offers_the_known(tmp_path):
    with pytest.raises(UnknownName, match=r"\.csv, \.json, \.pos, \.xml"):
        write_positions(tmp_path / "a.txt", [])
    with pytest.raises(UnknownName, match="nis"):
        write_positions(tmp_path / "a.csv", [], "nikon")
    write_positions(tmp_path / "a.txt", [StagePosition(1, 2)], "csv")
    assert read_positions(tmp_path / "a.txt").format == "csv"


def test_repeated_labels_are_said(listed):
    found = listed("a.csv", "label,x_um,y_um\na,1,2\na,3,4\nb,1,1\nb,1,1\n")
    assert found.notes == ("labels that stand for several places: 1, e.g. 'a'",)


# Images


def ome(*images):
    body = "".join(
        f'<Image ID="Image:{i}" Name="{name}"><Pixels><TiffData><UUID FileName="{name}">u</UUID>'
        f"</TiffData><Plane {plane}/></Pixels></Image>"
        for i, (name, plane) in enumerate(images)
    )
    return f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{body}</OME>'


def plane(x, y, unit='PositionXUnit="mm" PositionYUnit="mm"'):
    return f'PositionX="{x}" PositionY="{y}" {unit}'


def save(path, description=None, tags=None):
    extra = [] if tags is None else [(51123, "s", 0, json.dumps(tags), True)]
    tifffile.imwrite(
        path,
        np.zeros((40, 40), np.uint8),
        description=description and description.encode(),
        extratags=extra,
        metadata=None,
    )
    return path


def test_images_tell_their_own_place_of_a_shared_ome_xml(tmp_path):
    text = ome(("a.ome.tif", plane(1, 2)), ("b.ome.tif", plane(3, 4)))
    paths = [save(tmp_path / name, text) for name in ("b.ome.tif", "a.ome.tif")]
    found = read_images(paths)
    assert xy(found) == [(3000, 4000), (1000, 2000)]
    assert xy(read_positions(tmp_path)) == [(1000, 2000), (3000, 4000)]
    assert assign_positions(name_sources([tmp_path]), found).positions[0].x_um == 1000
    micrograph = read(paths[0])
    assert position_of(micrograph.metadata, file="b.ome.tif").x_um == 3000
    assert position_of(micrograph.metadata) is None


def test_micromanager_tags_of_an_image(tmp_path):
    tags = {"XPositionUm": -1.5, "YPositionUm": 2, "ZPositionUm": 3, "PositionName": "P"}
    path = save(tmp_path / "a.tif", tags=tags)
    assert xyz(read_positions(path).positions[0]) == (-1.5, 2, 3)
    assert position_of(read(path).metadata) == StagePosition(-1.5, 2, 3, "P")


def test_images_without_a_place_are_counted(tmp_path):
    with_place = save(tmp_path / "a.tif", tags={"XPositionUm": 0, "YPositionUm": 0})
    without = save(tmp_path / "b.tif")
    (tmp_path / "c.tif").write_bytes(b"II*\0 and no more")
    found = read_images([with_place, without, tmp_path / "c.tif"])
    assert found.files == (str(with_place),)
    assert "images without a stage position: 2, first b.tif" in found.notes[0]
    assert position_of(read(without).metadata) is None
    with pytest.raises(UnreadableFile, match="none of 1 images"):
        read_images([without])


def test_ome_units(listed):
    assert listed("a.ome", ome(("a", plane(1, 2, "")))).notes == (
        "no unit is written: um, as in OME-XML before 2015",
    )
    open_frame = 'PositionXUnit="reference frame" PositionYUnit="reference frame"'
    with pytest.raises(UnreadableFile, match="reference frame"):
        listed("a.ome", ome(("a", plane(1, 2, open_frame))))
    found = listed("a.ome", ome(("a", plane(1, 2, open_frame)), ("b", "")), unit="um")
    assert xy(found) == [(1, 2)]
    assert found.notes == ("images without a position: 1 of 2",)


# Which position belongs to which image


def a_list(*entries):
    """Positions from (label, file, x)."""
    places = tuple(StagePosition(x, 0, None, label) for label, _, x in entries)
    return PositionList(places, tuple(file for _, file, _ in entries), "csv")


def sources(*paths):
    return [Source(p.rpartition("/")[2].partition(".")[0], p) for p in paths]


def assigned(paths, *entries, **options):
    found = assign_positions(sources(*paths), a_list(*entries), **options)
    return [None if p is None else p.x_um for p in found.positions], found.notes


def test_file_names_win_over_labels_and_folders_decide_between_equal_names():
    x, notes = assigned(
        ["/s/one/a.tif", "/s/two/a.tif", "/s/c.JPG"],
        ("c", r"D:\data\two\a.tif", 2), ("", "one/A.TIF", 1), ("a", "c.tif", 3),
    )  # fmt: skip
    assert x == [1, 2, 3]
    assert notes == ("positions by file name: 3",)


def test_labels_match_whole_words_the_longest_first():
    x, notes = assigned(
        ["s/img_Pos1_0.tif", "s/img_Pos10_0.tif", "s/Pos1_b.tif", "s/2-Pos_000_001/img_0.tif",
         "s/Pos1_b_0.tif"],
        ("Pos1", "", 1), ("pos10", "", 10), ("Pos1_b", "", 2), ("2-Pos_000_001", "", 3),
        ("Pos9", "", 9),
    )  # fmt: skip
    assert x == [1, 10, 2, 3, 2]
    assert notes == (
        "positions by label: 1",
        "positions by label in the name: 4",
        "positions that belong to several images: 1 (Pos1_b)",
        "positions that match no image: 1 (Pos9)",
    )


def test_a_label_of_digits_must_be_the_last_word():
    x, _ = assigned(["s/20_3.tif", "s/20_4.tif"], ("3", "", 3), ("4", "", 4), ("20", "", 20))
    assert x == [3, 4]


def test_contradictions_leave_the_image_without_position_and_are_said():
    x, notes = assigned(
        ["a.tif", "b.tif"], ("A", "", 1), ("a", "", 2), ("b", "", 3), ("B", "", 3)
    )  # fmt: skip
    assert x == [None, 3]
    assert "images that match several places in the list and get none: 1 (a)" in notes


def test_order_is_used_only_when_told_and_counts_agree():
    paths = [f"s/img{i}.tif" for i in (10, 9, 1)]
    entries = [("", "", 0), ("", "", 1), ("", "", 2)]
    x, notes = assigned(paths, *entries)
    assert x == [None] * 3
    assert "say that the order is the same" in notes[0]
    x, notes = assigned(paths, *entries, by_order=True)
    assert x == [2, 1, 0]
    assert notes == ("3 positions by order only: the first is img1, the last img10",)
    with pytest.raises(InputError, match="3 positions for 2 images"):
        assigned(paths[:2], *entries, by_order=True)


def test_one_position_of_many_images_and_images_without_are_said():
    x, notes = assigned(["P1_c0.tif", "P1_c1.tif", "P2.tif"], ("P1", "", 1))
    assert x == [1, 1, None]
    assert "images without a position in the list: 1 (P2)" in notes
    assert "positions that belong to several images: 1 (P1)" in notes


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(12)), st.permutations(range(12)))
def test_assignment_does_not_depend_on_any_order(images, places):
    entries = [(f"Pos{i}", "", float(i)) for i in places]
    x, _ = assigned([f"s/scan_Pos{i}_x.tif" for i in images], *entries)
    assert x == [float(i) for i in images]


def test_nothing_to_assign():
    assert assign_positions([], a_list(("a", "", 1))).positions == ()


def test_one_door_for_lists_headers_names_and_patterns(tmp_path):
    path = save(tmp_path / "s_x1mm_y2mm.tif", tags={"XPositionUm": 5, "YPositionUm": 6})
    (tmp_path / "a.csv").write_text("image,x_um,y_um\ns_x1mm_y2mm.tif,7,8\n")
    images = [*name_sources([path]), Source("made", "")]
    for where, place in {
        str(tmp_path / "a.csv"): (7, 8),
        "images": (5, 6),
        str(tmp_path): (5, 6),
        "*_x{x_mm}mm_y{y_mm}mm": (1000, 2000),
    }.items():
        found = place_images(images, where)
        assert {k: (p.x_um, p.y_um) for k, p in found.by_path(images).items()} == {str(path): place}
        assert found.positions[1] is None
    found = place_images(images[:1], "names")
    assert found.notes == ("positions by file name, pattern x{x}_y{y}, mm",)


# File names


def places_of(*names, **options):
    found = positions_from_names(names, **options)
    return [None if p is None else (p.x_um, p.y_um) for p in found.positions], found


GRID = Grid(400, 300)


@pytest.mark.parametrize(
    ("name", "options", "place", "pattern", "unit"),
    [
        ("s_x1234.5_y-678.9.tif", {"unit": "um"}, (1234.5, -678.9), "x{x}_y{y}", "um"),
        ("s_x1.5mm_y-2mm.tif", {}, (1500, -2000), "x{x}_y{y}", "mm"),
        ("X12_Y7.jpg", {"unit": "mm"}, (12000, 7000), "x{x}_y{y}", "mm"),
        ("img_r003_c010.tif", {"grid": GRID}, (3600, 600), "r{row}_c{col}", "row and column"),
        ("row2col3.png", {"grid": GRID}, (800, 300), "r{row}_c{col}", "row and column"),
        ("c010_r003.tif", {"grid": GRID}, (3600, 600), "c{col}_r{row}", "row and column"),
        ("1-Pos_012_034.tif", {"grid": GRID}, (4400, 9900), "Pos_{col}_{row}", "row and column"),
    ],
)
def test_common_patterns_are_recognised_and_named(name, options, place, pattern, unit):
    (found,), said = places_of(name, **options)
    assert found == pytest.approx(place)
    assert (said.pattern, said.unit) == (pattern, unit)


@pytest.mark.parametrize(
    ("pattern", "name", "place"),
    [
        ("*_{x_um}_{y_um}", "2024_scan_12.5_-30.tif", (12.5, -30)),
        ("{x_mm}_{y_mm}", "a/1_-2.5.png", (1000, -2500)),
        ("tile_{row}_{col}", "tile_003_010.tif", (3600, 600)),
        ("scan2{row}_{col}", "scan2003_010.tif", (3600, 600)),
        (r"_(?P<x_nm>[-\d.]+)_(?P<y_nm>[-\d.]+)$", "s_1500_-2000", (1.5, -2)),
        (r"(?P<x>\d+)(?P<unit>mm|um)-(?P<y>\d+)", "s3mm-4", (3000, 4000)),
    ],
)
def test_templates_and_expressions(pattern, name, place):
    (found,), said = places_of(name, pattern=pattern, grid=GRID)
    assert found == pytest.approx(place)
    assert said.pattern == pattern


def test_focus_from_a_name():
    found = positions_from_names(["1_2_3"], "{x_um}_{y_um}_{z_mm}").positions[0]
    assert xyz(found) == (1, 2, 3000)


@pytest.mark.parametrize(
    ("names", "options", "line"),
    [
        (["s_x1_y2"], {}, "x=1, y=2 without a unit"),
        (["s_x1_y2"], {"unit": "px"}, "unit of length"),
        (["r1_c1"], {}, "say its pitch"),
        (["s_x1_y2", "flat"], {}, r"fits 1 of 2 and not 'flat'"),
        (["flat"], {}, "no position in the file names"),
        (["a_1_2"], {"pattern": "b_{x_um}_{y_um}"}, "fits no name"),
        (["t0310"], {"pattern": "t{row}{col}", "grid": GRID}, "fits no name"),
        (["a"], {"pattern": "{x_um}"}, "expected x and y"),
        (["a"], {"pattern": "{x_um}_{q}"}, "unknown field 'q'"),
        (["a"], {"pattern": "(?P<x_um>("}, "pattern"),
        (["1_2"], {"pattern": "{x_um}_{y_mm}"}, "different units"),
        (["i3"], {"pattern": "i{index}", "grid": GRID}, "number of columns"),
        (["i3"], {"pattern": "i{index}", "grid": Grid(1, 1, 4, first=5)}, "before the first"),
    ],
)
def test_names_that_do_not_say_enough_are_refused(names, options, line):
    with pytest.raises(InputError, match=line):
        positions_from_names(names, **options)


def test_a_given_pattern_may_miss_some_names():
    found, said = places_of("a_1_2", "flat", pattern="a_{x_um}_{y_um}")
    assert found == [(1, 2), None]
    assert said.notes == ("names that do not fit: 1, first flat",)


def test_snake_runs_back_in_every_second_row():
    names = [f"i{k:03d}" for k in range(6)]
    found, said = places_of(*names, pattern="i{index}", grid=Grid(10, 20, columns=3, snake=True))
    assert found == [(0, 0), (10, 0), (20, 0), (20, 20), (10, 20), (0, 20)]
    assert said.notes == ("counted from 0, snake",)
    from_one, _ = places_of(
        *[f"i{k}" for k in range(1, 7)], pattern="i{index}", grid=Grid(10, 20, 3, snake=True)
    )
    assert from_one == found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)), min_size=1, max_size=8))
def test_coordinates_in_names_round_trip(places):
    names = [f"scan_x{x:.3f}_y{y:.3f}.tif" for x, y in places]
    found, _ = places_of(*names, unit="um")
    assert np.allclose(found, places, atol=6e-4)


@pytest.mark.parametrize(
    ("text", "pitch"),
    [("400um", (400, 400)), ("0.4x-0.3 mm", (400, -300)), ("400 × 300µm", (400, 300))],
)
def test_pitch_from_text(text, pitch):
    grid = Grid.parse(text, columns=3, snake=True)
    assert (grid.pitch_x_um, grid.pitch_y_um) == pytest.approx(pitch)
    assert (grid.columns, grid.snake) == (3, True)


@pytest.mark.parametrize("text", ["400", "x300um", "400x300px", ""])
def test_pitch_without_number_or_unit_is_refused(text):
    with pytest.raises(InputError):
        Grid.parse(text)


def test_grid_needs_a_pitch():
    with pytest.raises(InputError, match="pitch"):
        Grid(0, 300)
    assert positions_from_names([]).positions == ()
