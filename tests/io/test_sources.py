"""Names of images: unique, readable, and the same in any order."""

import itertools

import numpy as np
import pytest

from layerscope.core.micrograph import Micrograph
from layerscope.io.sources import name_sources


@pytest.fixture
def folder(tmp_path):
    """Two folders with images of the same names, and things that are no images."""
    for path in ("a/x.jpg", "a/y.png", "b/x.jpg", "b/x.png", "b/notes.txt", "b/.hidden.jpg"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "b" / "deeper").mkdir()
    (tmp_path / "b" / "deeper" / "z.jpg").touch()
    return tmp_path


def names(*images):
    return {s.path: s.name for s in name_sources(images)}


def test_a_folder_stands_for_the_images_in_it(folder):
    found = names(folder / "b")
    assert set(found) == {str(folder / "b" / n) for n in ("x.jpg", "x.png")}
    assert name_sources([folder / "b" / "deeper"])[0].name == "z"


def test_stems_where_they_are_unique(folder):
    assert sorted(names(folder / "a").values()) == ["x", "y"]


def test_equal_stems_are_told_apart_by_suffix_then_by_folder(folder):
    assert sorted(names(folder / "b").values()) == ["x_jpg", "x_png"]
    both = names(folder / "a", folder / "b")
    assert both[str(folder / "a/x.jpg")] == "a_x"
    assert both[str(folder / "b/x.png")] == "x_png"
    assert both[str(folder / "a/y.png")] == "y"
    assert len(set(both.values())) == 4


def test_names_that_differ_by_case_only_do_not_overwrite_each_other(tmp_path):
    for path in ("A/Scan.jpg", "B/scan.jpg"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch()
    found = [n.casefold() for n in names(tmp_path / "A", tmp_path / "B").values()]
    assert len(set(found)) == 2


def test_order_of_the_input_changes_nothing(folder):
    paths = [folder / "a", folder / "b" / "x.jpg", folder / "b" / "x.png"]
    expected = name_sources(paths)
    for order in itertools.permutations(paths):
        assert name_sources(order) == expected
    assert expected == sorted(expected, key=lambda s: s.name)


def test_repeated_files_count_once(folder):
    path = folder / "a" / "x.jpg"
    assert len(name_sources([path, str(path), folder / "a"])) == 2


def test_patterns_that_the_shell_left(folder):
    assert list(names(folder / "b" / "*.jpg").values()) == ["x"]  # as in a shell: none hidden


def test_a_pattern_without_match_stays_for_the_error_message(folder):
    (source,) = name_sources([folder / "*.czi"])
    assert source.path == str(folder / "*.czi")


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    path = tmp_path / "flake[1].jpg"
    path.touch()
    assert names(path) == {str(path): "flake[1]"}


def test_missing_files_are_kept_for_the_error_message(tmp_path):
    assert names(tmp_path / "none.jpg") == {str(tmp_path / "none.jpg"): "none"}


def test_an_empty_folder_and_nothing(tmp_path):
    assert name_sources([tmp_path]) == []
    assert name_sources([]) == []


def test_images_in_memory(folder):
    image = Micrograph(np.zeros((4, 4, 3), np.uint8), name="x")
    sources = name_sources([image, folder / "a", image])
    assert [s.name for s in sources] == ["x", "x-2", "x-3", "y"]
    assert [s.micrograph is image for s in sources] == [False, True, True, False]
    assert sources[1].path == ""


def test_names_that_no_file_could_have_are_shortened(tmp_path):
    """What is written for an image ends in more than its name, and 255 bytes are the limit."""
    names = ["n" * 251, "n" * 250 + "m", "µ" * 120, "short"]
    for name in names:
        (tmp_path / f"{name}.png").touch()
    found = [s.name for s in name_sources([tmp_path])]
    assert len(set(found)) == 4
    assert "short" in found
    assert all(len(f"{name}_Probabilities.h5.tmp".encode()) < 255 for name in found)
    assert found == [s.name for s in name_sources(sorted(tmp_path.iterdir(), reverse=True))]
