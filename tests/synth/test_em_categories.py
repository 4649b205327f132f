"""Synthetic answers follow from what was drawn, and from what a magnification shows."""

from dataclasses import replace

import numpy as np
import pytest

from layerscope.core.results import CropMasks
from layerscope.errors import InputError
from layerscope.io import read
from layerscope.io.label_sheets import read_label_sheet
from layerscope.io.questionnaires import read_questionnaire
from layerscope.ops.magnification import magnification_in
from layerscope.synth.em import synth_em
from layerscope.synth.em_answers import count_of, morphology_of, touching
from layerscope.synth.em_categories import _apart, categorised_set, write_categorised
from layerscope.synth.em_optics import Microscope


@pytest.fixture(scope="module")
def pictures():
    return list(categorised_set(4, 20, shape=(80, 80)))


def test_the_same_seed_gives_the_same_bytes(pictures):
    again = list(categorised_set(4, 3, shape=(80, 80)))
    for one, other in zip(again, pictures, strict=False):
        assert one.answers == other.answers
        np.testing.assert_array_equal(one.micrograph.data, other.micrograph.data)
    with pytest.raises(InputError, match="1 or more"):
        categorised_set(0, 0)


def test_rare_shapes_take_the_place_of_usual_frames_and_move_no_other(pictures):
    mixed = list(categorised_set(4, 8, shape=(80, 80), rare_share=0.5))
    moved = [i for i, (a, b) in enumerate(zip(mixed, pictures, strict=False))
             if (a.micrograph.data != b.micrograph.data).any()]  # fmt: skip
    assert 1 <= len(moved) <= 7
    told = {mixed[i].answers["morphology"] for i in moved}
    assert told <= {"combination", "disorganised graphene", ""}
    assert told != {""}
    with pytest.raises(InputError, match="0 to 1"):
        categorised_set(0, 1, rare_share=2)


def test_flakes_moved_together_touch_and_are_all_there():
    heap = synth_em(
        3, shape=(96, 96), pixel_size_nm=30.0, n_flakes=12, support="film", together=0.9
    )
    loose = synth_em(3, shape=(96, 96), pixel_size_nm=30.0, n_flakes=12, support="film")
    assert len(touching(heap.flakes)) < len(touching(loose.flakes))
    assert 1 < len(heap.flakes) <= len(loose.flakes)
    assert heap.flakes.boxes.min() > 0
    assert heap.flakes.boxes.max() < 96
    with pytest.raises(InputError, match="together"):
        synth_em(3, together=1.5)


def test_what_a_magnification_cannot_show_is_na(pictures):
    asked = {q.name: q for q in read_questionnaire("graphene-tem").questions}
    seen = set()
    for picture in pictures:
        times = magnification_in(picture.micrograph.name)
        assert set(picture.answers) == set(asked)
        for name, answer in picture.answers.items():
            assert answer == "" or answer in asked[name].answers
            limits = asked[name].magnification
            if limits and not limits[0] <= times <= limits[1]:
                assert answer == "NA"
            seen.add((name, answer))
    assert {("image type", "DP"), ("usability", "no"), ("particle count", "one")} <= seen


def test_an_unusable_image_answers_nothing_else(pictures):
    for picture in pictures:
        if picture.answers["usability"] == "no":
            assert picture.answers["morphology"] == picture.answers["particle count"] == "NA"


def test_a_written_folder_is_labelled_data(pictures, tmp_path):
    assert write_categorised(pictures[:5], tmp_path) == 5
    sheet = read_label_sheet(tmp_path / "labels.csv", read_questionnaire("graphene-tem"))
    assert len(sheet.answers) == 5
    assert not any(column.unmatched for column in sheet.columns)
    for picture in pictures[:5]:
        path = tmp_path / "images" / f"{picture.micrograph.name}.png"
        np.testing.assert_array_equal(read(path).data.squeeze(), picture.micrograph.data)


def discs(*places, shape=(80, 80), radius=5):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    masks = [np.hypot(rows - y, columns - x) <= radius for y, x in places]
    return CropMasks.from_dense(masks, shape)


def test_particles_are_counted_where_a_person_could_count_them():
    grid = [(y, x) for y in (10, 30, 50, 70) for x in (10, 40, 70)]
    assert count_of(CropMasks.empty((80, 80))) == "none"
    assert count_of(discs((40, 40))) == "one"
    assert count_of(discs((20, 20), (60, 60))) == "few (2-10)"
    assert count_of(discs(*grid[:10])) == "few (2-10)"
    assert count_of(discs(*grid[:11])) == "many (>10)"
    assert count_of(discs((40, 40), (0, 20))) == "part or more than one fragment"
    assert count_of(discs((0, 20), *grid)) == "many (>10)"


def test_particles_that_nobody_could_count_have_no_answer():
    assert count_of(discs((40, 40), (40, 47))) == ""  # one, or two that overlap
    assert count_of(discs((40, 40), (40, 52))) == ""  # a pixel apart
    assert count_of(discs((40, 40), (40, 56))) == "few (2-10)"
    assert count_of(discs((7, 40))) == ""  # two pixels from the frame
    assert count_of(discs((40, 40), radius=1)) == ""  # a speck
    assert count_of(discs((20, 20), (20, 26), (60, 60))) == "few (2-10)"  # two or three


@pytest.mark.parametrize(
    ("layers", "contrast", "answer"),
    [
        (18, 0.09, "thick, flat, rigid (>10 layers)"),
        (6, 0.03, "thin, flat or wavy, few kinks (<10 layers)"),
        (18, 0.07, ""),
        (6, 0.06, ""),
    ],
)
def test_thickness_is_told_where_it_can_be_seen(layers, contrast, answer):
    """A thin flake that Bragg reflection darkens looks thick: nobody could label it."""
    drawn = synth_em(1, shape=(96, 96), pixel_size_nm=20.0, n_flakes=4, crumpled_share=0.0)
    ones = np.ones(len(drawn.flakes), int)
    told = replace(drawn, n_layers=layers * ones, contrast=contrast * ones)
    assert drawn.flakes.area_px.max() > 0.03 * 96**2
    assert morphology_of(told) == answer
    folded = replace(told, crumpled=ones > 0, folds=np.ones_like(drawn.folds))
    assert morphology_of(folded) == "thin, crumpled, many folds"
    assert morphology_of(replace(folded, folds=np.zeros_like(drawn.folds))) == ""


def test_a_crumpled_sheet_whose_folds_nobody_sees_has_no_answer():
    drawn = synth_em(
        1, shape=(128, 128), pixel_size_nm=10.0, n_flakes=2, layers=(4, 7), crumpled_share=1.0,
        contamination=0.0, microscope=Microscope(dose_e_px=8000.0, mean_free_path_nm=70.0),
    )  # fmt: skip
    assert morphology_of(drawn) == "thin, crumpled, many folds"
    noise = np.random.default_rng(0).normal(150, 2, drawn.micrograph.data.shape)
    blank = replace(drawn.micrograph, data=noise.astype(np.uint8))
    assert morphology_of(replace(drawn, micrograph=blank)) == ""


def test_nanoparticles_do_not_hide_each_other():
    rng = np.random.default_rng(0)
    among = np.argwhere(np.ones((50, 50)))
    places = _apart(rng, among, 60, 3.0)
    away = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    assert 10 < len(places) < 60  # as many as there is room for
    assert away[~np.eye(len(places), dtype=bool)].min() > 2 * 3.0
    assert len(_apart(rng, among[:1], 5, 3.0)) == 1
