"""The ladder as a function of camera, lamp and wafer."""

import json

import numpy as np
import pytest
from scipy.optimize import least_squares

from layerscope.ops.tone import tone_curve
from layerscope.physics.ladder import MAX_THICKNESS_NM, NAMES, PARAMETERS, LadderModel, Prior
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Camera, Stack, contrast_ladder

LINEAR, SRGB = tone_curve("linear"), tone_curve("srgb")
BACKGROUND = np.array([0.5, 0.4, 0.45])
STACK = Stack.parse("SiO2(90nm)/Si")


@pytest.fixture(scope="module")
def model():
    return LadderModel(load("graphene"), STACK, (80, 100))


def theta(**changes):
    values = {p.name: p.mean for p in PARAMETERS} | changes
    return np.array([[values[name] for name in NAMES]])


def test_without_surprises_it_is_the_plain_ladder(model):
    want = contrast_ladder(load("graphene"), STACK, thickness_nm=model.thickness_nm)
    got = model.encoded(theta(), LINEAR, BACKGROUND)[0]
    np.testing.assert_allclose(got[: len(want)], want, atol=1e-9)
    assert len(got) == model.nodes.count


@pytest.mark.parametrize("oxide_nm", [80.0, 86.5, 93.25, 100.0])
def test_oxide_between_the_table_rows(model, oxide_nm):
    want = contrast_ladder(load("graphene"), STACK.with_oxide(oxide_nm))
    got = model.encoded(theta(oxide_nm=oxide_nm), LINEAR, BACKGROUND)[0, :10]
    np.testing.assert_allclose(got, want, atol=4e-4)


def test_camera_parameters_are_those_of_a_camera(model):
    camera = Camera((620.0, 540.0, 450.0), tuple(0.8 * w for w in Camera().width_nm))
    want = contrast_ladder(load("graphene"), STACK, camera=camera)
    changed = theta(centre_r_nm=620.0, centre_g_nm=540.0, centre_b_nm=450.0, width_scale=0.8)
    np.testing.assert_allclose(model.encoded(changed, LINEAR, BACKGROUND)[0, :10], want, atol=1e-9)


def test_layer_scale_is_a_thicker_layer(model):
    nm = 1.03 * 0.335 * np.arange(1, 11)
    want = contrast_ladder(load("graphene"), STACK, thickness_nm=nm)
    got = model.encoded(theta(layer_scale=1.03), LINEAR, BACKGROUND)[0, :10]
    np.testing.assert_allclose(got, want, atol=3e-4)


def test_tone_exponent_flare_and_saturation(model):
    plain = 1 + model.encoded(theta(), LINEAR, BACKGROUND)[0, :10]
    powered = 1 + model.encoded(theta(tone_exponent=1.2), LINEAR, BACKGROUND)[0, :10]
    np.testing.assert_allclose(powered, plain**1.2)
    stray = 1 + model.encoded(theta(flare=0.1), LINEAR, BACKGROUND)[0, :10]
    np.testing.assert_allclose(stray, (plain + 0.1) / 1.1)
    vivid = 1 + model.encoded(theta(saturation=0.3), LINEAR, BACKGROUND)[0, :10]
    np.testing.assert_allclose(vivid.mean(axis=1), plain.mean(axis=1))
    np.testing.assert_allclose(
        vivid - vivid.mean(axis=1, keepdims=True),
        1.3 * (plain - plain.mean(axis=1, keepdims=True)),
        atol=1e-12,
    )


def test_srgb_files_hold_compressed_contrast_that_decodes_to_light(model):
    light = model.encoded(theta(), LINEAR, BACKGROUND)[0, :10]
    coded = model.encoded(theta(), SRGB, BACKGROUND)[0, :10]
    assert np.all(np.abs(coded) < np.abs(light))
    level = (1 + coded) * BACKGROUND
    np.testing.assert_allclose(SRGB.decode(level) / SRGB.decode(BACKGROUND) - 1, light, atol=1e-5)
    np.testing.assert_allclose(model.measured(theta(), SRGB, BACKGROUND)[0, :10], light, atol=1e-5)


def test_batches_equal_one_by_one(model):
    rng = np.random.default_rng(0)
    prior = Prior.default(oxide_nm=90, oxide_sd_nm=2)
    batch = np.clip(prior.mean + prior.sd * rng.standard_normal((5, 9)), prior.low, prior.high)
    together = model.encoded(batch, SRGB, BACKGROUND)
    alone = [model.encoded(row[None], SRGB, BACKGROUND)[0] for row in batch]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_thicknesses_reach_from_one_layer_to_the_limit(model):
    np.testing.assert_allclose(model.thickness_nm[:10], 0.335 * np.arange(1, 11))
    assert np.all(np.diff(model.thickness_nm) > 0)
    assert model.thickness_nm[-1] == pytest.approx(MAX_THICKNESS_NM)


def test_a_bare_base_has_no_oxide_to_tune():
    model = LadderModel(load("MoS2"), Stack.parse("PDMS"), (1, 1), max_layers=3)
    want = contrast_ladder(load("MoS2"), Stack.parse("PDMS"), max_layers=3)
    got = model.encoded(theta(oxide_nm=1.0), LINEAR, BACKGROUND)[0, :3]
    np.testing.assert_allclose(got, want, atol=1e-9)


