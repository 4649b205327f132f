"""Promises of the pipeline about its input, its settings and its result; see also test_run."""

from dataclasses import replace

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from layerscope import finding, pipeline
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import UNKNOWN
from layerscope.errors import InputError, UnknownName
from layerscope.io.labels import Labels
from layerscope.models import HEADS
from layerscope.models.samples import Samples
from layerscope.ops.tone import contrast, tone_curve
from layerscope.synth import match_truth

LINEAR = finding.Optics(tone=tone_curve("linear"))
GRAPHENE = {"material": "graphene", "substrate": "SiO2(90nm)/Si"}


def analyse(images, calibration, **options):
    """Run with a calibration made before: most questions are not about calibrating."""
    return pipeline.run(images, **GRAPHENE, optics=LINEAR, calibration=calibration, **options)


def paired(result, truth):
    """True and answered layer numbers of the terraces of at least 200 px that were found."""
    images = {i.name: i for i in result.images}
    pairs, large = [], 0
    for scene in truth:
        found = images[scene.micrograph.name].detections
        match = match_truth(found, scene)
        seen = scene.masks.area_px >= 200
        large += np.count_nonzero(seen)
        answers = found.layers.n_layers
        pairs += [
            (scene.n_layers[i], answers[match[i]]) for i in np.flatnonzero(seen & (match >= 0))
        ]
    return np.array(pairs), large


class TestTruth:
    def test_flakes_are_found_and_numbered_right(self, synthetic_run, synthetic):
        pairs, large = paired(synthetic_run, synthetic)
        assert len(pairs) >= 0.75 * large > 10  # small terraces of one colour may be joined
        thin = pairs[:, 0] <= 10
        assert np.mean(pairs[thin, 0] == pairs[thin, 1]) >= 0.85
        numbered = pairs[pairs[:, 1] > 0]
        assert np.mean(numbered[:, 0] == numbered[:, 1]) >= 0.9
        assert np.all(pairs[pairs[:, 0] > 40, 1] <= 0)
        assert synthetic_run.calibration.setups[0].status == "ok"

    def test_table_is_the_detections(self, synthetic_run):
        table, images = synthetic_run.objects, synthetic_run.images
        assert len(table) == sum(len(i.detections) for i in images) > 10
        assert table["image"].is_monotonic_increasing
        for image in images:
            rows, found = table[table["image"] == image.name], image.detections
            np.testing.assert_array_equal(rows["region_id"], np.arange(1, len(found) + 1))
            np.testing.assert_array_equal(rows["area_px"], found.masks.area_px)
            np.testing.assert_array_equal(rows["flake_id"], found.flake_id)
            np.testing.assert_allclose(rows["area_um2"], found.masks.area_px * 0.3844**2)
            np.testing.assert_allclose(rows["layers_probability"], found.layers.confidence)
            np.testing.assert_array_equal(rows["p_2L"], found.layers.probability[:, 1])

    def test_result_says_how_it_came_about(self, synthetic_run, synthetic_folder):
        asked = synthetic_run.parameters
        assert (asked["material"], asked["substrate"]) == ("graphene", "SiO2(90nm)/Si")
        assert (asked["tone"], asked["layers_from"]) == ("linear", "physics")
        assert synthetic_run.failures == ()
        for image in synthetic_run.images:
            assert image.path == str(synthetic_folder / f"{image.name}.jpg")
            assert len(image.sha256) == 64
            assert image.shape == (480, 640)


class TestOneByOne:
    def test_an_image_alone_gives_its_rows(self, synthetic_run, synthetic_folder):
        alone = analyse(
            [synthetic_folder / "synthetic_0001.jpg"],
            synthetic_run.calibration,
            scale=finding.Scale("0.3844um"),
        )
        rows = synthetic_run.objects[synthetic_run.objects["image"] == "synthetic_0001"]
        assert rows.reset_index(drop=True).equals(alone.objects)


