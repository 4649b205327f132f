"""The live answer is the answer of `run`; the light gets known from the fields that pass."""

import pickle
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from live_parts import GRAPHENE, one_square, scene

from layerscope import finding, pipeline
from layerscope.core.calibration import Calibration, SetupCalibration
from layerscope.core.micrograph import PixelSize
from layerscope.errors import InputError, LayerscopeError
from layerscope.finding import Found, Optics
from layerscope.io.sources import Source
from layerscope.live.analysis import Analysis, Learned
from layerscope.live.bars import BurntIn
from layerscope.live.calibrating import CalibrationSettings, KeptCalibration, make_calibration
from layerscope.ops.optical import Background
from layerscope.ops.tone import tone_curve

QUICK = replace(GRAPHENE, optics=Optics(tone_curve("linear")), max_layers=4)
SETTINGS = CalibrationSettings("graphene", "SiO2(90nm)/Si", tone_curve("linear"), 10.0, 4, 0.45)
SIZE = PixelSize(400, 400, "user")


@pytest.fixture(scope="module")
def calibrated(synthetic):
    """A run over one image, which has a calibration."""
    return pipeline.run(
        [synthetic[0].micrograph], material="graphene", substrate="SiO2(90nm)/Si",
        optics=QUICK.optics, max_layers=4,
    )  # fmt: skip


def test_the_answer_is_that_of_a_run(synthetic, calibrated):
    image = replace(synthetic[0].micrograph, pixel_size=SIZE)
    told = replace(QUICK, calibration=calibrated.calibration, analyse_width_px=640)
    analysis = Analysis(told)
    answer = analysis.answer(5, image.data, SIZE)
    run = pipeline.run(
        [image], material="graphene", substrate="SiO2(90nm)/Si", optics=QUICK.optics,
        max_layers=4, calibration=calibrated.calibration,
    )  # fmt: skip
    expected = run.images[0].detections
    assert answer.frame == 5
    assert answer.error == ""
    assert len(answer.detections) == len(expected) > 0
    assert np.array_equal(answer.detections.masks.boxes, expected.masks.boxes)
    assert np.array_equal(answer.detections.layers.n_layers, expected.layers.n_layers)
    assert np.array_equal(answer.detections.layers.probability, expected.layers.probability)
    assert answer.detections.flake_id.tolist() == expected.flake_id.tolist()


def test_reduced_analysis_finds_the_same_large_regions(synthetic, calibrated):
    image = synthetic[0].micrograph.data
    whole, half = (
        Analysis(
            replace(QUICK, calibration=calibrated.calibration, analyse_width_px=width)
        ).answer(1, image, SIZE).detections
        for width in (640, 320)
    )  # fmt: skip
    large = np.flatnonzero(whole.masks.area_px > 2500)
    assert len(large) > 1
    seen = half.masks.labels() > 0
    for i in large:
        mask = whole.masks.dense(int(i))
        assert (mask & seen).sum() > 0.9 * mask.sum()


def test_what_cannot_be_analysed_is_an_answer(synthetic):
    analysis = Analysis(QUICK, submit=Waiting())
    answer = analysis.answer(1, np.full((480, 640, 3), 1, np.uint8), None)
    assert "the substrate is black" in answer.error
    assert len(answer.detections) == 0
    assert analysis.answer(2, synthetic[0].micrograph.data, None).error == ""


@pytest.mark.parametrize(
    "told",
    [{"material": "unobtainium"}, {"substrate": "cheese"}, {"finder": "eye"}, {"model": "flake-n"}],
)
def test_settings_that_cannot_be(told):
    with pytest.raises(LayerscopeError):
        Analysis(replace(QUICK, **told))


def test_ranges():
    for told in ({"analyse_width_px": 3}, {"max_layers": 0}):
        with pytest.raises(InputError):
            replace(QUICK, **told)


def test_a_calibration_for_something_else_is_refused(calibrated):
    with pytest.raises(InputError, match="the calibration is for"):
        Analysis(replace(QUICK, substrate="SiO2(285nm)/Si", calibration=calibrated.calibration))


def test_layers_come_with_the_calibration(synthetic):
    """Outlines at once, numbers when the calibration that was asked for is finished.

    One that follows is told, answers the same, and calibrates nothing by itself.
    """
    waiting, unused = Waiting(), Waiting()
    analysis, other = Analysis(QUICK, submit=waiting), Analysis(QUICK, submit=unused)
    pixels = synthetic[0].micrograph.data
    first = analysis.answer(1, pixels, SIZE)
    other.follow(analysis.learned)
    early = other.answer(2, pixels, SIZE)
    assert first.detections.layers is early.detections.layers is None
    assert "calibrating" in first.notes[0]
    assert early.notes == first.notes
    waiting.finish()
    own = analysis.answer(3, pixels, SIZE)
    assert own.calibration is not None
    other.follow(pickle.loads(pickle.dumps(analysis.learned)))
    told = other.answer(4, pixels, SIZE)
    assert np.array_equal(told.detections.layers.probability, own.detections.layers.probability)
    assert told.notes == own.notes
    assert unused.tasks == []


