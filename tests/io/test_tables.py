"""Tables that spreadsheets and other programs can trust."""

import csv

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from layerscope.errors import InputError
from layerscope.io.tables import write_table


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "image": ["=cmd|'/c calc'!A1.png", 'µ, "quoted"\nline', "-1", "@x", "\tx", "+1", "ok"],
            "contrast_r": [-0.0123456789, np.nan, 1e-12, 2.0, 123456789.0, -5, 0.1],
            "region_id": [-1, 2, 3, 4, 5, 6, 7],
            "touches_border": [True, False] * 3 + [True],
        }
    )


def test_formulas_are_defused_and_numbers_stay(tmp_path, frame):
    write_table(frame, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == list(frame.columns)
    assert [r[0] for r in rows[1:]] == [
        "'=cmd|'/c calc'!A1.png", 'µ, "quoted"\nline', "'-1", "'@x", "'\tx", "'+1", "ok",
    ]  # fmt: skip
    assert [r[1] for r in rows[1:]] == [
        "-0.01234568", "", "1e-12", "2", "1.234568e+08", "-5", "0.1",
    ]  # fmt: skip
    assert rows[1][2] == "-1"
    assert rows[1][3] == "True"


def test_csv_reads_back(tmp_path, frame):
    write_table(frame, tmp_path / "t.csv")
    read = pd.read_csv(tmp_path / "t.csv")
    np.testing.assert_allclose(read["contrast_r"], frame["contrast_r"], rtol=1e-6)
    assert read["region_id"].tolist() == frame["region_id"].tolist()


def test_parquet_keeps_everything(tmp_path, frame):
    write_table(frame, tmp_path / "t.parquet", units={"contrast_r": "", "region_id": "1"})
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), frame)
    schema = parquet.read_schema(tmp_path / "t.parquet")
    assert schema.field("region_id").metadata == {b"unit": b"1"}
    column = parquet.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_same_table_same_bytes_and_empty_tables(tmp_path, frame, suffix):
    for name, table in (("a", frame), ("b", frame.copy()), ("c", frame[:0])):
        write_table(table, tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    read = pd.read_csv if suffix == "csv" else pd.read_parquet
    assert list(read(tmp_path / f"c.{suffix}").columns) == list(frame.columns)


def test_other_suffixes_are_refused(tmp_path, frame):
    with pytest.raises(InputError, match=r"\.csv or \.parquet"):
        write_table(frame, tmp_path / "t.xlsx")
