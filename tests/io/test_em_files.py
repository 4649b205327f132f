"""Tags of TIFF makers, companions, and real electron microscope files."""

import contextlib
import os
from pathlib import Path

import em_files
import numpy as np
import pytest
import tifffile

from layerscope.core.micrograph import Modality
from layerscope.errors import UnreadableFile
from layerscope.io import decode, read
from layerscope.io.em import list_images, read_em

REAL = Path(__file__).parents[2].parent / "shared/data/tem/raw"
SHOT = em_files.sample_shot((23, 37))
SEM_TIFFS = {
    **{n: b for n, b in em_files.TIFFS.items() if n.startswith("fei")},
    "zeiss": em_files.zeiss_tiff,
    "zeiss, screen": lambda s: em_files.zeiss_tiff(s, named=False),
}
TIFFS = {**em_files.TIFFS, **SEM_TIFFS}


@pytest.mark.parametrize("maker", TIFFS)
def test_tags_of_makers(maker):
    found = decode(TIFFS[maker](SHOT), name="x", extension=".tif")
    square = maker.startswith("zeiss")
    np.testing.assert_array_equal(found.data, SHOT.counts)
    wanted = (4.0 if square else 2.5, 4.0)
    assert (found.pixel_size.y_nm, found.pixel_size.x_nm) == pytest.approx(wanted, rel=1e-5)
    assert found.modality == (Modality.SEM if maker in SEM_TIFFS else Modality.TEM)
    assert maker == "digitalmicrograph" or found.metadata["magnification"] == 50_000
    if maker not in ("olympus-sis", "digitalmicrograph"):
        assert found.metadata["voltage_kv"] == 200


@pytest.mark.parametrize("maker", TIFFS)
def test_spoiled_tags_are_read_or_refused(maker):
    original, random = TIFFS[maker](SHOT), np.random.default_rng(2)
    for _ in range(60):
        data = bytearray(original)
        for at in random.integers(8, len(data), 6):
            data[at] = random.integers(0, 256)
        with contextlib.suppress(UnreadableFile):
            assert decode(bytes(data), name="bad", extension=".tif").data.size


def test_patterns_in_tiffs_are_no_images():
    with pytest.raises(UnreadableFile, match="diffraction pattern"):
        decode(em_files.gatan_tiff(SHOT, unit="1/nm"), extension=".tif")
    with pytest.raises(UnreadableFile, match="diffraction pattern"):
        decode(em_files.jeol_tiff(SHOT, mode="DIFF"), extension=".tif")


def test_an_image_resized_since_it_was_taken_loses_its_scale():
    found = decode(em_files.fei_tiff(SHOT, columns=74), extension=".tif")
    assert found.pixel_size is None
    assert any("of 74 columns, the image has 37" in note for note in found.metadata["notes"])


def test_the_same_program_on_a_light_microscope_stays_optical():
    light = em_files.Shot(SHOT.counts, (345.0, 345.0), magnification=20.0)
    found = decode(em_files.sis_tiff(light), extension=".tif")
    assert found.modality == Modality.OPTICAL
    assert found.pixel_size.x_nm == pytest.approx(345)


def written(folder, name, text):
    tifffile.imwrite(folder / f"{name}.tif", SHOT.counts)
    (folder / f"{name}.txt").write_bytes(text)
    return folder / f"{name}.tif"


def jeol_text(width=37):
    return (
        f"$CM_FORMAT 2.0\r\n$CM_MAG 50000\r\n$CM_ACCEL_VOLT 5.0\r\n$CM_SIGNAL SEI\r\n"
        f"$CM_FULL_SIZE {width} 23\r\n$$SM_MICRON_BAR 20\r\n$$SM_MICRON_MARKER 100nm\r\n"
    ).encode()


def test_text_of_jeol(tmp_path):
    found = read(written(tmp_path, "a", jeol_text()))
    assert found.pixel_size.x_nm == found.pixel_size.y_nm == 5.0
    assert found.modality == Modality.SEM
    assert found.metadata["magnification"] == 50_000
    assert found.metadata["voltage_kv"] == 5
    assert found.metadata["companion"]["name"] == "a.txt"
    assert len(found.metadata["companion"]["sha256"]) == 64
    resized = read(written(tmp_path, "b", jeol_text(width=74)))
    assert resized.pixel_size is None
    assert any("of 74 columns" in note for note in resized.metadata["notes"])


def test_text_of_hitachi(tmp_path):
    text = "[SemImageFile]\r\nMagnification=30000\r\nAcceleratingVoltage=10000 Volt\r\n"
    text += "DataSize=37x23\r\nPixelSize=3.5\r\n"
    for name, raw in (("a", text.encode()), ("b", text.encode("utf-16"))):
        found = read(written(tmp_path, name, raw))
        assert found.pixel_size.x_nm == 3.5
        assert (found.metadata["magnification"], found.metadata["voltage_kv"]) == (30_000, 10)


