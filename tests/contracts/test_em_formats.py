"""What every electron microscope format must do: exact counts, right way up, calibrated; refusals.

Runs for each entry of `RECORDERS`, over files that tests/builders/em_files.py makes.
"""

import json
import resource
import struct
import time

import em_files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerscope.core.micrograph import Modality
from layerscope.errors import InputError, UnknownName, UnreadableFile
from layerscope.io import FORMATS, decode
from layerscope.io.em import RECORDERS, emd, emd_child, list_images, read_em

BY_NAME = {f.name: f for f in FORMATS}
VARIANTS = {
    **{name: (name, build) for name, build in em_files.BUILDERS.items()},
    "dm4": ("dm", lambda s: em_files.dm(s, version=4)),
    "dm3 big-endian": ("dm", lambda s: em_files.dm(s, order=">")),
    "dm4 in µm": ("dm", lambda s: em_files.dm(_micrometres(s), version=4, units=("µm", "µm"))),
    "mrc big-endian": ("mrc", lambda s: em_files.mrc(s, order=">")),
    "mrc of FEI": (
        "mrc",
        lambda s: em_files.mrc(s, extension=em_files.fei_record(s), kind=b"FEI1", cell=False),
    ),
    "ser of version 3": ("ser", lambda s: em_files.ser(s, version=0x210)),
    "ncem": ("emd", em_files.ncem),
    "ncem of HyperSpy": ("emd", em_files.hyperspy),
}
IN_PROCESS = [v for v in VARIANTS if VARIANTS[v][0] != "emd"]
SAYS_OPTICS = {v for v in VARIANTS if v[:3] not in ("ser", "mrc")} | {"mrc of FEI"}
SAYS_OPTICS -= {"ncem of HyperSpy"}


def _micrometres(shot):
    return em_files.Shot(shot.counts, tuple(p / 1e3 for p in shot.pixel_nm))


@pytest.fixture
def _here(monkeypatch):
    """HDF5 in this process: a child for each question costs 0.4 s of CPU."""
    pytest.importorskip("h5py")
    monkeypatch.setattr(emd, "ask_child", lambda _, data, asked: emd_child.answer(asked, data))


@pytest.fixture(autouse=True)
def _h5py(request):
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    name = VARIANTS.get(parameters.get("variant"), ("",))[0]
    if "emd" in (name, NO_IMAGES.get(parameters.get("case"), ("",))[0]):
        request.getfixturevalue("_here")


def extension(variant):
    return BY_NAME[VARIANTS[variant][0]].extensions[0]


def test_every_format_has_a_sample():
    assert set(RECORDERS) == set(em_files.BUILDERS)
    assert set(RECORDERS) <= set(BY_NAME)


@pytest.mark.parametrize("variant", VARIANTS)
def test_counts_scale_and_rows(variant, tmp_path):
    shot = em_files.sample_shot((13, 29))
    path = tmp_path / f"x{extension(variant)}"
    path.write_bytes(VARIANTS[variant][1](shot))
    found = read_em(path)
    assert found.data.dtype == np.uint16
    np.testing.assert_array_equal(found.data, shot.counts)
    assert (found.modality, found.value_unit) == (Modality.TEM, "intensity")
    assert (found.pixel_size.y_nm, found.pixel_size.x_nm) == pytest.approx((2.5, 4.0), rel=1e-6)
    assert found.pixel_size.source.startswith("metadata: ")
    assert found.metadata["format"] == VARIANTS[variant][0]
    if variant in SAYS_OPTICS:
        assert found.metadata["magnification"] == pytest.approx(50_000)
        assert found.metadata["voltage_kv"] == pytest.approx(200)
    assert json.loads(json.dumps(found.metadata))["header"]
    assert found.metadata["images"] == tuple(str(i) for i in list_images(path))


