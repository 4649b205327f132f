"""What was asked, what it was asked with, or the images change: nothing stale is reused."""

import os
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest


@pytest.fixture
def own(copied, micrographs, tmp_path, calibration):
    """A finished scan of images of its own."""
    images = tmp_path / "images"
    shutil.copytree(micrographs, images)
    shutil.rmtree(copied.run)
    scan = replace(copied, images=images)
    assert scan.do().code == 0
    return scan


def remade(before, scan):
    """Names of the parts that are not what they were."""
    return {n for n, inode in scan.parts().items() if before.get(n) != inode}


def fresh(scan, run):
    """Tables of the same scan begun now, without history."""
    new = replace(scan, run=run)
    assert new.do().code in (0, 3)
    return new.tables()


def test_nothing_changed_nothing_done(copied, finished):
    # Whoever read the ledger of `finished` left SQLite's own files, which the next writer removes.
    kept = [p for p in copied.run.rglob("*") if p.name[0] != "." and ".sqlite-" not in p.name]
    before = {p: p.stat().st_ino for p in kept}
    ended = copied.do(constants={"layerscope.batch.workers.Workers": None})
    assert ended.code == 0
    after = {p: p.stat().st_ino for p in before}
    assert {p.name for p in before if after[p] != before[p]} <= {"progress.json"}


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (("--min-area", "300px"), "min_area_px 200 -> 300"),
        (("--na", "0.8"), "na 0.45 -> 0.8"),
        (("--tone", "srgb"), "tone 'linear' -> 'srgb'"),
        (("--pixel-size", "0.2um"), "pixel_size '0.3844um' -> '0.2um'"),
    ],
)
def test_other_settings_are_refused(option, named, copied, finished):
    before = copied.parts()
    ended = copied.do(*option)
    assert ended.code == 2
    assert ended.last_line.startswith(f"layerscope: {copied.run} holds a scan with other settings")
    assert named in ended.last_line
    assert ended.last_line.endswith("give another -o, or delete that folder")
    assert copied.parts() == before
    assert copied.tables() == finished.tables()


def test_other_content_of_the_calibration_file_is_refused(copied, calibration, tmp_path):
    other = tmp_path / "calibration.toml"
    text = calibration.read_text()
    other.write_text(re.sub(r"(\d\.\d+)", lambda m: f"{float(m[0]) * 1.001:.9f}", text, count=1))
    assert other.read_text() != text
    ended = copied.do("--calibration", other)
    assert ended.code == 2
    assert "other settings (calibration 'calibration-" in ended.last_line


@pytest.mark.parametrize("module", ["plan", "survey"])
def test_other_algorithm_makes_everything_anew(module, copied, finished):
    before = copied.parts()
    constants = {"layerscope.batch.plan.ALGORITHM": 99}
    if module == "survey":
        constants = {"layerscope.batch.survey._VERSIONS": ["0.0.0", 1]}
    ended = copied.do(constants=constants)
    assert ended.code == 0
    # A survey that comes out the same leaves its parts valid; another algorithm does not.
    assert remade(before, copied) == (set(before) if module == "plan" else set())
    assert copied.tables() == finished.tables()


def test_image_replaced_by_another(own, tmp_path):
    names = sorted(p.name for p in own.images.iterdir())
    shutil.copy(own.images / names[0], own.images / names[7])
    before = own.parts()
    assert own.do().code == 0
    assert remade(before, own) == {"find-00003.parquet", "measure-00003.parquet"}
    objects = pd.read_parquet(own.run / "objects.parquet").drop(columns="image")
    groups = pd.read_parquet(own.run / "objects.parquet")["image"]
    first, copy = (objects[groups == n].reset_index(drop=True) for n in ("field_00", "field_07"))
    pd.testing.assert_frame_equal(first, copy)
    assert own.ask("verify").code == 0


def test_image_touched_but_the_same_is_not_done_again(own):
    before, tables = own.parts(), own.tables()
    for path in own.images.iterdir():
        os.utime(path, (1e9, 1e9))
    assert own.do().code == 0
    assert (own.parts(), own.tables()) == (before, tables)
    entries = own.entries()["find", 0]
    assert {i.mtime_ns for i in entries[0].images} == {10**18}


def test_only_verify_sees_other_bytes_of_the_same_size_and_time(own):
    path = own.images / "field_04.jpg"
    times = path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times, times))
    before = own.parts()
    assert own.do().code == 0
    assert own.parts() == before
    found = own.ask("verify")
    assert found.code == 5
    lines = found.output.splitlines()
    assert lines[0] == f"{path}: not the bytes that were analysed"
    assert lines[-1] == "12 parts and 12 images: not as it was"


def test_another_chip_under_the_same_names(own, tmp_path):
    """All images replaced: also the survey of the light is made again."""
    names = sorted(p.name for p in own.images.iterdir())
    content = {n: (own.images / n).read_bytes() for n in names}
    for name, other in zip(names, names[5:] + names[:5], strict=True):
        (own.images / name).write_bytes(content[other])
    before = (own.run / "survey.json").read_bytes()
    assert own.do().code == 0
    assert (own.run / "survey.json").read_bytes() != before
    assert own.tables() == fresh(own, tmp_path / "fresh")


def test_results_outlive_their_images(own):
    tables = own.tables()
    shutil.rmtree(own.images)
    own.images.mkdir()
    assert own.ask("merge", "--no-report").code == 0
    assert own.tables() == tables
    found = own.ask("verify")
    assert found.code == 5
    assert f"{own.images / 'field_00.jpg'}: no longer there" in found.output


def test_image_lost_before_its_turn_is_named(own_scan):
    running = own_scan.do(fault={"place": "commit", "at": 4, "action": "die"})
    assert running.code == -9
    (own_scan.images / "field_11.jpg").unlink()
    assert own_scan.do().code == 3
    failures = pd.read_csv(own_scan.run / "failures.csv")
    assert failures["image"].tolist() == ["field_11"]
    assert "no such file" in failures["reason"][0]


def test_new_images_are_appended(own):
    before = own.parts()
    for k in range(3):
        shutil.copy(own.images / f"field_0{k}.jpg", own.images / f"a_late_{k}.jpg")
    assert own.do().code == 0
    after = own.parts()
    assert remade(before, own) == {n for n in after if n.endswith(("00006.parquet", "7.parquet"))}
    images = pd.read_parquet(own.run / "images.parquet")
    assert len(images) == 15
    assert images["image"].is_unique
    assert own.status()["waiting"] == 0


def test_the_same_images_named_otherwise_are_not_counted_twice(own):
    tables = own.tables()
    relative = replace(own, images=os.path.join("..", own.images.name, "..", own.images.name))
    assert relative.do(cwd=str(own.images)).code == 0
    assert own.tables() == tables
    assert replace(own, images=".").do(cwd=str(own.images)).code == 0
    assert own.tables() == tables


def test_an_image_still_growing_is_analysed_when_it_is_whole(own_scan, finished):
    path = own_scan.images / "field_03.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert own_scan.do().code == 3
    failures = pd.read_csv(own_scan.run / "failures.csv")
    assert failures["status"].tolist() == ["failed_decode"]
    assert "truncated" in failures["reason"][0]
    path.write_bytes(whole)
    before = own_scan.parts()
    assert own_scan.do().code == 0
    assert remade(before, own_scan) == {"find-00001.parquet", "measure-00001.parquet"}
    images = pd.read_parquet(own_scan.run / "images.parquet")
    assert images["status"].str.startswith("ok").all()
