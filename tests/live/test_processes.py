"""Processes that analyse: they refuse what cannot be, answer alike, begin again when they die."""

import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from live_parts import GRAPHENE

from layerscope.core.micrograph import parse_length_nm
from layerscope.errors import InputError, LayerscopeError, UnknownName
from layerscope.live.apart import Apart
from layerscope.live.processes import AnalysisProcess, Processes

pytestmark = pytest.mark.slow


def test_settings_that_cannot_be_are_refused_by_the_process():
    processes = Processes(replace(GRAPHENE, material="unobtainium"), 1)
    with pytest.raises(UnknownName, match="unobtainium"):
        processes.start()
    processes.close()


@pytest.mark.thorough
def test_it_answers_dies_and_answers_again(synthetic):
    pixels = synthetic[0].micrograph.data
    process = AnalysisProcess(GRAPHENE)
    process.begin()
    process.wait_until_ready()
    try:
        answer = process.answer(1, pixels, None)
        assert answer.frame == 1
        assert len(answer.detections) > 0
        smaller = process.answer(2, np.ascontiguousarray(pixels[:200, :300]), None)
        assert smaller.detections.masks.shape == (200, 300)
        process._process.kill()
        broken = process.answer(3, pixels, None)
        assert "begun again" in broken.error
        again = process.answer(4, pixels, None)
        assert again.error == ""
        assert np.array_equal(again.detections.masks.boxes, answer.detections.masks.boxes)
    finally:
        process.close()
    assert process.answer(5, pixels, None).detections.masks.shape == pixels.shape[:2]


@pytest.mark.thorough
def test_two_answer_alike_and_the_second_waits_for_what_the_first_learns(synthetic):
    pixels = synthetic[0].micrograph.data
    processes = Processes(GRAPHENE)
    processes.start()
    try:
        with ThreadPoolExecutor(2) as threads:
            ask = partial(processes.answer, pixels=pixels, pixel_size=None)
            answers = list(threads.map(ask, range(1, 7)))
        assert [a.frame for a in answers] == list(range(1, 7))
        assert all(a.error == "" for a in answers)
        boxes = {a.detections.masks.boxes.tobytes() for a in answers}
        assert len(boxes) == 1
        first, second = processes._processes
        assert second.learned is first.learned is not None
        first._process.kill()
        assert "begun again" in processes.answer(7, pixels, None).error
        assert processes.answer(8, pixels, None).error == ""
    finally:
        processes.close()


@pytest.mark.thorough
def test_a_function_apart_answers_refuses_or_breaks_off():
    answer, refusal, end = Apart(math.sqrt, 9), Apart(parse_length_nm, "far"), Apart(os._exit, 3)
    assert answer.result() == 3
    with pytest.raises(InputError, match="is not a length"):
        refusal.result()
    with pytest.raises(LayerscopeError, match="broke off"):
        end.result()


def test_a_function_apart_can_be_ended():
    slow = Apart(time.sleep, 600)
    assert not slow.done()
    slow.close()
    assert slow._process.exitcode == -signal.SIGKILL
