from dataclasses import replace

import numpy as np
import pytest

from layerscope.errors import InputError, UnknownName
from layerscope.ops.tone import tone_curve
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack, flake_reflectance
from layerscope.synth.camera import (
    CCD_LINEAR,
    CMOS_SRGB,
    THREE_CHIP,
    WAVELENGTH_NM,
    expose,
    find_camera,
)
from layerscope.synth.illumination import (
    Illumination,
    draw_illumination,
    form_image,
    psf_sigma_px,
)
from layerscope.synth.optical import synth_flakes, synth_set

EVEN = Illumination()
IDEAL = {"clutter": 0.0, "noise": False, "jpeg_quality": None, "illumination": EVEN}
SMALL = (300, 420)


def ideal_camera(camera=CCD_LINEAR, **changes):
    ideal = {"bit_depth": 16, "glare": 0.0, "flare": 0.0, "exposure": 0.2}
    return replace(camera, **{**ideal, **changes})


def core(crop, steps=5):
    from scipy import ndimage

    return ndimage.binary_erosion(crop, iterations=steps)


@pytest.fixture(scope="module")
def image():
    return synth_flakes(4, shape=(500, 700), n_flakes=15)


class TestTruth:
    def test_columns_agree(self, image):
        n = len(image)
        assert n > 10
        assert len(image.masks) == len(image.flake_id) == len(image.thickness_nm) == n
        np.testing.assert_allclose(image.thickness_nm, image.n_layers * 0.335)

    def test_labels_agree_with_masks_and_areas_sum(self, image):
        labels = image.labels
        assert np.count_nonzero(labels) == image.masks.area_px.sum()
        for i in range(len(image)):
            np.testing.assert_array_equal(image.masks.dense(i), labels == i + 1)

    def test_terraces_are_connected_and_of_one_number(self, image):
        from scipy import ndimage

        layers = image.layer_labels
        for i in range(len(image)):
            mask = image.masks.dense(i)
            assert ndimage.label(mask)[1] == 1
            assert set(layers[mask]) == {image.n_layers[i]}

    def test_touching_terraces_differ_and_flakes_keep_apart(self, image):
        labels, number = image.labels, np.append(0, image.n_layers)
        flake = np.append(0, image.flake_id)
        for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
            meet = (a != b) & (a > 0) & (b > 0)
            assert np.all(number[a[meet]] != number[b[meet]])
            assert np.all(flake[a[meet]] == flake[b[meet]])

    def test_empty_scene_has_no_truth(self):
        image = synth_flakes(1, shape=SMALL, empty=True, clutter=2.0)
        assert len(image) == 0
        assert not image.labels.any()

    def test_no_room_means_fewer_flakes(self):
        image = synth_flakes(1, shape=(64, 64), n_flakes=50)
        assert len(np.unique(image.flake_id)) < 50


@pytest.mark.parametrize("material", ["graphene", "hBN", "MoS2", "WS2", "WSe2", "MoSe2"])
@pytest.mark.parametrize("oxide", [90, 285, 300])
def test_contrast_inside_a_terrace_is_the_predicted_one(material, oxide):
    camera, substrate = ideal_camera(), f"SiO2({oxide}nm)/Si"
    image = synth_flakes(
        8, material=material, substrate=substrate, camera=camera, shape=SMALL, n_flakes=8,
        thick_share=0.0, **IDEAL,
    )  # fmt: skip
    crystal = load(material)
    nm = np.append(0.0, image.thickness_nm)
    reflectance = flake_reflectance(crystal, nm, Stack.parse(substrate), WAVELENGTH_NM)
    seen = reflectance @ camera.response().T
    predicted = seen[1:] / seen[0] - 1
    level = image.micrograph.data / 65535
    bare = np.median(level[image.labels == 0], axis=0)
    checked = 0
    for i, (where, crop) in enumerate(image.masks):
        inside = core(crop)
        if inside.sum() < 30 or image.n_layers[i] > 10:
            continue
        np.testing.assert_allclose(
            level[where][inside].mean(axis=0) / bare - 1, predicted[i], atol=1e-3
        )
        checked += 1
    assert checked >= 3