def test_who_follows_waits_for_the_size_that_a_bar_tells():
    learned = Learned(burnt_in=BurntIn({(90, 120, 3): SIZE}))
    assert learned.suffices((90, 120, 3), None)
    assert not learned.suffices((60, 80, 3), None)
    assert learned.suffices((60, 80, 3), SIZE)


class Waiting:
    """Stands for the process of calibrations: does nothing until it is told."""

    def __init__(self):
        self.tasks = []

    def __call__(self, function, *arguments):
        self.tasks.append((function, arguments, Future()))
        return self.tasks[-1][2]

    def finish(self, result=None):
        function, arguments, future = self.tasks[-1]
        future.set_result(function(*arguments) if result is None else result)

    def fail(self, error):
        self.tasks[-1][2].set_exception(error)


def found_at(level, shape=(240, 320)):
    """What the finder says of a field on substrate of this grey level."""
    rgb = np.full(3, level)
    surface = np.broadcast_to(rgb, (4, 4, 3)).astype(np.float32)
    background = Background(rgb, surface, rgb / 50, rgb / 50, (), True)
    return Found(Source("live", ""), "", shape, None, one_square(shape), background, ())


def calibration_at(*levels, status="ok", reasons=()):
    zeros = np.zeros((1, 3))
    setups = tuple(
        SetupCalibration(np.full(3, v), zeros, zeros, zeros, np.ones(1), status, reasons, 5)
        for v in levels
    )
    return Calibration("graphene", "SiO2(90nm)/Si", "linear", (), setups)


def test_fields_count_once_and_calibrations_come_at_powers_of_two():
    waiting = Waiting()
    kept = KeptCalibration(SETTINGS, None, waiting)
    sizes = []
    for number in range(9):
        for _ in range(3):  # the stage rests: one field
            kept.see(found_at(0.5), scene(number))
        if len(waiting.tasks) > len(sizes):
            sizes.append(len(waiting.tasks[-1][1][1]))
            waiting.finish(calibration_at(0.5))
    assert sizes == [1, 2, 4, 8]


def test_a_slow_pan_is_a_new_field_when_the_old_one_is_gone():
    waiting, whole = Waiting(), scene(3, shape=(240, 900))
    kept = KeptCalibration(SETTINGS, None, waiting)
    for left in range(0, 320, 20):
        kept.see(found_at(0.5), whole[:, left : left + 320])
    waiting.finish(calibration_at(0.5))
    kept.see(found_at(0.5), whole[:, 320:640])
    assert len(waiting.tasks[-1][1][1]) == 2


def test_a_new_light_is_calibrated_and_the_old_one_known_when_it_is_back():
    waiting = Waiting()
    kept = KeptCalibration(SETTINGS, None, waiting)
    bright, dim = np.full(3, 0.5), np.full(3, 0.3)
    kept.see(found_at(0.5), scene(1))
    waiting.finish(calibration_at(0.5))
    kept.see(found_at(0.5), scene(1))
    assert kept.setup_of(bright) == 0
    kept.see(found_at(0.3), scene(1))
    assert kept.setup_of(dim) is None
    assert "calibrating" in kept.notes(dim)[0]
    waiting.finish(calibration_at(0.5, 0.3))
    kept.see(found_at(0.3), scene(1))
    assert kept.setup_of(dim) == 1
    assert kept.setup_of(bright) == 0


def test_a_given_calibration_is_used_and_doubted_aloud():
    kept = KeptCalibration(SETTINGS, calibration_at(0.5), Waiting())
    kept.see(found_at(0.3), scene(1))
    assert kept.setup_of(np.full(3, 0.3)) == 0
    assert kept.notes(np.full(3, 0.3)) == ("the light is not that of the calibration",)
    assert kept.notes(np.full(3, 0.5)) == ()


def test_reasons_and_failures_are_told():
    waiting = Waiting()
    kept = KeptCalibration(SETTINGS, None, waiting)
    kept.see(found_at(0.5), scene(1))
    waiting.fail(InputError("nothing to go by"))
    kept.see(found_at(0.5), scene(1))
    assert kept.notes(np.full(3, 0.5)) == ("no calibration: nothing to go by",)
    kept.see(found_at(0.5), scene(2))
    waiting.finish(calibration_at(0.5, status="relative", reasons=("too few",)))
    kept.see(found_at(0.5), scene(2))
    assert kept.notes(np.full(3, 0.5)) == ("too few",)


@pytest.mark.thorough
def test_a_calibration_of_fields_is_that_of_a_run(synthetic, calibrated):
    found = [
        finding.find_in(
            Source(s.micrograph.name, "", s.micrograph), scale=finding.Scale(),
            optics=QUICK.optics, wanted=QUICK.wanted,
        )
        for s in synthetic[:1]
    ]  # fmt: skip
    made = make_calibration(
        SETTINGS, [f.detections for f in found], [f.background.level for f in found]
    )
    expected = calibrated.calibration
    assert len(made.setups) == len(expected.setups)
    for own, other in zip(made.setups, expected.setups, strict=True):
        assert np.array_equal(own.draws, other.draws)