class TestMemory:
    def test_arrays_give_what_files_give(self, synthetic_run, synthetic):
        got = analyse([s.micrograph for s in synthetic], synthetic_run.calibration)
        assert_frame_equal(
            got.objects, synthetic_run.objects, rtol=1e-9
        )  # 0.3844um has a last digit
        assert all(i.path == "" for i in got.images)

    def test_input_is_not_changed(self, synthetic_run, synthetic):
        image = synthetic[0].micrograph
        before = image.data.copy()
        image.data.setflags(write=False)
        analyse([image], synthetic_run.calibration)
        np.testing.assert_array_equal(image.data, before)
        assert image.history == synthetic[0].micrograph.history

    def test_twelve_bits_are_as_good_as_eight(self, synthetic_run, synthetic):
        image = synthetic[0].micrograph
        deep = replace(image, data=image.data.astype(np.uint16) * 16, white_level=4080.0)
        eight, twelve = (
            analyse([i], synthetic_run.calibration).objects["n_layers"].tolist()
            for i in (image, deep)
        )
        assert eight == twelve

    def test_nothing_in_nothing_out(self, synthetic_run):
        nothing = analyse([], synthetic_run.calibration)
        assert nothing.images == () == nothing.failures
        assert len(nothing.objects) == 0
        assert list(nothing.objects.columns) == list(synthetic_run.objects.columns)
        fresh = pipeline.run([], **GRAPHENE)
        assert fresh.calibration.setups == ()

    def test_bare_chip_has_no_flakes(self, synthetic_run, synthetic):
        grey = np.random.default_rng(0).normal(110, 1.5, (200, 300, 3)).round().astype(np.uint8)
        result = pipeline.run([Micrograph(grey, name="bare")], **GRAPHENE, optics=LINEAR)
        assert len(result.images[0].detections) == 0
        assert len(result.objects) == 0


class TestScale:
    def test_with_one_it_says_where_it_is_from(self, synthetic_run):
        size = synthetic_run.images[0].pixel_size
        assert (size.y_nm, size.x_nm) == pytest.approx((384.4, 384.4))
        assert size.source == "user"
        assert not synthetic_run.objects["flags"].str.contains("scale_unknown").any()

    def test_objective_from_a_table(self, synthetic_run, synthetic_folder):
        scale = finding.Scale(objective="20x", magnification_table={"20x": "0.5um", "50x": "0.2um"})
        path = synthetic_folder / "synthetic_0001.jpg"
        result = analyse([path], synthetic_run.calibration, scale=scale)
        np.testing.assert_allclose(result.objects["area_um2"], 0.25 * result.objects["area_px"])


