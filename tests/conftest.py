"""What many tests need: one thread, real micrographs, a synthetic set, made-up detections."""

import os
from pathlib import Path

# Read once, when numpy or torch is imported; pytest-xdist already fills the cores.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import cv2
import numpy as np
import pytest
from hypothesis import settings

from layerscope.core.results import CropMasks, Detections, LayerPosterior, RegionSignal

cv2.setNumThreads(1)
# Of laws that name no number: time. A machine that is busy is no fault: no deadline.
# CI draws the same examples each time; whoever works on the code draws new ones.
settings.register_profile("suite", max_examples=40, deadline=None, derandomize="CI" in os.environ)
settings.load_profile("suite")


_LONG = ("faults", "training", "batch", "test_run.py", "test_docs.py")
"""Folders and files whose tests take seconds each."""


def pytest_collection_modifyitems(items):
    """Long ones first: processes that are done take over what is last in the list of another."""
    root = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(root).parts[0] not in _LONG)


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real micrographs and published tables; skips where it is absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real micrographs and tables (../shared/data) are not here")
    return folder


@pytest.fixture(scope="session")
def synthetic():
    """Three small micrographs of graphene on 90 nm oxide, with their truth."""
    from layerscope.synth import synth_set

    return tuple(synth_set(3, 3, shape=(480, 640), n_flakes=9, clutter=0.3, thick_share=0.2))


@pytest.fixture(scope="session")
def synthetic_folder(synthetic, tmp_path_factory):
    """Return the folder that holds the micrographs of `synthetic` as JPEG files."""
    folder = tmp_path_factory.mktemp("synthetic")
    for image in synthetic:
        (folder / f"{image.micrograph.name}.jpg").write_bytes(image.encoded)
    return folder


@pytest.fixture(scope="session")
def synthetic_run(synthetic_folder):
    """Return the pipeline's result on `synthetic_folder`; the tone curve is told."""
    from layerscope import finding, pipeline
    from layerscope.ops.tone import tone_curve

    return pipeline.run(
        [synthetic_folder],
        material="graphene",
        substrate="SiO2(90nm)/Si",
        scale=finding.Scale("0.3844um"),
        optics=finding.Optics(tone=tone_curve("linear")),
    )


def _posterior(numbers, max_layers=10):
    n = len(numbers)
    probability = np.full((n, max_layers + 2), 0.1 / (max_layers + 1))
    column = [k - 1 if k > 0 else max_layers - k for k in numbers]
    probability[np.arange(n), column] = 0.9
    nm = 0.335 * np.maximum(np.asarray(numbers, float), np.nan if n == 0 else 1)
    branches = tuple(((low - 0.1, low + 0.1, 1.0),) for low in nm)
    numbers = np.asarray(numbers, np.int64)
    return LayerPosterior(probability, numbers, nm, nm - 0.1, nm + 0.1, branches, ("",) * n)


def _detections(labels, numbers=None, flake_id=None, seed=0):
    masks = labels if isinstance(labels, CropMasks) else CropMasks.from_labels(np.asarray(labels))
    n, rng = len(masks), np.random.default_rng(seed)
    level, background = rng.uniform(0.2, 0.6, (2, n, 3))
    error, spread = np.full((n, 3), 0.001), np.full((n, 3), 0.01)
    core, uniformity = np.full(n, 50), np.full(n, 0.9)
    signal = RegionSignal(level, error, background, error, spread, core, uniformity, np.zeros(n))
    layers = None if numbers is None else _posterior(numbers)
    ids = np.arange(1, n + 1) if flake_id is None else np.asarray(flake_id)
    return Detections(masks, np.full(n, 0.75), np.zeros(n, np.int64), ids, signal, layers)


@pytest.fixture(scope="session")
def make_detections():
    """``make_detections(labels or CropMasks, numbers=None, flake_id=None)`` -> Detections."""
    return _detections