@pytest.mark.parametrize(
    "text", [b"notes of the day", b"", b"$CM_OTHER 3\n", b"[Other]\n", b"\xff"]
)
def test_other_texts_change_nothing(tmp_path, text):
    found = read(written(tmp_path, "a", text))
    assert found.pixel_size is None
    assert "companion" not in found.metadata


def test_hostile_companions_change_nothing_but_a_note(tmp_path):
    path = written(tmp_path, "a", b"$CM_MAG " + b"9" * 900_000)
    assert "magnification" not in read(path).metadata
    (tmp_path / "a.txt").unlink()
    os.mkfifo(tmp_path / "a.txt")  # opening it would wait for ever
    assert "companion" not in read(path).metadata
    (tmp_path / "s_1.ser").write_bytes(em_files.ser(SHOT))
    (tmp_path / "s.emi").write_bytes(b'<ObjectInfo><!DOCTYPE a [<!ENTITY b "c">]>&b;</ObjectInfo>')
    notes = read(tmp_path / "s_1.ser").metadata["notes"]
    assert any("declares a document type" in note for note in notes)


def emi(mode):
    rows = {"Magnification": ("40000", "x"), "High tension": ("200", "kV"), "Mode": (mode, "")}
    said = "".join(
        f"<Data><Label>{k}</Label><Value>{v}</Value><Unit>{u}</Unit></Data>"
        for k, (v, u) in rows.items()
    )
    return (
        b"\0binary\1<ObjectInfo><ExperimentalDescription><Root>"
        + said.encode()
        + (b"</Root></ExperimentalDescription></ObjectInfo>\0more")
    )


def test_settings_of_tia(tmp_path):
    (tmp_path / "scan_1.ser").write_bytes(em_files.ser(SHOT))
    (tmp_path / "scan.emi").write_bytes(emi("TEM uP SA Zoom Image"))
    found = read(tmp_path / "scan_1.ser")
    assert (found.metadata["magnification"], found.metadata["voltage_kv"]) == (40_000, 200)
    assert found.metadata["mode"] == "TEM"
    assert found.pixel_size.x_nm == pytest.approx(4)
    (tmp_path / "scan.emi").write_bytes(emi("TEM uP SA Zoom Diffraction"))
    with pytest.raises(UnreadableFile, match=r"diffraction pattern, as scan\.emi says"):
        read_em(tmp_path / "scan_1.ser")
    (tmp_path / "scan.emi").write_bytes(emi("STEM nP SA Zoom Diffraction"))
    assert read(tmp_path / "scan_1.ser").metadata["mode"] == "STEM"


# What is known of the real files: pixel in nm, or what they are instead.
KNOWN = {
    "AL-DFoffset0.00.dm3": "an EELS spectrum",
    "DMReader_EELS_STO.dm3": "an EELS spectrum",
    "DMReader_EELS_STO.dm4": "an EELS spectrum",
    "EELS_STO.dm3": "an EELS spectrum",
    "DMReader_SpectrumImage_SI-EELS.dm3": "an EELS spectrum image",
    "EDS-STO.emd": "a stream of spectra, a spectrum",
    "DMReader_Image_SI-Survey.dm3": ((512, 512), None),
    "DMReader_SI-HAADF.dm3": ((1568, 192), None),
    "EMDReader_Image_FEI.emd": ((512, 512), 5.3024148),
    "EMDReader_SpectrumImage_Si.emd": ((16, 16), 5.3024148),
}


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no {REAL}")
def test_real_files_are_read_or_named():
    assert {p.name for p in REAL.iterdir() if p.suffix != ".rst"} == set(KNOWN)
    for name, known in KNOWN.items():
        if isinstance(known, str):
            with pytest.raises(UnreadableFile, match=rf"{known}, no image|no image but {known}"):
                read(REAL / name)
            continue
        found = read(REAL / name)
        shape, side_nm = known
        assert (found.shape, found.metadata["mode"]) == (shape, "STEM")
        assert (found.pixel_size is None) == (side_nm is None)
        if side_nm:
            assert found.pixel_size.x_nm == pytest.approx(side_nm, rel=1e-6)
            assert found.metadata["magnification"] == 40_000
            assert found.metadata["voltage_kv"] == 200


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no {REAL}")
def test_real_values_are_those_of_h5py():
    h5py = pytest.importorskip("h5py")
    path = REAL / "EMDReader_SpectrumImage_Si.emd"
    with h5py.File(path) as file:
        stored = file["Data/Image/9f4e9989c30045d490f40dcf5ca5cd9d/Data"][..., 3]
    np.testing.assert_array_equal(read_em(path, frame=3).data, stored)
    assert list_images(path)[0].refusal == ""


def test_mrc_as_mrcfile_writes_it(tmp_path):
    mrcfile = pytest.importorskip("mrcfile")
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(SHOT.counts)
        file.voxel_size = 12.5
    found = read(tmp_path / "a.mrc")
    np.testing.assert_array_equal(found.data, SHOT.counts)
    assert found.pixel_size.x_nm == pytest.approx(1.25)