def test_srgb_image_decodes_to_the_same_contrast():
    camera = ideal_camera(CMOS_SRGB, saturation=0.0)
    image = synth_flakes(8, camera=camera, shape=SMALL, n_flakes=8, thick_share=0.0, **IDEAL)
    light = tone_curve("srgb").decode(image.micrograph.data / 65535)
    nm = np.append(0.0, image.thickness_nm)
    stack = Stack.parse("SiO2(90nm)/Si")
    reflectance = flake_reflectance(load("graphene"), nm, stack, WAVELENGTH_NM)
    expected = expose(camera, reflectance, reflectance[0])[1:]
    for i, (where, crop) in enumerate(image.masks):
        inside = core(crop)
        if inside.sum() >= 30:
            np.testing.assert_allclose(light[where][inside].mean(axis=0), expected[i], rtol=2e-3)


def test_true_oxide_is_the_nominal_one_plus_its_error():
    off = synth_flakes(1, shape=SMALL, oxide_error_nm=7.0)
    direct = synth_flakes(1, shape=SMALL, substrate="SiO2(97nm)/Si")
    np.testing.assert_array_equal(off.micrograph.data, direct.micrograph.data)
    assert off.substrate == "SiO2(90nm)/Si"
    assert off.micrograph.metadata["true_stack"] == "SiO2(97nm)/Si"


class TestOptics:
    def test_psf_is_the_diffraction_limit(self):
        red, green, blue = psf_sigma_px(384.4, 0.45)
        assert green * 2.3548 * 384.4 == pytest.approx(0.51 * 535 / 0.45)
        assert blue < green < red
        assert psf_sigma_px(384.4, 0.45, 2.0)[1] == pytest.approx(np.hypot(green, 2))

    @pytest.mark.parametrize("defocus_px", [0.0, 2.0])
    def test_edge_is_as_wide_as_the_psf(self, defocus_px):
        scene = np.ones((40, 80, 3), np.float32)
        scene[:, 40:] = 2
        light = replace(EVEN, defocus_px=defocus_px)
        seen = form_image(ideal_camera(), scene, light, 384.4, 0.45)
        spread = np.diff(seen[20].astype(float), axis=0)  # the line-spread function
        x = np.arange(79)[:, None] - 39
        np.testing.assert_allclose(spread.sum(axis=0), 1, rtol=1e-5)
        variance = (spread * x**2).sum(axis=0)
        expected = np.square(psf_sigma_px(384.4, 0.45, defocus_px))
        np.testing.assert_allclose(variance, expected, rtol=0.05)

    def test_glare_spreads_far_and_keeps_the_light(self):
        scene = np.zeros((160, 160, 3), np.float32)
        scene[72:88, 72:88] = 1
        seen = form_image(ideal_camera(glare=0.0), scene, EVEN, 384.4, 0.45)
        hazy = form_image(replace(ideal_camera(), glare=0.02), scene, EVEN, 384.4, 0.45)
        assert seen[80, 110].max() < 1e-6 < 1e-4 < hazy[80, 110].min()
        np.testing.assert_allclose(hazy.sum(), seen.sum(), rtol=1e-3)

    def test_vignetting_has_the_size_asked_for(self):
        field = Illumination(vignetting=0.03).field((600, 960))
        assert field[300, 480, 1] == pytest.approx(1, abs=1e-4)
        assert field[0, 0, 1] == pytest.approx(0.97, abs=1e-3)
        image = synth_flakes(
            1, camera=ideal_camera(), shape=(600, 960), empty=True,
            **{**IDEAL, "illumination": Illumination(vignetting=0.03)},
        )  # fmt: skip
        level = image.micrograph.data.astype(float)
        ratio = level[:8, :8].mean(axis=(0, 1)) / level[296:304, 476:484].mean(axis=(0, 1))
        np.testing.assert_allclose(ratio, 0.97, atol=2e-3)

    def test_tilt_differs_per_channel(self):
        field = Illumination(tilt=((0.0, 0.02), (0.0, 0.01), (0.0, 0.0))).field((40, 400))
        np.testing.assert_allclose(field[0, -1] - field[0, 0], [0.02, 0.01, 0.0], atol=2e-4)

    def test_round_field_stop_darkens_corners_only(self):
        field = Illumination(aperture=0.9).field((600, 960))
        assert field[0, 0, 0] < 0.05
        assert field[300, 480, 0] > 0.99

    def test_drawn_illumination_is_as_uneven_as_real_ones(self):
        rng = np.random.default_rng(0)
        drawn = [draw_illumination(rng) for _ in range(200)]
        assert np.mean([d.vignetting for d in drawn]) == pytest.approx(0.016, abs=0.003)
        assert max(d.vignetting for d in drawn) < 0.12


