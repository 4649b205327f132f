"""In one process: flipped bits through the finder, parts that keep every digit, late poison."""

import numpy as np
import pytest

from layerscope.batch.parts import Failed, part_path, read_found, write_found
from layerscope.batch.scan import begin, run_scan
from layerscope.batch.settings import Settings
from layerscope.batch.work import Desk
from layerscope.batch.workers import Outcome
from layerscope.core.scan import Status
from layerscope.errors import LayerscopeError, UnreadableFile
from layerscope.finding import Optics, Scale, Wanted, find_in
from layerscope.io.sources import Source, name_sources


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_hundred_flipped_bits_give_a_picture_or_a_refusal(kind, micrographs, tmp_path):
    import tifffile

    from layerscope.io import read

    content = (micrographs / "field_00.jpg").read_bytes()
    path = tmp_path / f"flipped.{kind}"
    if kind == "tif":
        data = read(micrographs / "field_00.jpg").data
        tifffile.imwrite(path, data, photometric="rgb", compression="zlib")
        content = path.read_bytes()
    refused = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        spoilt = bytearray(content)
        reach = len(spoilt) if seed % 2 else 600
        spoilt[rng.integers(reach)] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        try:
            find_in(
                Source("flipped", str(path)),
                scale=Scale("0.3844um"),
                optics=Optics(),
                wanted=Wanted(),
            )
        except LayerscopeError:
            refused += 1
    assert 0 < refused < 100


@pytest.fixture
def plan(micrographs, calibration, tmp_path):
    settings = Settings(
        "graphene", "SiO2(90nm)/Si", pixel_size="0.3844um", calibration=str(calibration)
    )
    sources = name_sources(sorted(micrographs.iterdir())[:5])
    return begin(sources, tmp_path / "run", settings, chunk_images=2)


class Poisoned:
    """An engine that loses one image when it is measured, until it is set aside."""

    def __init__(self, plan, number):
        self._plan, self._number, self.tasks = plan, number, []

    def run(self, tasks):
        desk = Desk(self._plan.folder)
        for task in tasks:
            self.tasks.append((task.stage, task.chunk))
            row = self._number % self._plan.chunk_images
            if task.stage == "measure" and task.chunk == self._number // self._plan.chunk_images:
                found = read_found(part_path(self._plan.folder, "find", task.chunk))
                if not isinstance(found[row], Failed):
                    yield Outcome(task.chunk, None, {self._number: str(Status.CRASHED)})
                    continue
            yield Outcome(task.chunk, desk.do(task), {})

    def stop(self):
        return

    def close(self):
        return


def test_image_that_cannot_be_measured_is_set_aside_and_the_scan_ends(plan):
    engine = Poisoned(plan, 3)
    result = run_scan(plan, lambda *_: engine, report=False)
    assert result.images["status"].tolist()[3] == "failed_crash"
    assert result.images["status"].str.startswith("ok").sum() == 4
    assert "field_03" not in set(result.objects["image"])
    assert engine.tasks.count(("find", 1)) == 2  # only its chunk was found on again
    assert engine.tasks.count(("find", 0)) == 1
    assert engine.tasks.count(("measure", 0)) == 1


def test_parts_keep_every_digit(plan, tmp_path):
    desk, path = Desk(plan.folder), tmp_path / "again.parquet"
    run_scan(plan, lambda *_: Poisoned(plan, 4), report=False)
    for chunk in range(plan.n_chunks):
        own = part_path(desk.folder, "find", chunk)
        rows = read_found(own)
        write_found(path, rows)
        assert path.read_bytes() == own.read_bytes()
    fresh = find_in(plan.inputs[0].source, scale=plan.settings.scale,
                    optics=plan.settings.optics(desk.survey.flat_field),
                    wanted=plan.settings.wanted, substrates=desk.survey.substrates)  # fmt: skip
    kept = read_found(part_path(desk.folder, "find", 0))[0]
    for a, b in zip(fresh.detections.masks.crops, kept.detections.masks.crops, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(fresh.detections.signal.level, kept.detections.signal.level)
    np.testing.assert_array_equal(fresh.background.level, kept.background.level)
    assert (fresh.sha256, fresh.shape, fresh.notes) == (kept.sha256, kept.shape, kept.notes)


def test_spoilt_part_is_refused_in_one_line(tmp_path):
    path = tmp_path / "find-00000.parquet"
    write_found(path, [Failed(Source("a", "/a"), Status.DECODE, "a: empty")])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UnreadableFile, match=r"find-00000.parquet: "):
        read_found(path)
