"""Packages of the BioImage Model Zoo: what they say is what the model does."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx")

import model_files

from layerscope.errors import InputError
from layerscope.models.bioimageio import write_package
from layerscope.models.card import TrainingSet
from layerscope.models.file import read_model
from layerscope.models.session import open_session

KNOWN = ("unit", "standard", "percentile", "imagenet")


def package(folder, licence="CC-BY-4.0", made=None, **fields):
    model = read_model(model_files.write(folder / "m.onnx", made, **fields))
    write_package(model, folder / "m.zip", licence=licence, authors=("A. Author",))
    with zipfile.ZipFile(folder / "m.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return model, json.loads(files["rdf.yaml"]), files


def apply(step, image):
    """One step of the format, written from its specification; image (1, C, H, W)."""
    how = step.get("kwargs", {})
    if step["id"] == "zero_mean_unit_variance":
        mean, spread = image.mean((2, 3), keepdims=True), image.std((2, 3), keepdims=True)
        return (image - mean) / (spread + how["eps"])
    if step["id"] == "scale_range":
        low, high = (
            np.percentile(image, how[f"{end}_percentile"], axis=(2, 3), keepdims=True)
            for end in ("min", "max")
        )
        return (image - low) / (high - low + 1e-6)
    if step["id"] == "clip":
        return np.clip(image, how["min"], how["max"])
    if step["id"] == "fixed_zero_mean_unit_variance":
        mean, spread = (np.array(how[k]).reshape(1, -1, 1, 1) for k in ("mean", "std"))
        return (image - mean) / spread
    if step["id"] == "softmax":
        raised = np.exp(image - image.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)
    assert step["id"] == "sigmoid"
    return 1 / (1 + np.exp(-image.astype(float)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("normalisation", KNOWN)
@pytest.mark.parametrize("output", ["classes", "labels"])
def test_another_program_gets_the_same_numbers(tmp_path, normalisation, output, channels):
    made = model_files.graph(channels)
    _, told, files = package(
        tmp_path, made=made, normalisation=normalisation, output=output, channels=channels
    )
    entry, answer = told["inputs"][0], told["outputs"][0]
    image = np.load(io.BytesIO(files[entry["test_tensor"]["source"]]))
    wanted = np.load(io.BytesIO(files[answer["test_tensor"]["source"]]))
    for step in entry["preprocessing"]:
        image = apply(step, image)
    maps = open_session(files["model.onnx"]).run(None, {"image": image.astype(np.float32)})[0]
    for step in answer["postprocessing"]:
        maps = apply(step, maps)
    assert np.abs(maps - wanted).max() < 1e-3
    assert maps.std() > 0.01


def test_the_description_keeps_the_rules_of_the_format(tmp_path):
    model, told, files = package(tmp_path, classes=("bare", "2L film"), name="hBN: 1/2")
    assert told["type"] == "model"
    assert told["name"] == "hBN- 1-2"
    image = np.load(io.BytesIO(files["test_input.npy"]))
    maps = np.load(io.BytesIO(files["test_output.npy"]))
    axes, out = told["inputs"][0]["axes"], told["outputs"][0]["axes"]
    assert [a["type"] for a in axes] == ["batch", "channel", "space", "space"]
    assert image.shape[1] == len(axes[1]["channel_names"])
    assert out[1]["channel_names"] == ["bare", "class_2L_film"]
    for axis, reference, side in zip(axes[2:], out[2:], (2, 3), strict=True):
        assert (image.shape[side] - axis["size"]["min"]) % axis["size"]["step"] == 0
        assert reference["size"] == {"tensor_id": "image", "axis_id": axis["id"]}
        assert image.shape[side] / reference["scale"] == maps.shape[side]
        assert axis["size"]["min"] / reference["scale"] - 2 * reference["halo"] > 0
    weights = told["weights"]["onnx"]
    assert hashlib.sha256(files["model.onnx"]).hexdigest() == weights["sha256"] == model.sha256
    for tensor in (told["inputs"][0]["test_tensor"], told["outputs"][0]["test_tensor"]):
        assert hashlib.sha256(files[tensor["source"]]).hexdigest() == tensor["sha256"]
    assert b"## Validation" in files[told["documentation"]]


def test_maps_of_half_the_resolution(tmp_path):
    _, told, files = package(tmp_path, made=model_files.graph(scale=2), margin_px=12)
    maps = np.load(io.BytesIO(files["test_output.npy"]))
    image = np.load(io.BytesIO(files["test_input.npy"]))
    assert told["outputs"][0]["axes"][2]["scale"] == 2
    assert maps.shape[2] * 2 == image.shape[2]


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        package(tmp_path / name)
    assert (tmp_path / "a" / "m.zip").read_bytes() == (tmp_path / "b" / "m.zip").read_bytes()


def test_the_licence_of_the_data_is_that_of_the_model(tmp_path):
    one = TrainingSet("x", "MIT"), TrainingSet("y", "MIT")
    assert package(tmp_path, "", trained_on=one)[1]["license"] == "MIT"
    for sources in ((), (TrainingSet("x", "MIT"), TrainingSet("y", "CC-BY-4.0"))):
        with pytest.raises(InputError, match="licence"):
            package(tmp_path, "", trained_on=sources)


def test_what_the_format_cannot_say_is_refused(tmp_path):
    for fields in (
        {"normalisation": "contrast"},
        {"normalisation": "clahe"},
    ):
        with pytest.raises(InputError, match="no word"):
            package(tmp_path, **fields)
    model = read_model(model_files.write(tmp_path / "m.onnx"))
    forest = replace(model, card=replace(model.card, input="pixel_features"))
    with pytest.raises(InputError, match="no word"):
        write_package(forest, tmp_path / "m.zip", licence="MIT")
    with pytest.raises(InputError, match="zip"):
        write_package(model, tmp_path / "m.tar", licence="MIT")