class TestWanted:
    def test_area_in_pixels_and_in_micrometres(self, synthetic_run, synthetic):
        images = [s.micrograph for s in synthetic]
        everything = synthetic_run.objects
        for wanted in (
            finding.Wanted(min_area_px=800),
            finding.Wanted(min_area_px=20, min_area_um2=800 * 0.3844**2),
        ):
            got = analyse(images, synthetic_run.calibration, wanted=wanted).objects
            assert 0 < len(got) < len(everything)
            assert got["area_px"].min() >= 800 - 1

    def test_only_some_layer_numbers(self, synthetic_run, synthetic):
        wanted = finding.Wanted(layers=(2, 4))
        images = [s.micrograph for s in synthetic]
        got = analyse(images, synthetic_run.calibration, wanted=wanted)
        kept = synthetic_run.objects["n_layers"].isin(["2", "3", "4"])
        assert set(got.objects["n_layers"]) <= {"2", "3", "4"}
        assert 0 < len(got.objects) == np.count_nonzero(kept) < len(kept)
        for image in got.images:
            ids = np.unique(image.detections.flake_id)
            np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))

    def test_max_layers_moves_the_limit_to_thick(self, synthetic_folder):
        labels = Labels((), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
        got = pipeline.run(
            [synthetic_folder], **GRAPHENE, optics=LINEAR, labels=labels, max_layers=4
        )
        assert "p_4L" in got.objects.columns
        assert "p_5L" not in got.objects.columns
        assert set(got.objects["n_layers"]) <= {"1", "2", "3", "4", "thick", "unknown"}


class TestSetups:
    def test_exposures_of_one_chip_are_two_setups(self, synthetic_run, synthetic):
        image = synthetic[1].micrograph
        dim = replace(image, data=(image.data * 0.6).astype(np.uint8), name="dim")
        result = analyse([image, dim], synthetic_run.calibration)
        setup = {i.name: i.setup for i in result.images}
        assert setup["dim"] != setup[image.name]
        # Contrast is relative to the substrate, so the answers hold at another exposure.
        answers = dict(list(result.objects.groupby("image")["n_layers"]))
        thin = [np.count_nonzero(a.isin(["1", "2", "3", "4"])) for a in answers.values()]
        assert min(thin) >= 3
        assert abs(thin[0] - thin[1]) <= 1


class TestLabels:
    def labelled(self, scene, indices, layers=None):
        centres = []
        for i in indices:
            top, left, _, _ = scene.masks.boxes[i]
            y, x = np.argwhere(scene.masks.crops[i])[scene.masks.area_px[i] // 2]
            centres.append((left + x, top + y))
        x, y = np.array(centres, float).T
        numbers = scene.n_layers[list(indices)] if layers is None else np.array(layers)
        return Labels((scene.micrograph.name,) * len(x), x, y, numbers.astype(np.int64))

    def test_they_anchor_the_ladder_without_a_tone_curve(self, synthetic):
        scene = synthetic[1]
        thin = np.flatnonzero((scene.n_layers <= 10) & (scene.masks.area_px >= 400))[:3]
        labels = self.labelled(scene, thin)
        result = pipeline.run([s.micrograph for s in synthetic], **GRAPHENE, labels=labels)
        assert result.calibration.setups[0].status == "ok"
        match = match_truth(result.images[1].detections, scene)
        answers = result.images[1].detections.layers.n_layers[match[thin]]
        np.testing.assert_array_equal(answers, scene.n_layers[thin])

    def test_a_label_that_hits_nothing_is_noted(self, synthetic_run, synthetic):
        name = synthetic[0].micrograph.name
        bare = np.argwhere(synthetic[0].labels == 0)[0]
        labels = Labels((name,), bare[1:].astype(float), bare[:1].astype(float), np.array([2]))
        result = analyse([synthetic[0].micrograph], synthetic_run.calibration, labels=labels)
        assert len(result.images[0].notes) == 1
        assert "\n" not in result.images[0].notes[0]


@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_trained_head_takes_the_place_of_the_physics(name, synthetic_run, synthetic):
    linear = tone_curve("linear")
    parts = [i.detections for i in synthetic_run.images]
    value = np.concatenate([contrast(d.signal, linear)[0] for d in parts])
    error = np.concatenate([contrast(d.signal, linear)[1] for d in parts])
    answer = np.concatenate([d.layers.n_layers for d in parts])
    thin = np.flatnonzero((answer >= 1) & (answer <= 4))
    thin = np.repeat(thin, 6)
    noise = np.random.default_rng(0).normal(0, 0.006, (len(thin), 3))
    samples = Samples.from_regions(
        value[thin] + noise, error[thin], answer[thin], [f"chip {i % 5}" for i in range(len(thin))]
    )
    head = HEADS[name].fit(samples)
    result = pipeline.run([s.micrograph for s in synthetic], **GRAPHENE, head=head)
    assert result.parameters["layers_from"] == name
    assert result.calibration is None
    pairs, _ = paired(result, synthetic)
    known = np.isin(pairs[:, 0], head.classes)
    answered = known & (pairs[:, 1] != UNKNOWN)
    assert np.count_nonzero(answered) >= 0.5 * np.count_nonzero(known)
    assert np.mean(pairs[answered, 0] == pairs[answered, 1]) >= 0.9


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"material": "grapheen"}, UnknownName, "Did you mean graphene"),
        ({"material": "SiO2"}, InputError, "no layered crystal"),
        ({"substrate": "SiO2/Si"}, InputError, "how thick"),
        ({"substrate": "SiOx(90nm)/Si"}, UnknownName, "SiO2"),
        ({"max_layers": 0}, InputError, "1 to 30"),
        ({"max_layers": 31}, InputError, "1 to 30"),
    ],
)
def test_wrong_settings_are_errors_at_once(change, error, told, synthetic_folder):
    with pytest.raises(error, match=told) as caught:
        pipeline.run([synthetic_folder], **{**GRAPHENE, **change})
    assert "\n" not in str(caught.value)


def test_progress_counts_every_image(synthetic_run, synthetic_folder):
    seen = []
    analyse(
        [synthetic_folder, synthetic_folder / "none.jpg"],
        synthetic_run.calibration,
        progress=lambda done, total, name: seen.append((done, total, name)),
    )
    assert [s[:2] for s in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert seen[0][2] == "none"