class TestPrior:
    def test_is_centred_on_what_the_user_named(self):
        prior = Prior.default(oxide_nm=285, oxide_sd_nm=7)
        assert (prior.mean[0], prior.sd[0], prior.low[0], prior.high[0]) == (285, 7, 257, 313)
        assert prior.log_density(prior.mean) == 0
        assert prior.log_density(prior.mean + prior.sd) == pytest.approx(-4.5)
        assert np.all((prior.low < prior.mean) & (prior.mean < prior.high))

    def test_oxide_stays_positive(self):
        assert Prior.default(oxide_nm=5, oxide_sd_nm=10).low[0] == 1

    def test_around_narrows_the_named_columns_only(self):
        prior = Prior.default(oxide_nm=90, oxide_sd_nm=10)
        centre = prior.mean + prior.sd
        near = prior.around(centre, 0.4, [1, 5])
        changed = near.mean != prior.mean
        assert (
            np.flatnonzero(changed).tolist()
            == [1, 5]
            == np.flatnonzero(near.sd != prior.sd).tolist()
        )
        np.testing.assert_allclose(near.sd[[1, 5]], 0.4 * prior.sd[[1, 5]])
        assert prior.mean[1] == PARAMETERS[1].mean


def published(shared_data, name):
    table = json.loads((shared_data / f"optical/contrast_tables/{name}_GMM.json").read_text())
    return np.array([[table[k]["contrast"][c] for c in "rgb"] for k in sorted(table)])


def fit(table, material, columns, prior_weight):
    """Least squares within the hard limits; `prior_weight` is the scatter that one sd may cost."""
    prior = Prior.default(oxide_nm=90, oxide_sd_nm=10)
    model = LadderModel(load(material), STACK, (prior.low[0], prior.high[0]), max_layers=len(table))

    def at(values):
        full = prior.mean.copy()
        full[columns] = values
        return full

    def residual(values):
        node = model.encoded(at(values)[None], LINEAR, BACKGROUND)[0, : len(table)]
        pull = prior_weight * (values - prior.mean[columns]) / prior.sd[columns]
        return np.concatenate([(node - table).ravel(), pull])

    bounds = (prior.low[columns], prior.high[columns])
    found = least_squares(
        residual, prior.mean[columns], bounds=bounds, x_scale=prior.sd[columns], diff_step=1e-4
    )
    rms = float(np.sqrt(np.mean(residual(found.x)[: table.size] ** 2)))
    return rms, at(found.x), float(prior.log_density(at(found.x)))


OXIDE_AND_TONE, CHANNELS_TOO = [0, 5], [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "material", "columns", "prior_weight", "bar"),
    [
        ("Graphene", "graphene", OXIDE_AND_TONE, 0.0, 0.012),
        ("Graphene", "graphene", CHANNELS_TOO, 0.0, 0.008),
        ("WSe2", "WSe2", CHANNELS_TOO, 0.0, 0.02),
        # The same with the priors, a scatter of 0.01 per sd: a plausible camera does it, too.
        ("Graphene", "graphene", CHANNELS_TOO, 0.01, 0.008),
        ("WSe2", "WSe2", CHANNELS_TOO, 0.01, 0.02),
    ],
)
def test_published_ladders(
    shared_data, record_property, name, material, columns, prior_weight, bar
):
    table = published(shared_data, name)
    rms, found, log_prior = fit(table, material, columns, prior_weight)
    values = ", ".join(f"{NAMES[c]} {found[c]:.4g}" for c in columns)
    record_property("fit", f"{material}: rms {rms:.4f}, log prior {log_prior:.1f}; {values}")
    assert rms <= bar, values
    if prior_weight:
        assert log_prior > -10  # the calibration's own limit for a plausible microscope


def test_published_graphene_is_no_bilayer_ladder(shared_data):
    """Read as 2, 4, 6, 8 layers the same numbers fit worse, else no count could be absolute."""
    table = published(shared_data, "Graphene")
    prior = Prior.default(oxide_nm=90, oxide_sd_nm=10)
    model = LadderModel(load("graphene"), STACK, (50, 130), max_layers=8)

    def cost(values, rows, wanted):
        full = prior.mean.copy()
        full[CHANNELS_TOO] = values
        node = model.encoded(full[None], LINEAR, BACKGROUND)[0][rows]
        pull = 0.01 * (values - prior.mean[CHANNELS_TOO]) / prior.sd[CHANNELS_TOO]
        return np.concatenate([(node - wanted).ravel(), pull])

    start = prior.mean[CHANNELS_TOO]
    bounds = (prior.low[CHANNELS_TOO], prior.high[CHANNELS_TOO])
    scale = prior.sd[CHANNELS_TOO]
    costs = [
        least_squares(
            cost, start, bounds=bounds, x_scale=scale, diff_step=1e-4, args=(rows, table)
        ).cost
        for rows in (np.arange(4), np.arange(1, 8, 2))
    ]
    assert costs[1] > 5 * costs[0]
