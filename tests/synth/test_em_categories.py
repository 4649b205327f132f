"""Synthetic answers follow from what was drawn, and from what a magnification shows."""

from dataclasses import replace

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.io import read
from layerscope.io.label_sheets import read_label_sheet
from layerscope.io.questionnaires import read_questionnaire
from layerscope.ops.magnification import magnification_in
from layerscope.synth.em import synth_em
from layerscope.synth.em_categories import categorised_set, morphology_of, write_categorised


@pytest.fixture(scope="module")
def pictures():
    return list(categorised_set(4, 40, shape=(80, 80)))


def test_the_same_seed_gives_the_same_bytes(pictures):
    again = list(categorised_set(4, 3, shape=(80, 80)))
    for one, other in zip(again, pictures, strict=False):
        assert one.answers == other.answers
        np.testing.assert_array_equal(one.micrograph.data, other.micrograph.data)
    with pytest.raises(InputError, match="1 or more"):
        categorised_set(0, 0)


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


@pytest.mark.parametrize(
    ("layers", "contrast", "answer"),
    [
        (18, 0.09, "thick, flat, rigid (>10 layers)"),
        (6, 0.03, "thin, flat or wavy, few kinks (<10 layers)"),
        (18, 0.05, ""),
        (6, 0.09, ""),
    ],
)
def test_thickness_is_told_where_it_can_be_seen(layers, contrast, answer):
    """A thin flake that Bragg reflection darkens looks thick: nobody could label it."""
    drawn = synth_em(1, shape=(96, 96), pixel_size_nm=20.0, n_flakes=4, crumpled_share=0.0)
    ones = np.ones(len(drawn.flakes), int)
    told = replace(drawn, n_layers=layers * ones, contrast=contrast * ones)
    assert drawn.flakes.area_px.max() > 0.03 * 96**2
    assert morphology_of(told) == answer
    assert morphology_of(replace(told, crumpled=ones > 0)) == "thin, crumpled, many folds"
