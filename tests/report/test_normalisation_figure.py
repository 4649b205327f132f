"""The comparison of normalisations: a picture of the right size, the same each time."""

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import InputError, UnknownName
from layerscope.report.normalisation_figure import compare_normalisations


def image(name="a", channels=1, seed=0):
    shape = (90, 120, 3)[: 2 if channels == 1 else 3]
    counts = np.random.default_rng(seed).normal(2000, 200, shape).astype(np.float32)
    return Micrograph(counts, Modality.TEM, PixelSize(2, 2, "x"), name=name, white_level=4000.0)


def decoded(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def test_rows_and_columns():
    small = compare_normalisations([image()], ["unit", "minmax"])
    assert small == compare_normalisations([image()], ["unit", "minmax"])
    large = compare_normalisations([image(), image("b", 3)], ["unit", "minmax", "median"])
    wide, tall = decoded(large).shape[1::-1]
    assert wide == pytest.approx(1.5 * decoded(small).shape[1], rel=0.01)
    assert tall == pytest.approx(2 * decoded(small).shape[0], rel=0.02)


def test_what_cannot_be_compared_is_said():
    for images in ([], [image()] * 7):
        with pytest.raises(InputError, match="expected 1 to 6"):
            compare_normalisations(images)
    with pytest.raises(UnknownName, match="minmax"):
        compare_normalisations([image()], ["minmix"])


def test_command(tmp_path):
    path = tmp_path / "flake.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (64, 80), dtype=np.uint8))
    out = tmp_path / "compared.png"
    done = CliRunner().invoke(
        app, ["normalisations", str(path), "-o", str(out), "--method", "minmax"]
    )
    assert done.exit_code == 0, done.output
    assert decoded(out.read_bytes()).size
    refused = CliRunner().invoke(app, ["normalisations", str(path), "-o", "compared.gif"])
    assert refused.exit_code != 0
