"""What every scan format must do: exact values, right way up, and a refusal of whatever is damaged.

Runs for each entry of `SCANNERS`, over files that tests/builders/scan_files.py makes.
"""

import json
import resource
import time

import numpy as np
import pytest
import scan_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerscope.core.micrograph import Modality
from layerscope.errors import UnreadableFile
from layerscope.io import FORMATS, decode
from layerscope.io.spm import SCANNERS, hdf5, list_channels, read_spm

BY_NAME = {f.name: f for f in FORMATS}
VARIANTS = {
    **{name: (name, build) for name, build in scan_files.BUILDERS.items()},
    "gwy of version 1": ("gwy", scan_files.gwy1),
    "nanoscope 32 bit": ("nanoscope", lambda f: scan_files.nanoscope(f, stored=4, declared=4)),
    "nanoscope 2 in 4": ("nanoscope", lambda f: scan_files.nanoscope(f, stored=4, declared=2)),
    "ibw big-endian": ("ibw", lambda f: scan_files.ibw(f, order=">")),
    "jpk reflected": ("jpk", lambda f: scan_files.jpk(f, reflect=1)),
    "park 16 bit": ("park", lambda f: scan_files.park(f, kind=0)),
    "park float": ("park", lambda f: scan_files.park(f, kind=2, unit="nm")),
    "nanonis down": ("nanonis", lambda f: scan_files.nanonis(f, way="down")),
    "mdt array": ("mdt", scan_files.mdt_mda),
    "mdt array of doubles": ("mdt", lambda f: scan_files.mdt_mda(f, number=-(8 + 52 * 256))),
    "wsxm short": ("wsxm", lambda f: scan_files.wsxm(f, kind="short")),
    "wsxm float": ("wsxm", lambda f: scan_files.wsxm(f, kind="float")),
    "matrix of a spreadsheet": ("matrix", lambda f: scan_files.matrix(f, separator=";")),
    "matrix with decimal commas": ("matrix", lambda f: scan_files.matrix(f, decimal=",")),
    "points": ("matrix", scan_files.xyz),
    "hdf5 compressed": ("hdf5", lambda f: scan_files.hdf5(f, compression="gzip", chunks=(5, 4))),
}
IN_PROCESS = [v for v in VARIANTS if VARIANTS[v][0] != "hdf5"]


@pytest.fixture(autouse=True)
def _h5py(request):
    if "hdf5" in str(getattr(request.node, "callspec", "")):
        pytest.importorskip("h5py")


def extension(variant):
    form = BY_NAME[VARIANTS[variant][0]]
    return (form.extensions or form.named)[0]


def expected(variant, field):
    lost = field.heights.min() if variant == "wsxm short" else 0.0
    return (field.heights - lost).astype(np.float32)


def test_every_scan_format_has_a_sample():
    assert set(SCANNERS) == {*scan_files.BUILDERS, "npy"}
    assert set(SCANNERS) <= set(BY_NAME)


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_units_and_rows(variant, tmp_path):
    field = scan_files.sample_field((13, 29))
    path = tmp_path / f"x{extension(variant)}"
    path.write_bytes(VARIANTS[variant][1](field))
    found = read_spm(path)
    # Nanonis keeps float32 metres, which have no exact image in nm; all others are exact.
    tolerance = 2e-7 if variant.startswith("nanonis") else 0
    np.testing.assert_allclose(found.data, expected(variant, field), rtol=tolerance, atol=0)
    assert (found.modality, found.value_unit, found.data.dtype) == (Modality.AFM, "nm", np.float32)
    assert found.pixel_size.y_nm == pytest.approx(field.pixel_nm[0], rel=1e-6)
    assert found.pixel_size.x_nm == pytest.approx(field.pixel_nm[1], rel=1e-6)
    assert found.excluded is None
    assert found.metadata["header"]
    assert json.loads(json.dumps(found.metadata))["channel"] == found.metadata["channel"]
    assert found.metadata["format"] == VARIANTS[variant][0]
    listed = list_channels(path)
    assert found.metadata["channels"] == tuple(str(c) for c in listed)
    assert all(c.shape == (13, 29) for c in listed)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.tuples(st.integers(3, 17), st.integers(9, 19)),
    seed=st.integers(0, 99),
    scale_nm=st.sampled_from([2.0**-k for k in range(8)]),
    offset_nm=st.sampled_from([0.0, -64.0, 1024.5]),
    pixel_nm=st.tuples(st.sampled_from([0.25, 7.5]), st.sampled_from([2.0, 39.0625])),
)
@pytest.mark.parametrize("variant", IN_PROCESS)
def test_any_shape_scale_and_offset(variant, shape, seed, scale_nm, offset_nm, pixel_nm):
    raw = np.random.default_rng(seed).integers(-999, 999, shape).astype(np.int16)
    field = scan_files.Field(raw, scale_nm, offset_nm, pixel_nm)
    found = decode(VARIANTS[variant][1](field), extension=extension(variant))
    wanted = expected(variant, field)
    np.testing.assert_allclose(found.data, wanted, rtol=3e-7, atol=1e-12)
    assert (found.pixel_size.y_nm, found.pixel_size.x_nm) == pytest.approx(pixel_nm, rel=1e-6)


def refusal(data, variant):
    """Refusal of damaged bytes, or None where the damage is no contradiction."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        decode(bytes(data), name="bad", extension=extension(variant))
        message = None
    except UnreadableFile as error:
        message = str(error)
        assert message.startswith("bad")
        assert "\n" not in message
        assert len(message) < 400
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    return message


@pytest.mark.parametrize("variant", IN_PROCESS)
def test_cut_anywhere_is_refused(variant):
    data = VARIANTS[variant][1](scan_files.sample_field((11, 17)))
    passed = [n for n in range(0, len(data), 47) if refusal(data[:n], variant) is None]
    # A text cut between rows, or in the last figures of a row, is a whole smaller text.
    if VARIANTS[variant][0] != "matrix":
        assert passed == []


@pytest.mark.parametrize("variant", IN_PROCESS)
def test_spoiled_bytes_raise_only_unreadable(variant):
    original = VARIANTS[variant][1](scan_files.sample_field((11, 17)))
    random = np.random.default_rng(1)
    for seed in range(200):
        data = bytearray(original)
        # Half of the damage goes to the headers, where the parsers are.
        reach = len(data) if seed % 2 else min(len(data), 1500)
        for at in random.integers(0, reach, int(random.integers(1, 5))):
            data[at] = random.integers(0, 256)
        refusal(data, variant)


def test_hdf5_that_kills_or_stalls_its_library_is_refused(monkeypatch):
    pytest.importorskip("h5py")
    monkeypatch.setattr(hdf5, "_TIMEOUT_S", 3.0)
    field = scan_files.sample_field((11, 17))
    original = scan_files.hdf5(field, compression="gzip", chunks=(5, 5))
    random = np.random.default_rng(0)
    for seed in range(349):
        data = bytearray(original)
        reach = len(data) if seed % 2 else 3000
        for at in random.integers(0, reach, int(random.integers(1, 5))):
            data[at] = random.integers(0, 256)
        if seed in (113, 348):  # the first stalls HDF5 1.14, the second kills it
            refusal(data, "hdf5")
    for kept in (0.1, 0.6, 0.99):
        assert refusal(original[: int(kept * len(original))], "hdf5")