@pytest.mark.parametrize("variant", VARIANTS)
def test_stack_gives_the_frame_asked_for(variant, tmp_path):
    shot = em_files.sample_shot((7, 11), frames=4)
    path = tmp_path / f"x{extension(variant)}"
    path.write_bytes(VARIANTS[variant][1](shot))
    for frame in (0, 3):
        found = read_em(path, frame=frame)
        np.testing.assert_array_equal(found.data, shot.counts[frame])
        assert any(f"only frame {frame}" in note for note in found.metadata["notes"])
    assert list_images(path)[0].n_frames == 4
    with pytest.raises(InputError, match="frame 4 of 4"):
        read_em(path, frame=4)
    with pytest.raises(UnknownName, match="nothing"):
        read_em(path, image="nothing")


_TYPES = {"dm": ("u1", "u2", "u4", "i2", "i4", "f4"), "mrc": ("i1", "i2", "u2", "f4"),
          "ser": ("u1", "u2", "u4", "i2", "i4", "f4")}  # fmt: skip


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.tuples(st.integers(2, 17), st.integers(2, 19)),
    seed=st.integers(0, 99),
    which=st.integers(0, 5),
    pixel_nm=st.tuples(st.sampled_from([0.25, 7.5]), st.sampled_from([0.5, 3.9375])),
)
@pytest.mark.parametrize("variant", IN_PROCESS)
def test_any_shape_type_and_scale(variant, shape, seed, which, pixel_nm):
    types = _TYPES[VARIANTS[variant][0]]
    kind = np.dtype(types[which % len(types)])
    info = np.iinfo(kind) if kind.kind in "iu" else None
    low, high = (max(info.min, -9999), min(info.max, 99_999)) if info else (-999, 9999)
    counts = np.random.default_rng(seed).integers(low, high, shape).astype(kind)
    shot = em_files.Shot(counts, pixel_nm)
    found = decode(VARIANTS[variant][1](shot), extension=extension(variant))
    np.testing.assert_array_equal(found.data.astype(float), counts.astype(float))
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
    data = VARIANTS[variant][1](em_files.sample_shot((11, 17)))
    assert [n for n in range(0, len(data), 47) if refusal(data[:n], variant) is None] == []


@pytest.mark.parametrize("variant", IN_PROCESS)
def test_spoiled_bytes_raise_only_unreadable(variant):
    original = VARIANTS[variant][1](em_files.sample_shot((11, 17)))
    random = np.random.default_rng(1)
    for seed in range(200):
        data = bytearray(original)
        reach = len(data) if seed % 2 else min(len(data), 1500)
        for at in random.integers(0, reach, int(random.integers(1, 5))):
            data[at] = random.integers(0, 256)
        refusal(data, variant)


@pytest.mark.usefixtures("_here")
def test_a_camera_of_velox_scans_nothing():
    """Its metadata hold the scan of the last scanned image too."""
    original = em_files.velox(em_files.sample_shot((11, 17)), scan={"width": "9", "height": "9"})
    told = decode(original, extension=".emd").metadata
    assert (told["mode"], told["magnification"]) == ("TEM", 50_000)


def test_emd_in_a_process_of_its_own():
    pytest.importorskip("h5py")
    shot = em_files.sample_shot((11, 17))
    original = em_files.velox(shot)
    np.testing.assert_array_equal(decode(original, extension=".emd").data, shot.counts)
    assert refusal(original[: int(0.9 * len(original))], "emd")


