"""The picture of a training."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from layerscope.errors import InputError
from layerscope.training.curves import plot_curves

STEPS = np.arange(1, 9) * 10
HISTORY = pd.DataFrame(
    {"step": STEPS, "progress": STEPS / 80, "learning_rate": 0.1, "loss": 1 / STEPS}
)


def test_pictures_are_the_same_twice_and_hold_the_figures(tmp_path):
    held_out = HISTORY.assign(iou=np.sin(STEPS / 30))
    plot_curves(held_out, tmp_path / "a.png", metric="iou")
    plot_curves(held_out, tmp_path / "b.png", metric="iou")
    plot_curves(HISTORY, tmp_path / "alone.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert matplotlib.image.imread(tmp_path / "a.png").shape[:2] == (450, 1080)
    assert (tmp_path / "alone.png").stat().st_size > 5000


def test_nothing_to_draw_is_told(tmp_path):
    with pytest.raises(InputError, match="nothing to draw"):
        plot_curves(HISTORY.iloc[:0], tmp_path / "a.png")
