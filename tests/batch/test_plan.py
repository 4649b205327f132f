"""Plans: round trip, images appended, settings compared, damage noticed."""

from dataclasses import replace

import pytest

from layerscope.batch.plan import DamagedPlan, Input, Plan
from layerscope.batch.settings import Settings, given_file
from layerscope.core.stage import StagePosition
from layerscope.errors import InputError
from layerscope.io.sources import Source

SETTINGS = Settings("graphene", "SiO2(90nm)/Si", layers=(1, 3), tone_table=((0.0, 0.0), (1, 1)))


@pytest.fixture
def plan(tmp_path):
    inputs = (
        Input(0, "a", "/x/a.jpg", StagePosition(1.25, -2.5, 0.1)),
        Input(1, "=b\nµ", "/x/caf\udce9.jpg"),
        Input(2, "c", "/x/c.jpg"),
    )
    return Plan(tmp_path, SETTINGS, inputs, 2)


def test_round_trip(plan):
    plan.save()
    assert Plan.load(plan.folder) == plan


def test_chunks(plan):
    assert plan.n_chunks == 2
    assert [[i.number for i in plan.chunk(c)] for c in range(3)] == [[0, 1], [2], []]


def test_appended_images_keep_the_numbers_and_keys_of_the_others(plan):
    sources = [Source("c", "/y/c.jpg"), Source("a", "/x/a.jpg"), Source("c", "/z/c.jpg")]
    more = plan.extended(sources)
    assert more.inputs[:3] == plan.inputs
    assert [(i.number, i.name, i.path) for i in more.inputs[3:]] == [
        (3, "c-2", "/y/c.jpg"), (4, "c-3", "/z/c.jpg"),
    ]  # fmt: skip
    assert more.find_key(0, "s") == plan.find_key(0, "s")
    assert more.find_key(1, "s") != plan.find_key(1, "s")
    assert plan.extended(sources[1:2]) is plan


@pytest.mark.parametrize("change", [{"min_area_px": 9}, {"pixel_size": "1um"}, {"max_pixels": 9}])
def test_key_of_a_part_depends_on_what_made_it(change, plan):
    other = replace(plan, settings=replace(SETTINGS, **change))
    assert other.find_key(0, "s") != plan.find_key(0, "s")
    assert plan.find_key(0, "s") != plan.find_key(0, "t")


def test_key_of_a_measured_part_depends_on_everything(plan):
    key = plan.measure_key("f", "c", [0, 1])
    others = [("g", "c", [0, 1]), ("f", "d", [0, 1]), ("f", "c", [1, 0])]
    assert key not in [plan.measure_key(*other) for other in others]
    assert replace(plan, settings=replace(SETTINGS, na=0.5)).measure_key("f", "c", [0, 1]) != key


def test_what_differs_is_named(plan):
    with pytest.raises(InputError, match=r"na 0.45 -> 0.5; max_layers 10 -> 5.*give another -o"):
        plan.require_same(replace(SETTINGS, na=0.5, max_layers=5))


def test_crash_between_the_two_files_leaves_a_valid_plan(plan):
    plan.save()
    longer = plan.extended([Source("d", "/x/d.jpg")])
    before = (plan.folder / "scan.json").read_bytes()
    longer.save()
    (plan.folder / "scan.json").write_bytes(before)
    assert Plan.load(plan.folder) == longer


@pytest.mark.parametrize("lost", [0, 2])
def test_lost_line(lost, plan):
    plan.save()
    path = plan.folder / "inputs.jsonl"
    lines = path.read_text().splitlines()
    del lines[lost]
    path.write_text("\n".join(lines))
    with pytest.raises(DamagedPlan, match="give the whole 'scan' command again"):
        Plan.load(plan.folder)


def test_no_plan(tmp_path):
    with pytest.raises(InputError, match=r"is no scan: it has no scan.json; begin one with 'scan'"):
        Plan.load(tmp_path)


def test_given_files_are_known_by_their_content(tmp_path):
    file, run = tmp_path / "c.toml", tmp_path / "run"
    file.write_text("one")
    first = replace(SETTINGS, calibration=str(file)).with_copies(run).calibration
    assert given_file(run, first).read_text() == "one"
    file.write_text("two")
    assert replace(SETTINGS, calibration=str(file)).with_copies(run).calibration != first
    given_file(run, first).write_text("other")
    with pytest.raises(InputError, match="changed since it was given"):
        given_file(run, first)
    with pytest.raises(InputError, match=r"none.toml: No such file"):
        replace(SETTINGS, calibration="none.toml").with_copies(run)
