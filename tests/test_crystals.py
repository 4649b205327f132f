"""The path of grown crystals and its folder, from the command line too."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.core.crystals import CRYSTAL_COLUMNS, CRYSTAL_IMAGE_COLUMNS, SHAPE_NAMES
from layerscope.core.crystals import share_column as share
from layerscope.core.micrograph import Micrograph
from layerscope.crystals import Settings, run_crystals
from layerscope.errors import InputError
from layerscope.io.annotations import read_coco, read_instances
from layerscope.measure.crystals import alignment
from layerscope.report.crystals_folder import CrystalsFolder
from layerscope.synth.crystal_files import write_crystals
from layerscope.synth.crystal_growth import Growth
from layerscope.synth.crystals import synth_crystals

RUN = CliRunner()
TOLD = Settings(("MoS2", "MoSe2"), "SiO2(285nm)/Si")
GROWTH = Growth(outer="MoSe2", thick=0, bilayer=0, size_um=(20, 40), touching=0.5, aligned=True)


@pytest.fixture(scope="module")
def grown():
    return synth_crystals(5, GROWTH, objective="20x", shape=(360, 480), n_crystals=6, clutter=0)


@pytest.fixture(scope="module")
def seen(grown, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    folder = CrystalsFolder(out)
    run = run_crystals([grown.micrograph], TOLD, on_result=folder)
    folder.finish(run)
    return run, out


def test_tables_have_the_columns_that_the_glossary_explains(seen):
    run, out = seen
    assert list(run.images) == [c.name for c in CRYSTAL_IMAGE_COLUMNS]
    assert list(run.crystals) == [c.name for c in CRYSTAL_COLUMNS]
    assert len(pd.read_csv(out / "crystals.csv")) == len(run.crystals)
    assert len(pd.read_parquet(out / "images.parquet")) == 1


def test_figures_agree_with_the_truth(grown, seen):
    run, _ = seen
    row = run.images.iloc[0]
    covered = (grown.sheet > 0).mean()
    assert row["coverage"] == pytest.approx(covered, abs=0.01)
    assert row["coverage_low"] <= row["coverage"] <= row["coverage_high"]
    assert (
        row["nucleation_low_per_mm2"] < row["nucleation_per_mm2"] < row["nucleation_high_per_mm2"]
    )
    assert sum(row[share(s)] for s in SHAPE_NAMES) == pytest.approx(1)
    off = (row["main_direction_deg"] - np.median(grown.lattice_deg) + 30) % 60 - 30
    assert abs(off) < 2
    assert row["alignment"] > 0.9
    table = run.crystals
    assert table["area_um2"].sum() == pytest.approx(table["area_px"].sum() * 0.3844**2)
    cored = table[table["core_share"].notna()]
    assert len(cored) == row["heterostructures"] > 0
    assert {"MoS2"} >= set(cored["core_material"]) - {""}
    assert {"MoSe2"} >= set(cored["shell_material"]) - {""}
    wanted = cored["ring_width_px"].to_numpy() * 0.3844
    np.testing.assert_allclose(cored["ring_width_um"], wanted)


def test_the_folder_holds_the_same_crystals_in_every_form(seen):
    run, out = seen
    (coco,) = read_coco(out / "annotations.coco.json")
    assert coco.masks.area_px.tolist() == run.crystals["area_px"].tolist()
    assert list(coco.classes) == run.crystals["shape"].tolist()
    (label,) = (out / "masks").iterdir()
    assert len(read_instances(label)) == len(run.crystals)
    assert json.loads((out / "run.json").read_text())["parameters"]["materials"] == [
        "MoS2",
        "MoSe2",
    ]
    assert "Lateral heterostructures" in (out / "report.html").read_text()
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
    assert len(list((out / "overlays").iterdir())) == 1


def test_without_pixel_size_there_is_no_density_and_a_note(grown):
    run = run_crystals([Micrograph(grown.micrograph.data, name="bare")])
    row = run.images.iloc[0]
    assert "no pixel size" in row["notes"]
    assert np.isnan(row["nucleation_per_mm2"])
    assert run.crystals["area_um2"].isna().all()
    assert (run.crystals["area_px"] > 0).all()
    assert set(run.crystals["material"]) == {""}


def test_a_bare_chip_and_a_bad_file_are_rows_not_errors(tmp_path):
    bare = synth_crystals(1, shape=(240, 320), n_crystals=0, clutter=0).micrograph
    (tmp_path / "bad.png").write_bytes(b"no image")
    folder = CrystalsFolder(tmp_path / "out")
    run = run_crystals([bare, tmp_path / "bad.png"], on_result=folder)
    folder.finish(run)
    assert run.images["crystals"].tolist() == [0]
    assert run.images["coverage"].tolist() == [0]
    assert len(run.failures) == 1


def test_settings_refuse_what_no_image_can_make_right():
    for wrong in (
        {"materials": ("MoS2",)},
        {"border": "none"},
        {"min_area_px": 0},
        {"materials": ("MoS9",), "substrate": "SiO2(285nm)/Si"},
    ):
        with pytest.raises(InputError):
            Settings(**wrong)


def test_alignment_of_parallel_and_of_opposed_directions():
    parallel = alignment(np.array([1.0, 59.5, 0.5, 60.0]))
    assert min(parallel.direction_deg, 60 - parallel.direction_deg) < 1
    assert parallel.order.value > 0.98
    assert alignment(np.array([0.0, 30.0])).order.value == pytest.approx(0, abs=1e-9)
    assert np.isnan(alignment(np.array([np.nan])).direction_deg)


def test_the_command(grown, tmp_path):
    write_crystals([grown], tmp_path / "set")
    images, out = str(tmp_path / "set" / "images"), str(tmp_path / "out")
    args = ["run", images, "--task", "crystals", "-o", out, "--pixel-size", "0.3844um", "--json",
            "--no-report", "-q", "--min-area", "10um2"]  # fmt: skip
    said = RUN.invoke(app, args)
    assert said.exit_code == 0, said.output
    summary = json.loads(said.stdout)
    assert summary["crystals"] == len(pd.read_csv(tmp_path / "out" / "crystals.csv")) > 0
    assert RUN.invoke(app, [*args[:-1], "10"]).exception is not None
