"""A film that can be played at any time, and a log that a power cut tears only at its end."""

import json
import struct

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from live_parts import scene

from layerscope.errors import CannotWrite, UnreadableFile
from layerscope.live.avi import AviWriter
from layerscope.live.recording import LOG, read_answers

JPEGS = [simplejpeg.encode_jpeg(scene(s, shape=(48, 64)), quality=90) for s in range(5)]


def played(path):
    """Pictures that OpenCV reads from a film."""
    film = cv2.VideoCapture(str(path))
    found = []
    while True:
        there, seen = film.read()
        if not there:
            return found
        found.append(seen[..., ::-1])


def film(path, entries, *, close=True):
    writer = AviWriter(path, (48, 64), 30.0)
    for entry in entries:
        writer.add(entry)
    writer.close() if close else writer.save()
    return writer


def test_what_was_written_is_played(tmp_path):
    film(tmp_path / "a.avi", JPEGS)
    seen = played(tmp_path / "a.avi")
    assert len(seen) == 5
    for number, picture in enumerate(seen):
        assert np.abs(picture.astype(int) - scene(number, shape=(48, 64))).mean() < 4
    assert cv2.VideoCapture(str(tmp_path / "a.avi")).get(cv2.CAP_PROP_FPS) == pytest.approx(30)


def test_sizes_in_the_file_are_true(tmp_path):
    film(tmp_path / "a.avi", JPEGS)
    data = (tmp_path / "a.avi").read_bytes()
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    movi = data.index(b"LIST", 12 + 8 + struct.unpack("<I", data[16:20])[0])
    end = movi + 8 + struct.unpack("<I", data[movi + 4 : movi + 8])[0]
    assert data[end : end + 4] == b"idx1"
    assert end + 8 + struct.unpack("<I", data[end + 4 : end + 8])[0] == len(data)
    for k in range(5):
        name, _, at, size = struct.unpack("<4sIII", data[end + 8 + 16 * k : end + 24 + 16 * k])
        chunk = movi + 8 + at
        assert data[chunk : chunk + 4] == name == b"00dc"
        assert data[chunk + 8 : chunk + 8 + size] == JPEGS[k]


def test_repeats_keep_the_time(tmp_path):
    writer = film(tmp_path / "a.avi", [JPEGS[0], b"", b"", JPEGS[1]])
    assert writer.ticks == 4
    film_ = cv2.VideoCapture(str(tmp_path / "a.avi"))
    assert film_.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    film_.read()
    there, second = film_.read()
    assert there
    assert np.abs(second[..., ::-1].astype(int) - scene(1, shape=(48, 64))).mean() < 4


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_a_power_cut_leaves_the_pictures_before_it(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    writer = film(folder / "a.avi", JPEGS, close=False)
    whole = (folder / "a.avi").read_bytes()
    writer.close()
    ends, at = [], whole.index(b"movi") + 4
    for jpeg in JPEGS:
        at += 8 + len(jpeg) + len(jpeg) % 2
        ends.append(at)
    keep = ends[0] + cut % (len(whole) - ends[0] + 1)
    (folder / "a.avi").write_bytes(whole[:keep])
    assert len(played(folder / "a.avi")) >= sum(end <= keep for end in ends)


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "a.avi").write_bytes(b"kept")
    with pytest.raises(CannotWrite):
        AviWriter(tmp_path / "a.avi", (48, 64), 30.0)
    assert (tmp_path / "a.avi").read_bytes() == b"kept"


LINES = [json.dumps({"frame": k}) for k in range(4)]


@given(st.integers(0, 3))
def test_a_torn_last_line_is_left_out(tmp_path_factory, lost):
    folder = tmp_path_factory.mktemp("log")
    text = "\n".join(LINES) + "\n"
    (folder / LOG).write_text(text[: len(text) - lost])
    whole = 4 if lost <= 1 else 3
    assert [a["frame"] for a in read_answers(folder)] == list(range(whole))


def test_a_damaged_line_is_told(tmp_path):
    (tmp_path / LOG).write_text("\n".join([LINES[0], "{torn", LINES[2]]) + "\n")
    with pytest.raises(UnreadableFile, match="line 2 is damaged"):
        list(read_answers(tmp_path))


def test_no_log(tmp_path):
    with pytest.raises(UnreadableFile):
        list(read_answers(tmp_path))
