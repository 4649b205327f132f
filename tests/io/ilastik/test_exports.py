"""Exported pictures of ilastik: axes, ranges, damage. Files are made by h5py itself or by us."""

import json

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError, MissingExtra, UnreadableFile
from layerscope.io.ilastik.axes import format_axistags, from_plane, guess_axes, to_plane
from layerscope.io.ilastik.exports import (
    kind_of,
    read_labels,
    read_numbers,
    read_probabilities,
    read_segmentation,
    write_labels,
    write_probabilities,
)

AXES = ("yxc", "tzyxc", "cyx", "txyzc", "xyc", "cxzyt")


def tags(keys):
    kinds = {"c": 1, "t": 8}
    axes = [{"key": k, "typeFlags": kinds.get(k, 2), "resolution": 0.0} for k in keys]
    return json.dumps({"axes": axes})


def export(path, values, keys=None, drange=None, name="exported_data"):
    """A file as ilastik leaves it behind, without any code of ours."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(name, data=values, compression="gzip")
        if keys:
            dataset.attrs["axistags"] = tags(keys)
        if drange:
            dataset.attrs["drange"] = drange
    return path


def shares(seed=0, shape=(7, 9), classes=3):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), shape).astype(np.float32)


@pytest.mark.parametrize(
    ("keys", "order"),
    [("yxc", "yxc"), ("cyx", "cyx"), ("xyc", "xyc"), ("tzyxc", "1 1 yxc"), ("zcyx", "1 cyx")],
)
def test_axes_are_read_from_the_tags(tmp_path, keys, order):
    plane = shares()
    inner = [k for k in keys if k in "yxc"]
    values = plane.transpose(["yxc".index(k) for k in inner])
    values = values.reshape([1 if k in "tz" else values.shape[inner.index(k)] for k in keys])
    found = read_probabilities(export(tmp_path / "a_Probabilities.h5", values, keys))
    assert (found == plane).all()
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("shape", "keys"),
    [((5, 6), "yx"), ((5, 6, 4), "yxc"), ((5, 6, 7), "zyx"), ((1, 5, 6, 2), "zyxc"),
     ((1, 1, 5, 6, 2), "tzyxc")],
)  # fmt: skip
def test_without_tags_the_rule_of_ilastik_holds(shape, keys):
    assert guess_axes(shape) == keys


def test_a_wrong_guess_is_refused_and_can_be_told(tmp_path):
    plane = shares()
    path = export(tmp_path / "a_Probabilities.h5", plane.transpose(2, 0, 1))
    with pytest.raises(InputError, match=r"3 slices.*cyx"):
        read_probabilities(path)
    assert (read_probabilities(path, "cyx") == plane).all()


@pytest.mark.parametrize(
    ("dtype", "top", "drange"),
    [("u1", 255, None), ("u1", 255, (0, 255)), ("u2", 65535, None), ("u1", 100, (0, 100)),
     ("u1", 255, (0.0, 1.0)), ("f4", 255, (0, 255)), ("f8", 1, (0, 1))],
)  # fmt: skip
def test_whole_numbers_are_scaled_by_their_range(tmp_path, dtype, top, drange):
    plane = shares()
    stored = plane * top if dtype[0] == "f" else np.rint(plane * top)
    path = export(tmp_path / "a_Probabilities.h5", stored.astype(dtype), "yxc", drange)
    assert np.abs(read_probabilities(path) - plane).max() <= 0.5001 / top + 1e-6


def test_values_that_are_no_probabilities_are_refused(tmp_path):
    for wrong in (np.full((4, 5, 2), 3.0, "f4"), np.full((4, 5, 2), np.nan, "f4"), -shares()):
        path = export(tmp_path / "a_Probabilities.h5", wrong, "yxc")
        with pytest.raises(UnreadableFile, match="no probabilities"):
            read_probabilities(path)


@given(st.sampled_from(AXES), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_planes_survive_any_order_of_axes(axes, height, width, channels):
    plane = np.arange(height * width * channels).reshape(height, width, channels)
    assert (to_plane(from_plane(plane, axes), axes, "x") == plane).all()


@settings(max_examples=15)
@given(
    st.integers(0, 2**31), st.sampled_from(AXES), st.sampled_from(["float32", "uint8", "uint16"])
)
def test_own_probabilities_come_back(tmp_path_factory, seed, axes, stored):
    path = tmp_path_factory.mktemp("h5") / "a_Probabilities.h5"
    plane = shares(seed)
    write_probabilities(path, plane, stored=stored, axes=axes)
    step = {"float32": 0, "uint8": 1 / 255, "uint16": 1 / 65535}[stored]
    assert np.abs(read_probabilities(path) - plane).max() <= step / 2 + 1e-7 * bool(step)


def test_own_labels_come_back_exactly_and_h5py_finds_what_ilastik_writes(tmp_path):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, (33, 21)).astype(np.uint8)
    write_labels(tmp_path / "a_Labels.h5", labels)
    assert (read_labels(tmp_path / "a_Labels.h5") == labels).all()
    assert (read_segmentation(tmp_path / "a_Labels.h5") == labels).all()
    with h5py.File(tmp_path / "a_Labels.h5") as file:
        stored = file["exported_data"]
        assert stored.shape == (33, 21, 1)
        assert [a["key"] for a in json.loads(stored.attrs["axistags"])["axes"]] == list("yxc")
        assert [d.label for d in stored.dims] == list("yxc")
        assert stored.dtype == np.uint8
        assert stored.compression == "gzip"
    write_labels(tmp_path / "b.h5", labels)
    assert (tmp_path / "a_Labels.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_one_array_of_another_name_is_taken_several_are_not(tmp_path):
    labels = np.ones((4, 5), np.uint8)
    assert (read_labels(export(tmp_path / "a.h5", labels, "yx", name="volume")) == labels).all()
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["other"] = labels
    with pytest.raises(UnreadableFile, match="2 arrays"):
        read_labels(tmp_path / "a.h5")


def test_links_out_of_the_file_are_not_followed(tmp_path):
    export(tmp_path / "secret.h5", np.ones((4, 5), np.uint8), "yx")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "exported_data")
    with pytest.raises(UnreadableFile, match="0 arrays"):
        read_labels(tmp_path / "a.h5")


def test_several_images_channels_or_fractions_are_no_labels(tmp_path):
    with pytest.raises(InputError, match="4 times"):
        read_labels(export(tmp_path / "a.h5", np.ones((4, 5, 6), np.uint8), "tyx"))
    with pytest.raises(UnreadableFile, match="2 channels"):
        read_labels(export(tmp_path / "b.h5", np.ones((5, 6, 2), np.uint8), "yxc"))
    with pytest.raises(UnreadableFile, match="whole numbers"):
        read_labels(export(tmp_path / "c.h5", np.full((5, 6), 0.5, "f4"), "yx"))
    with pytest.raises(UnreadableFile, match="255"):
        read_labels(export(tmp_path / "d.h5", np.full((5, 6), 300, "u2"), "yx"))
    assert read_numbers(tmp_path / "d.h5").max() == 300


def test_a_small_file_that_declares_a_huge_picture_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("exported_data", (60_000, 60_000), "u1", chunks=(1000, 1000))
    with pytest.raises(UnreadableFile, match=r"limit|only"):
        read_labels(tmp_path / "a.h5")


def test_damage_is_one_line(tmp_path):
    write_labels(tmp_path / "a.h5", np.ones((40, 50), np.uint8))
    whole = (tmp_path / "a.h5").read_bytes()
    for part in (b"", b"no HDF5", whole[: len(whole) // 2], whole[:100]):
        (tmp_path / "b.h5").write_bytes(part)
        with pytest.raises(UnreadableFile) as error:
            read_labels(tmp_path / "b.h5")
        assert "\n" not in str(error.value)
    with pytest.raises(UnreadableFile, match="no such file"):
        read_labels(tmp_path / "missing.h5")


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("layerscope.io.ilastik.hdf5.find_spec", lambda name: None)
    for use in (
        lambda: read_labels(tmp_path / "a.h5"),
        lambda: write_labels(tmp_path / "a.h5", np.ones((2, 2), np.uint8)),
    ):
        with pytest.raises(MissingExtra, match=r"layerscope\[formats\]"):
            use()


def test_names_of_exports():
    assert kind_of("x/a b_Simple Segmentation.h5") == ("a b", "Simple Segmentation")
    assert kind_of("a_Simple_Segmentation.h5") == ("a", "Simple Segmentation")
    assert kind_of("a_Probabilities.H5") == ("a", "Probabilities")
    assert kind_of("a_Labels.h5") == ("a", "Labels")
    assert kind_of("Labels.h5") == ("Labels", "")
    assert json.loads(format_axistags("tyxc"))["axes"][0]["typeFlags"] == 8
