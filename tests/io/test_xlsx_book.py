"""Workbooks that we write, read back by our own reader and as XML."""

import xml.etree.ElementTree as ElementTree
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError
from layerscope.io.xlsx import read_xlsx
from layerscope.io.xlsx_book import Sheet, write_xlsx

NAMESPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.text(
                st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Co")),
                min_size=1, max_size=20,
            ),
            st.integers(-(10**12), 10**12),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_texts_and_numbers_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("book") / "a.xlsx"
    write_xlsx(path, [Sheet("one", ("text", "number"), rows)])
    assert read_xlsx(path) == [["text", "number"], *([t, str(n)] for t, n in rows)]


def test_formulas_stay_texts_and_missing_numbers_stay_empty(tmp_path):
    row = ("=1+1", float("nan"), True, None, 0.1, "a\x00b")
    write_xlsx(tmp_path / "a.xlsx", [Sheet("s", tuple("abcdef"), [row])])
    assert read_xlsx(tmp_path / "a.xlsx")[1] == ["=1+1", "", "yes", "", "0.1", "a?b"]
    with zipfile.ZipFile(tmp_path / "a.xlsx") as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
        assert sheet.find(f".//{NAMESPACE}f") is None
        assert sheet.find(f".//{NAMESPACE}pane").get("state") == "frozen"


def test_every_part_is_named_in_the_package_and_is_whole_xml(tmp_path):
    write_xlsx(tmp_path / "a.xlsx", [Sheet("a/b" * 20, ("x",), []), Sheet("c", ("x",), [[1]])])
    with zipfile.ZipFile(tmp_path / "a.xlsx") as book:
        parts = {n: ElementTree.fromstring(book.read(n)) for n in book.namelist()}
        types = {e.get("PartName") for e in parts["[Content_Types].xml"] if e.get("PartName")}
        assert types == {f"/{n}" for n in parts if n.startswith("xl/") and "_rels" not in n}
        names = [e.get("name") for e in parts["xl/workbook.xml"].iter(f"{NAMESPACE}sheet")]
        assert len(names[0]) <= 31
        assert not set(names[0]) & set("[]:*?/\\")
        assert {e.date_time for e in book.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_what_no_workbook_can_hold_is_refused(tmp_path):
    with pytest.raises(InputError, match="not as long"):
        Sheet("s", ("a", "b"), [[1]])
    for sheets in ([], [Sheet("a", ("x",), []), Sheet("A", ("x",), [])]):
        with pytest.raises(InputError, match="name of its own"):
            write_xlsx(tmp_path / "a.xlsx", sheets)