class TestNoise:
    def test_noise_of_a_bare_image_follows_the_full_well(self):
        camera = ideal_camera(demosaic_px=(0.0, 0.0, 0.0), read_noise_e=0.0, full_well_e=4000.0)
        clean = {**IDEAL, "noise": True}
        image = synth_flakes(1, camera=camera, shape=(400, 400), empty=True, **clean)
        level = image.micrograph.data / 65535
        mean, variance = level.mean(axis=(0, 1)), level.var(axis=(0, 1))
        np.testing.assert_allclose(variance, mean / 4000, rtol=0.03)

    def test_pixel_noise_is_that_of_real_micrographs(self):
        image = synth_flakes(1, shape=(200, 200), empty=True, clutter=0.0, illumination=EVEN)
        level = image.micrograph.data[..., 1].astype(float)
        # .007 to .010 of the background inside real flakes; JPEG takes some away.
        assert 0.003 < level.std() / level.mean() < 0.012


class TestFiles:
    def test_same_seed_same_bytes(self):
        one, two = (synth_flakes(5, shape=SMALL) for _ in range(2))
        assert one.encoded == two.encoded
        assert one.micrograph.sha256 == two.micrograph.sha256
        np.testing.assert_array_equal(one.labels, two.labels)
        assert synth_flakes(6, shape=SMALL).encoded != one.encoded

    def test_camera_changes_the_picture_and_not_the_scene(self):
        one, two = (synth_flakes(5, shape=SMALL, camera=c) for c in (CCD_LINEAR, THREE_CHIP))
        np.testing.assert_array_equal(one.labels, two.labels)
        assert not np.array_equal(one.micrograph.data, two.micrograph.data)

    def test_jpeg_changes_little_and_decodes_to_the_pixels(self):
        import simplejpeg

        plain = synth_flakes(5, shape=SMALL, jpeg_quality=None)
        packed = synth_flakes(5, shape=SMALL, jpeg_quality=95)
        assert plain.encoded == b""
        decoded = simplejpeg.decode_jpeg(packed.encoded, "RGB")
        np.testing.assert_array_equal(decoded, packed.micrograph.data)
        difference = plain.micrograph.data.astype(float) - packed.micrograph.data
        assert 0 < np.abs(difference).mean() < 3

    def test_more_than_eight_bits_is_lossless(self):
        image = synth_flakes(5, shape=SMALL, camera="scientific_12bit", jpeg_quality=90)
        assert image.encoded == b""
        assert image.micrograph.white_level == 4095

    def test_scale_is_known(self):
        image = synth_flakes(5, shape=SMALL, pixel_size_nm=150.0)
        assert image.micrograph.require_scale().um == pytest.approx(0.15)


class TestSet:
    def test_image_does_not_depend_on_the_length_of_the_set(self):
        short = list(synth_set(3, 2, shape=SMALL, n_flakes=3))
        long = list(synth_set(3, 4, shape=SMALL, n_flakes=3))
        assert [i.micrograph.name for i in long] == [f"synthetic_{i:04d}" for i in range(4)]
        assert [i.encoded for i in short] == [i.encoded for i in long[:2]]

    def test_setups_alternate(self):
        images = list(synth_set(3, 4, shape=SMALL, cameras=("ccd_linear", "cmos_srgb")))
        assert [i.camera for i in images] == ["ccd_linear", "cmos_srgb"] * 2

    def test_oxide_is_shared_inside_a_setup(self):
        images = synth_set(3, 4, shape=SMALL, cameras=("ccd_linear", "ccd_linear"), oxide_sd_nm=3)
        stacks = [i.micrograph.metadata["true_stack"] for i in images]
        assert stacks[0] == stacks[2] != stacks[1] == stacks[3]

    def test_nothing_asked_nothing_made(self):
        assert list(synth_set(3, 0)) == []
        with pytest.raises(InputError, match="cameras"):
            next(synth_set(3, 1, cameras=()))


@pytest.mark.parametrize(
    "wrong",
    [{"shape": (4, 4)}, {"n_flakes": -1}, {"pixel_size_nm": 0.0}, {"jpeg_quality": 101}],
)
def test_refuses_what_makes_no_sense(wrong):
    with pytest.raises(InputError, match="expected"):
        synth_flakes(1, **wrong)


def test_unknown_names_are_named():
    with pytest.raises(UnknownName, match="graphene"):
        synth_flakes(1, material="graphen")
    with pytest.raises(UnknownName, match="three_chip"):
        synth_flakes(1, camera="threechip")
    assert find_camera("three_chip") is THREE_CHIP


def test_a_full_frame_is_cheap():
    import time

    start = time.process_time()
    synth_flakes(2, n_flakes=20)
    assert time.process_time() - start < 3
