"""Questionnaires and label sheets: nothing is guessed, and what is not understood is told."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.core.categories import NOT_ASKED, Question, Questionnaire, View
from layerscope.errors import InputError, TooLarge, UnknownName, UnreadableFile
from layerscope.io import xlsx
from layerscope.io.label_sheets import read_label_sheet, write_label_sheet
from layerscope.io.questionnaires import questionnaire_names, read_questionnaire
from layerscope.io.xlsx import read_xlsx

ASKED = Questionnaire(
    "test",
    "Test",
    (
        Question("count", "How many?", ("one", "few (2-10)", "NA"), spellings={"1": "one"}),
        Question("shape", "What shape?", ("flat", "crumpled"), magnification=(5000, 1e6)),
    ),
)


def sheet_of(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_label_sheet(path, ASKED)


def test_cells_are_matched_or_told(tmp_path):
    sheet = sheet_of(
        tmp_path,
        "File name;Count;shape;remark\n"
        "GO_1.tif;ONE;Flat;x\nGO_2.tif;Few (2–10);round;\nGO_3.tif;n/a;;\ngo_4.TIF; 1 ;crumpled;\n",
    )
    assert sheet.of("folder/go_1.png") == (0, 0)
    assert sheet.of("GO_2.tif") == (1, NOT_ASKED)
    assert sheet.of("GO_3.tif") == (2, NOT_ASKED)
    assert sheet.of("GO_4.tif") == (0, 1)
    assert sheet.of("another.tif") == (NOT_ASKED, NOT_ASKED)
    lines = sheet.report(["GO_1.tif", "GO_2.tif", "GO_4.tif", "GO_9.tif"])
    assert "count: 4 matched, 0 unmatched, 0 empty" in lines
    assert "shape: 2 matched, 1 unmatched ('round'), 1 empty" in lines
    assert "columns that are no question: remark" in lines
    assert lines[-1] == (
        "files: 3 matched, 1 rows without an image (e.g. GO_3.tif), "
        "1 images without a row (e.g. GO_9.tif)"
    )


def test_specimen_and_magnification_of_a_sheet(tmp_path):
    sheet = sheet_of(
        tmp_path,
        "image,specimen,mag,count\na.tif,GO,50kx,one\nb.tif,,12 000x,one\nc.tif,GO,much,1\n",
    )
    assert sheet.groups == {"a": "GO", "c": "GO"}
    assert sheet.magnifications == {"a": 50_000, "b": 12_000}
    assert any("much" in note for note in sheet.notes)


def test_rows_that_disagree_answer_nothing(tmp_path):
    sheet = sheet_of(
        tmp_path, "image,count,shape\na.tif,one,flat\na.tif,few (2-10),\nb.tif,,flat\nb.tif,one,\n"
    )
    assert sheet.of("a") == (NOT_ASKED, 0)
    assert sheet.of("b") == (0, 0)
    assert any("disagree" in note for note in sheet.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [("image,count\n", "a row per image"), ("image,size\na,1\n", "no column of 'test'")],
)
def test_sheets_that_cannot_be_used(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        sheet_of(tmp_path, text)


def test_a_sheet_of_another_encoding_says_so(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("image,count\nä,one\n".encode("latin-1"))
    with pytest.raises(UnreadableFile, match="CSV UTF-8"):
        read_label_sheet(path, ASKED)


answers = st.lists(
    st.tuples(st.sampled_from(["", "one", "few (2-10)", "NA"]),
              st.sampled_from(["", "flat", "crumpled"])),
    min_size=1, max_size=6,
)  # fmt: skip


@given(rows=answers)
def test_a_written_sheet_is_read_back(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("sheet") / "labels.csv"
    write_label_sheet(path, ASKED, {f"im{i}.tif": row for i, row in enumerate(rows)})
    sheet = read_label_sheet(path, ASKED)
    for i, row in enumerate(rows):
        found = sheet.of(f"im{i}.tif")
        wanted = tuple(
            NOT_ASKED if not cell else q.answers.index(cell)
            for cell, q in zip(row, ASKED.questions, strict=True)
        )
        assert found == wanted


def workbook(sheet, shared=(), **others):
    """Write a workbook as Excel does, with a second sheet that must not be read."""
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{relation}"><sheets>'
        '<sheet name="a" r:id="rId7"/><sheet name="b" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="rId1" '
        'Target="worksheets/sheet1.xml"/><Relationship Id="rId7" '
        'Target="/xl/worksheets/sheet2.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f"<worksheet {main}/>",
        "xl/worksheets/sheet2.xml": f"<worksheet {main}><sheetData>{sheet}</sheetData></worksheet>",
        "xl/sharedStrings.xml": f"<sst {main}>"
        + "".join(f"<si>{s}</si>" for s in shared)
        + "</sst>",
    } | others
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in parts.items():
            book.writestr(name, text)
    return stream.getvalue()


SHARED = (
    "<t>image</t>",
    "<r><t>cou</t></r><r><t>nt</t></r><rPh><t>spoken</t></rPh>",
    "<t>few (2-10)</t>",
)
CELLS = (
    '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="C1" t="s"><v>1</v></c></row>'
    '<row r="3"><c r="A3" t="inlineStr"><is><t>a.tif</t></is></c><c r="C3"><v>1.0</v></c></row>'
    '<row r="4"><c r="A4" t="str"><f>x</f><v>b.tif</v></c><c r="B4" t="b"><v>1</v></c>'
    '<c r="C4" t="s"><v>2</v></c></row>'
)


def test_cells_of_a_workbook(tmp_path):
    path = tmp_path / "labels.xlsx"
    path.write_bytes(workbook(CELLS, SHARED))
    assert read_xlsx(path) == [
        ["image", "", "count"], ["a.tif", "", "1"], ["b.tif", "yes", "few (2-10)"],
    ]  # fmt: skip
    sheet = read_label_sheet(path, ASKED)
    assert sheet.of("a.tif")[0] == 0
    assert sheet.of("b.tif")[0] == 1


def test_damaged_workbooks_are_refused_in_a_line(tmp_path, monkeypatch):
    whole = workbook(CELLS, SHARED)
    path = tmp_path / "labels.xlsx"
    hostile = workbook(
        "", **{"xl/sharedStrings.xml": '<!DOCTYPE x [<!ENTITY a "b">]><sst><si>&a;</si></sst>'}
    )
    missing = workbook('<row><c r="A1" t="s"><v>9</v></c></row>')
    for content in (whole[: len(whole) // 2], b"", b"PK", hostile, missing):
        path.write_bytes(content)
        with pytest.raises(UnreadableFile) as caught:
            read_xlsx(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    monkeypatch.setattr(xlsx, "_MOST_BYTES", 100)
    with pytest.raises(TooLarge):
        read_xlsx(path)


@pytest.mark.parametrize("name", questionnaire_names())
def test_shipped_questionnaires_survive_a_card(name):
    asked = read_questionnaire(name)
    assert Questionnaire.from_mapping(asked.as_mapping()) == asked
    assert len(asked.classes) == sum(part.stop - part.start for part in asked.slices)
    for question in asked.questions:
        for i, answer in enumerate(question.answers):
            assert question.position(answer.upper()) == i


def test_the_five_guiding_questions_and_the_image_type():
    asked = {q.name: q for q in read_questionnaire("graphene-tem").questions}
    assert list(asked) == ["image type", "particle count", "material composition", "morphology",
                           "nanostructures", "usability"]  # fmt: skip
    low = View(2000.0)
    hidden = [n for n, q in asked.items() if q.why_hidden(low)]
    assert hidden == ["material composition", "morphology", "nanostructures"]
    assert "2000x" in asked["morphology"].why_hidden(low)
    assert not any(q.why_hidden(View(200_000.0)) or q.why_hidden(View()) for q in asked.values())
    assert asked["morphology"].why_hidden(View(None, 15.0)).endswith("nm per pixel")


def test_questionnaires_of_users(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[[question]]\nname = "a"\nanswers = ["x", "y"]\n')
    assert read_questionnaire(str(path)).classes == ("a: x", "a: y")
    for text, said in (
        ('[[question]]\nname = "a"\nanswers = ["x"]', "two or more"),
        ('[[question]]\nname = "a"\nanswers = ["x", "X "]', "two or more different"),
        ('[[question]]\nname = "a"\nanswers = ["x", "y"]\nmagnificaton = [1, 2]', "magnificaton"),
        ('[[question]]\nname = "a"\nanswers = ["x", "unknown"]', "cannot be answers"),
        ("question = 3", "once or more"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            read_questionnaire(str(path))
    with pytest.raises(UnknownName, match="graphene-tem"):
        read_questionnaire("graphene")