NO_IMAGES = {
    "a diffraction pattern of DigitalMicrograph": (
        "dm", lambda s: em_files.dm(s, units=("1/nm", "1/nm")), r"diffraction pattern \(1/nm"),
    "the mode of DigitalMicrograph": (
        "dm", lambda s: em_files.dm(s, units=("", ""), info={"Imaging Mode": "DIFFRACTION"}),
        "diffraction pattern"),
    "a spectrum image": (
        "dm", lambda s: em_files.dm(s, extra=((8, 0.5, "eV"),), meta={"Signal": "EELS"}),
        "an EELS spectrum image"),
    "a spectrum by its format": (
        "dm", lambda s: em_files.dm(s, meta={"Format": "Spectrum image", "Signal": "X-ray"}),
        "an X-ray spectrum image"),
    "patterns over positions": ("dm", lambda s: em_files.dm(s, extra=((2, 1.0, "nm"),) * 2),
                                "data of 4 dimensions"),
    "a Fourier transform": ("dm", lambda s: em_files.dm(s, kind=3), "Fourier transform"),
    "the projection of MRC": (
        "mrc",
        lambda s: em_files.mrc(s, extension=em_files.fei_record(s, projection=1), kind=b"FEI1"),
        "diffraction pattern"),
    "a pattern of TIA": ("ser", lambda s: em_files.ser(s, step=2.5e7), "diffraction pattern"),
    "a spectrum of TIA": ("ser", lambda s: em_files.ser(s, kind=0x4120), "a spectrum"),
    "a pattern of Velox": ("emd", lambda s: em_files.velox(s, unit="1/m"), "diffraction pattern"),
    "the projector of Velox": (
        "emd", lambda s: em_files.velox(s, optics={"ProjectorMode": "1"}), "diffraction pattern"),
    "a spectrum of Velox": (
        "emd", lambda s: em_files.velox(s, kind="SpectrumImage"), "a spectrum image"),
    "a pattern of NCEM": (
        "emd", lambda s: em_files.ncem(s, units="[1/n_m]"), "diffraction pattern"),
    "a spectrum of NCEM": ("emd", lambda s: em_files.ncem(s, units="[eV]"), "a spectrum"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_IMAGES)
def test_what_is_no_image_is_named(case):
    name, build, what = NO_IMAGES[case]
    with pytest.raises(UnreadableFile, match=f"it holds .*{what}.*no image") as caught:
        decode(build(em_files.sample_shot((13, 29))), extension=BY_NAME[name].extensions[0])
    assert "\n" not in str(caught.value)


def test_a_scanning_microscope_has_a_pattern_below_it_and_still_an_image():
    shot = em_files.sample_shot((5, 7))
    info = {"Imaging Mode": "DIFFRACTION", "Illumination Mode": "STEM NANOPROBE"}
    assert decode(em_files.dm(shot, info=info)).metadata["mode"] == "STEM NANOPROBE"
    record = em_files.fei_record(shot, projection=1, instrument=2)
    stem = decode(em_files.mrc(shot, extension=record, kind=b"FEI1"), extension=".mrc")
    assert stem.metadata["mode"] == "STEM"


def test_hostile_sizes_are_refused_at_once():
    shot = em_files.sample_shot((5, 7))
    huge = bytearray(em_files.mrc(shot))
    struct.pack_into("<3i", huge, 0, 2**31 - 1, 2**31 - 1, 1)
    assert "over the limit" in refusal(huge, "mrc")
    struct.pack_into("<3i", huge, 0, 7, 5, 2**31 - 1)
    assert "truncated" in refusal(huge, "mrc")
    many = bytearray(em_files.ser(shot))
    struct.pack_into("<ii", many, 14, 2**31 - 1, 2**31 - 1)
    assert refusal(many, "ser")
    grown = em_files.dm(shot).replace(struct.pack("<I", 7), struct.pack("<I", 2**31 - 1))
    assert refusal(grown, "dm")


def test_tags_that_nest_without_end_are_refused():
    nested = b"".join(b"\x14\0\0\1\0" + struct.pack(">I", 1) for _ in range(200_000))
    body = b"\1\0" + struct.pack(">I", 1) + nested
    data = struct.pack(">III", 3, len(body) - 8, 1) + body
    assert "nested too deeply" in refusal(data, "dm")


def test_values_that_are_no_numbers_are_excluded():
    counts = np.arange(35, dtype=np.float32).reshape(5, 7) + 3
    counts[2, 3], counts[0, 0] = np.nan, np.inf
    found = decode(em_files.mrc(em_files.Shot(counts)), extension=".mrc")
    assert found.excluded.sum() == 2
    assert found.excluded[2, 3]
    assert found.excluded[0, 0]
    assert found.data[2, 3] == found.data[0, 0] == 4
    assert np.isfinite(found.data).all()


def test_large_whole_numbers_say_that_they_are_rounded():
    counts = np.full((5, 7), 2**24 + 1, np.uint32)
    found = decode(em_files.dm(em_files.Shot(counts)))
    assert any("24 bits" in note for note in found.metadata["notes"])
