"""Parts of a live view for tests: a clock that does not wait, sources and analyses by script."""

import threading

import cv2
import numpy as np

from layerscope.core.results import CropMasks, Detections, LayerPosterior, RegionSignal
from layerscope.live.analysis import Answer, Asked
from layerscope.live.frame import Picture

GRAPHENE = Asked("graphene", "SiO2(90nm)/Si")


class FakeClock:
    """Time goes on by what is waited for."""

    def __init__(self, stop_after_s=300.0):
        self.time_s, self._stop_after_s = 0.0, stop_after_s
        self.stopped = threading.Event()

    def now_s(self):
        return self.time_s

    def wait(self, seconds):
        self.time_s += max(0.0, seconds)
        return not self.stopped.is_set() and self.time_s < self._stop_after_s


class Script:
    """A source that gives what a test puts into it, when it does."""

    steady = True
    name = "script"

    def __init__(self, *entries):
        self._entries, self._more = list(entries), threading.Condition()
        self.closed = 0

    def give(self, entry):
        with self._more:
            self._entries.append(entry)
            self._more.notify_all()

    def read(self):
        with self._more:
            there = self._more.wait_for(lambda: self._entries, 60)
            entry = self._entries.pop(0) if there else None
        if isinstance(entry, Exception):
            raise entry
        return entry

    def close(self):
        self.closed += 1


class Answers:
    """An analysis that finds the same in every frame, when a test lets it."""

    at_once = 1

    def __init__(self, free=True):
        self.asked, self.begun, self._free = [], threading.Semaphore(0), threading.Semaphore(0)
        self._always = free

    def let(self, count=1):
        for _ in range(count):
            self._free.release()

    def answer(self, number, pixels, pixel_size):
        self.asked.append(number)
        self.begun.release()
        if not self._always:
            assert self._free.acquire(timeout=20)
        return Answer(number, one_square(pixels.shape[:2]), pixel_size)

    def close(self):
        self._always = True
        self._free.release()


def scene(seed=0, shape=(240, 320), level=120):
    """Picture with texture all over, so that shifts can be seen."""
    noise = np.random.default_rng(seed).normal(level, 40, (*shape, 3))
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 4)
    spread = (smooth - smooth.mean()) * 8 + level
    return np.clip(spread, 0, 255).astype(np.uint8)


def picture(seed=0, **told):
    return Picture(scene(seed, **told))


def one_square(shape, box=(40, 60, 80, 120), layers=2):
    """Detections of one region that has `layers` layers."""
    top, left, bottom, right = box
    masks = CropMasks(
        np.array([box]), (np.ones((bottom - top, right - left), bool),), (shape[0], shape[1])
    )
    one, rgb = np.array([0.9]), np.full((1, 3), 0.5)
    signal = RegionSignal(rgb, rgb, rgb, rgb, rgb, np.array([500]), one, np.zeros(1))
    probability = np.full((1, 5), 0.0125)
    probability[0, layers - 1] = 0.95
    posterior = LayerPosterior(
        probability, np.array([layers]), one, one, one, (((0.7, 0.7, 1.0),),), ("",)
    )
    zero = np.zeros(1, np.int64)
    return Detections(masks, one, zero, zero + 1, signal, posterior)


def until(condition, seconds=20):
    """Wait until a condition of other threads holds; they are woken by events, not by time."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it never came true")
