"""A calibration on disk: it predicts what it predicted, or says in one line why it cannot."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest

from layerscope.core.calibration import Calibration, SetupCalibration
from layerscope.errors import UnreadableFile
from layerscope.io.calibration import read_calibration, write_calibration
from layerscope.ops.tone import tone_curve
from layerscope.physics.calibration import calibrate
from layerscope.physics.ladder import NAMES
from layerscope.physics.materials import load
from layerscope.physics.thickness import count_layers
from layerscope.physics.thin_film import Stack
from layerscope.synth import synth_signals


@pytest.fixture(scope="module")
def example():
    signal, _ = synth_signals(3, layers=[1, 1, 2, 2, 3, 4, 6, 40], wrong_share=0)
    labels = [np.array([1, 0, 2, 0, 0, 0, 0, 0])]
    background = np.median(signal.background, axis=0)
    found = calibrate(
        [signal], [background], load("graphene"), Stack.parse("SiO2(90nm)/Si"), labels=labels,
        tone=tone_curve("linear"),
    )  # fmt: skip
    return signal, found


def made_up(**changes):
    setup = SetupCalibration(
        background=np.array([0.1, 0.2, 0.3]),
        ladder=np.array([[-0.1, 1 / 3, 2.0], [1e-9, -1e9, 0.0]]),
        ladder_sd=np.full((2, 3), 0.01),
        draws=np.random.default_rng(0).standard_normal((4, len(NAMES))),
        weights=np.full(4, 0.25),
        status="relative",
        reasons=('the "tone" curve\nis \\ unknown', "µm ≠ nm"),
        n_regions=7,
        diagnostics={"noise_scale": 1.0, "log_prior": -3.25},
    )
    made = Calibration(
        "MoS2", "hBN(20nm)/SiO2(285nm)/Si", "srgb", NAMES, (setup, replace(setup, status="ok")),
        {"version": "0", "max_layers": 10, "na": 0.45, "tone_given": False},
    )  # fmt: skip
    return replace(made, **changes)


def test_posterior_survives_the_file(example, tmp_path):
    signal, found = example
    write_calibration(tmp_path / "c.toml", found)
    again = read_calibration(tmp_path / "c.toml")
    before, after = count_layers(signal, found, 0), count_layers(signal, again, 0)
    np.testing.assert_allclose(after.probability, before.probability, atol=1e-5)
    np.testing.assert_array_equal(after.n_layers, before.n_layers)
    np.testing.assert_allclose(after.thickness_nm, before.thickness_nm, rtol=1e-5)


def test_every_field_survives(tmp_path):
    made = made_up()
    write_calibration(tmp_path / "c.toml", made)
    again = read_calibration(tmp_path / "c.toml")
    assert (again.material, again.substrate, again.tone) == ("MoS2", made.substrate, "srgb")
    assert again.parameters == made.parameters
    assert dict(again.provenance) == dict(made.provenance)
    for old, new in zip(made.setups, again.setups, strict=True):
        assert (new.status, new.reasons, new.n_regions) == (old.status, old.reasons, 7)
        assert dict(new.diagnostics) == dict(old.diagnostics)
        for name in ("background", "ladder", "ladder_sd", "draws", "weights"):
            np.testing.assert_allclose(getattr(new, name), getattr(old, name), rtol=1e-8)


def test_same_calibration_same_bytes(tmp_path):
    for name in "ab":
        write_calibration(tmp_path / name, made_up())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_calibration(tmp_path / "c", read_calibration(tmp_path / "a"))
    assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()


def test_is_readable_toml_that_says_what_it_is_for(tmp_path):
    write_calibration(tmp_path / "c.toml", made_up())
    text = (tmp_path / "c.toml").read_text()
    assert "--calibration" in text.splitlines()[0]
    assert tomllib.loads(text)["setup"][0]["status"] == "relative"


def test_nearest_setup_is_by_ratio():
    dim, bright = (
        replace(made_up().setups[0], background=np.array(b))
        for b in ([0.1, 0.1, 0.1], [0.4, 0.4, 0.4])
    )
    made = made_up(setups=(dim, bright))
    assert made.nearest(np.array([0.19, 0.19, 0.19])) == 0
    assert made.nearest(np.array([0.21, 0.21, 0.21])) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[[setup]]", "[[setups]]"),
        ("material =", "matter ="),
        ('status = "ok"', 'status = "fine"'),
        ("weights = [", "weights = [[1.0, 2.0], "),
        ("n_regions = 7", 'n_regions = "seven"'),
        ("background = [0.1,", "background = ["),
        ("weights = [0.25,", "weights = ["),
        ("parameters = [", 'parameters = ["one more", '),
        ("noise_scale = 1.0", 'noise_scale = "loud"'),
        ("[provenance]", "[provenance"),
    ],
)
def test_malformed_file_is_named_in_one_line(tmp_path, old, new):
    path = tmp_path / "c.toml"
    write_calibration(path, made_up())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UnreadableFile, match="not a layerscope calibration") as caught:
        read_calibration(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"material = 'graphene'\n", b"\xff\xfe\x00", b"{}"])
def test_other_files(tmp_path, content):
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match="not a layerscope calibration") as caught:
        read_calibration(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UnreadableFile, match="No such file"):
        read_calibration(tmp_path / "none.toml")
    with pytest.raises(UnreadableFile, match="directory"):
        read_calibration(tmp_path)
