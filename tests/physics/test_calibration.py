"""Calibration and counting on colours of known layers, and all the ways to be wrong."""

import numpy as np
import pytest

from layerscope.core.results import THICK, UNKNOWN, RegionSignal
from layerscope.ops.tone import tone_curve
from layerscope.physics.calibration import calibrate
from layerscope.physics.doubts import doubled
from layerscope.physics.materials import load
from layerscope.physics.thickness import count_layers
from layerscope.physics.thin_film import Stack
from layerscope.synth import synth_signals

OXIDE = "SiO2(90nm)/Si"
LINEAR = tone_curve("linear")


def colours(seed, **options):
    """Region signals, true layers, and the background of one synthetic setup."""
    signal, layers = synth_signals(seed, **options)
    return signal, layers, np.median(signal.background, axis=0)


def analyse(signal, background, material="graphene", substrate=OXIDE, **options):
    labels = options.pop("labels", None)
    found = calibrate(
        [signal], [background], load(material), Stack.parse(substrate),
        labels=None if labels is None else [labels], **options,
    )  # fmt: skip
    return found, count_layers(signal, found, 0, tone=options.get("tone"))


@pytest.fixture(scope="module")
def graphene():
    """Signal, layers, background, calibration and posterior of one good linear set."""
    signal, layers, background = colours(1, n_regions=24, oxide_error_nm=3)
    return signal, layers, background, *analyse(signal, background, tone=LINEAR)


SETS = [
    # material, camera, tone known, substrate, seed
    ("graphene", "ccd_linear", False, OXIDE, 1),
    ("graphene", "three_chip", True, "SiO2(285nm)/Si", 3),
    ("MoS2", "consumer_srgb", False, OXIDE, 4),
    ("MoS2", "cmos_linear", True, "SiO2(300nm)/Si", 5),
    ("WSe2", "cmos_srgb", True, "SiO2(285nm)/Si", 7),
]


def test_layer_numbers_are_right_and_sure_without_labels():
    answers, right, confident = 0, 0, 0
    for material, camera, known, substrate, seed in SETS:
        signal, layers, background = colours(
            seed, material=material, camera=camera, substrate=substrate, oxide_error_nm=3,
            wrong_share=0, n_regions=30,
        )  # fmt: skip
        curve = tone_curve("srgb" if "srgb" in camera else "linear") if known else None
        found, posterior = analyse(signal, background, material, substrate, tone=curve)
        assert found.setups[0].status == "ok", (material, camera, found.setups[0].reasons)
        assert found.tone == ("srgb" if "srgb" in camera else "linear")
        thin = layers <= 4
        answers += np.count_nonzero(thin)
        right += np.count_nonzero(posterior.n_layers[thin] == layers[thin])
        confident += posterior.confidence[thin].sum()
        assert np.mean(posterior.n_layers[thin] == layers[thin]) > 0.85, (material, camera)
    assert answers > 80
    assert right / answers >= 0.97
    assert abs(right - confident) / answers <= 0.05


class TestPosterior:
    def test_rows_are_distributions(self, graphene):
        posterior = graphene[-1]
        np.testing.assert_allclose(posterior.probability.sum(axis=1), 1, atol=1e-12)
        assert np.all(posterior.probability > 0)
        assert posterior.probability.shape == (24, 12)

    def test_answer_is_the_most_probable_class(self, graphene):
        posterior = graphene[-1]
        answered = posterior.n_layers > 0
        best = posterior.probability.argmax(axis=1)
        np.testing.assert_array_equal(posterior.n_layers[answered], best[answered] + 1)
        assert np.all(posterior.confidence[answered] >= 0.7)
        # No row may claim more certainty than a wrongly outlined region leaves.
        assert posterior.probability.max() <= 0.98

    def test_thickness_follows_the_layer_number(self, graphene):
        _, _, _, _, posterior = graphene
        one = posterior.n_layers > 0
        np.testing.assert_allclose(
            posterior.thickness_nm[one], 0.335 * posterior.n_layers[one], atol=0.17
        )
        nm, last_digit = posterior.thickness_nm[one], 1e-9
        assert np.all(posterior.thickness_low_nm[one] <= nm + last_digit)
        assert np.all(nm <= posterior.thickness_high_nm[one] + last_digit)
        assert np.all(np.isnan(posterior.thickness_nm[posterior.n_layers == UNKNOWN]))

    def test_order_of_the_rows_changes_nothing(self, graphene):
        signal, _, background, found, posterior = graphene
        order = np.random.default_rng(5).permutation(len(signal))
        again, shuffled = analyse(signal.take(order), background, tone=LINEAR)
        np.testing.assert_array_equal(again.setups[0].draws, found.setups[0].draws)
        np.testing.assert_array_equal(again.setups[0].ladder, found.setups[0].ladder)
        np.testing.assert_allclose(
            shuffled.probability, posterior.probability[order], rtol=0, atol=1e-12
        )
        assert shuffled.branches_nm == tuple(posterior.branches_nm[i] for i in order)

    def test_one_region_at_a_time_gives_the_same(self, graphene):
        signal, _, _, found, posterior = graphene
        for i in (0, 5, 11):
            alone = count_layers(signal.take(np.array([i])), found, 0)
            np.testing.assert_allclose(
                alone.probability[0], posterior.probability[i], rtol=0, atol=1e-12
            )

    def test_ladder_is_known_better_than_its_steps(self, graphene):
        setup = graphene[3].setups[0]
        assert setup.ladder.shape == setup.ladder_sd.shape == (10, 3)
        assert np.all(setup.ladder_sd < 0.25 * np.abs(setup.ladder) + 0.01)
        assert setup.weights.sum() == pytest.approx(1)
        assert setup.draws.shape == (len(setup.weights), len(graphene[3].parameters))

    def test_colours_of_nothing_known_get_no_number(self, graphene):
        signal, _, _, found, _ = graphene
        strange = signal.take(np.arange(2))
        level = strange.background * np.array([[1.6, 0.3, 1.6], [0.3, 1.7, 0.3]])
        fields = {**strange.__dict__, "level": level}
        posterior = count_layers(RegionSignal(**fields), found, 0)
        assert np.all(posterior.n_layers <= 0)
        assert posterior.probability[:, :10].max() < 0.05

    def test_colours_between_two_layers_get_no_number(self, graphene):
        signal, _, _, found, _ = graphene
        ladder = found.setups[0].ladder
        between = 1 + (ladder[1:5] + ladder[2:6]) / 2
        rows = signal.take(np.arange(4))
        fields = {**rows.__dict__, "level": between * rows.background}
        posterior = count_layers(RegionSignal(**fields), found, 0)
        unsure = posterior.probability.max(axis=1) < 0.7
        assert unsure.any()
        assert np.all(posterior.n_layers[unsure] == UNKNOWN)

    def test_bare_substrate_gets_no_number(self, graphene):
        signal, _, _, found, _ = graphene
        nothing = signal.take(np.arange(3))
        fields = {**nothing.__dict__, "level": nothing.background.copy()}
        assert np.all(count_layers(RegionSignal(**fields), found, 0).n_layers != 1)


def test_saturated_channels_are_lower_bounds(graphene):
    """Bulk that is clipped in all channels may be of many thicknesses, but is never thin."""
    signal, _, _, found, _ = graphene
    some = signal.take(np.arange(2))
    fields = {**some.__dict__, "level": np.ones_like(some.level)}
    posterior = count_layers(RegionSignal(**fields), found, 0)
    assert np.all(posterior.n_layers == THICK)
    assert np.all(posterior.thickness_nm > 10)
    spread = [b[-1] for b in posterior.branches_nm]
    assert all(high - low > 5 for branch in posterior.branches_nm for low, high, _ in branch[:1])
    assert len(spread) == 2


def test_same_input_same_numbers(graphene):
    signal, _, background, found, posterior = graphene
    again, once_more = analyse(signal, background, tone=LINEAR)
    np.testing.assert_array_equal(again.setups[0].draws, found.setups[0].draws)
    np.testing.assert_array_equal(once_more.probability, posterior.probability)


class TestRefusal:
    def never_sure(self, found, posterior, layers):
        """No region may have a number that is wrong."""
        assert np.all((posterior.n_layers <= 0) | (posterior.n_layers == layers))

    @pytest.mark.parametrize(
        ("told", "seed"), [("SiO2(200nm)/Si", 2), ("SiO2(200nm)/Si", 6), ("SiO2(285nm)/Si", 2)]
    )
    def test_wrong_oxide(self, told, seed):
        signal, layers, background = colours(seed, n_regions=24, wrong_share=0)
        found, posterior = analyse(signal, background, substrate=told, tone=LINEAR)
        assert found.setups[0].status == "refused"
        assert found.setups[0].reasons
        self.never_sure(found, posterior, layers)
        assert all(posterior.withheld)
        assert all("\n" not in reason for reason in found.setups[0].reasons)

    @pytest.mark.parametrize(
        ("true", "told"),
        [("graphene", "MoS2"), ("graphene", "hBN"), ("MoS2", "graphene"), ("hBN", "graphene")],
    )
    def test_wrong_material(self, true, told):
        signal, _, background = colours(7, n_regions=24, material=true, wrong_share=0)
        found, posterior = analyse(signal, background, told, tone=LINEAR)
        numbered = np.mean(posterior.n_layers > 0)
        assert found.setups[0].status != "ok" or numbered == 0
        if found.setups[0].status != "ok":
            assert np.all(posterior.n_layers == UNKNOWN)
            assert all(posterior.withheld)

    @pytest.mark.parametrize("camera", ["ccd_linear", "cmos_srgb"])
    def test_even_layers_alone_are_never_numbered(self, camera):
        """{2, 4} may be {1, 2} under another tone curve: not to be told from colours."""
        layers = [2] * 10 + [4] * 10
        signal, layers, background = colours(3, layers=layers, camera=camera, wrong_share=0)
        found, posterior = analyse(signal, background)
        assert found.setups[0].status == "relative"
        assert np.all(posterior.n_layers == UNKNOWN)
        labels = np.zeros(20, np.int64)
        labels[[0, 10]] = 2, 4
        found, posterior = analyse(signal, background, labels=labels)
        assert found.setups[0].status == "ok"
        assert np.mean(posterior.n_layers == layers) >= 0.95


@pytest.mark.parametrize(
    ("count", "suspect"),
    [
        ([0, 9, 0, 6, 0, 2], True),
        ([1, 12, 0, 6, 0, 2], True),
        ([5, 9, 4, 6, 3, 2], False),  # consecutive numbers: no doubling
        ([0, 12, 0, 0, 0, 0], False),  # one number alone says nothing of a ladder
        ([0, 3, 0, 3, 0, 0], False),  # too few to judge
    ],
)
def test_even_numbers_alone_raise_a_doubt(count, suspect):
    assert bool(doubled(np.array(count))) is suspect


class TestFewFlakes:
    def test_none(self):
        found, posterior = analyse(RegionSignal.empty(), np.full(3, 0.4))
        assert found.setups[0].n_regions == 0
        assert posterior.probability.shape == (0, 12)
        assert len(posterior) == 0

    def test_no_setup_at_all(self):
        found = calibrate([], [], load("graphene"), Stack.parse(OXIDE))
        assert found.setups == ()

    @pytest.mark.parametrize("n", [1, 3])
    def test_few_are_right_or_withheld(self, n):
        signal, layers, background = colours(4, layers=[1, 2, 3][:n], wrong_share=0)
        _, posterior = analyse(signal, background)
        assert np.all((posterior.n_layers == layers) | (posterior.n_layers == UNKNOWN))

    def test_known_tone_makes_three_enough(self):
        signal, layers, background = colours(4, layers=[1, 2, 3], wrong_share=0)
        found, posterior = analyse(signal, background, tone=LINEAR)
        assert found.setups[0].status == "ok"
        np.testing.assert_array_equal(posterior.n_layers, layers)

    def test_a_setup_of_few_learns_from_the_others(self):
        """Two setups of one camera; the small one has its camera from the large one."""
        many = colours(8, n_regions=30, wrong_share=0)
        few = colours(9, layers=[1, 2, 2, 3, 4, 4], wrong_share=0)
        found = calibrate(
            [many[0], few[0]], [many[2], 0.7 * few[2]], load("graphene"), Stack.parse(OXIDE),
            tone=LINEAR,
        )  # fmt: skip
        assert [s.status for s in found.setups] == ["ok", "ok"]
        np.testing.assert_array_equal(count_layers(few[0], found, 1).n_layers, few[1])
        assert found.nearest(few[2] * 0.72) == 1


class TestLabels:
    def test_the_person_is_believed_or_the_fit_refused(self, graphene):
        """Told 2 for every 1 and 4 for every 2, against the colours."""
        signal, layers, background = graphene[:3]
        wrong = np.where(layers <= 3, 2 * layers, 0)
        found, posterior = analyse(signal, background, labels=wrong, tone=LINEAR)
        doubled = np.mean(posterior.n_layers[layers == 1] == 2) > 0.9
        assert doubled or found.setups[0].status != "ok"

    def test_right_labels_leave_right_answers(self, graphene):
        signal, layers, background, _, plain = graphene
        some = np.where(np.arange(len(layers)) % 4 == 0, layers, 0)
        _, posterior = analyse(signal, background, labels=some, tone=LINEAR)
        thin = layers <= 4
        assert np.mean(posterior.n_layers[thin] == layers[thin]) >= np.mean(
            plain.n_layers[thin] == layers[thin]
        )


@pytest.mark.parametrize(("substrate", "thick"), [
    (OXIDE, (30, 80, 150)),
    ("SiO2(285nm)/Si", (30, 80)),
])  # fmt: skip
def test_branches_of_thick_hbn_hold_the_truth(substrate, thick):
    layers = [*range(1, 11)] * 2 + [round(nm / 0.333) for nm in thick]
    signal, layers, background = colours(
        5, material="hBN", substrate=substrate, layers=layers, wrong_share=0
    )
    found, posterior = analyse(signal, background, "hBN", substrate, tone=LINEAR)
    assert found.setups[0].status == "ok"
    for i in range(20, len(layers)):
        truth_nm = 0.333 * layers[i]
        branches = posterior.branches_nm[i]
        assert any(low - 1 <= truth_nm <= high + 1 for low, high, _ in branches), truth_nm
        weights = [w for _, _, w in branches]
        assert weights == sorted(weights, reverse=True)
        assert 0.9 < sum(weights) <= 1 + 1e-9
        assert posterior.n_layers[i] in (THICK, UNKNOWN)


@pytest.mark.parametrize("told", ["MoS2", "WSe2"])
def test_a_material_that_takes_almost_all_for_residue_is_refused(told):
    signal, _ = synth_signals(
        2, n_regions=30
    )  # graphene, of which 4 regions lay on the MoS2 ladder
    background = np.median(signal.background, axis=0)
    found, posterior = analyse(signal, background, told, tone=LINEAR)
    assert found.setups[0].status == "refused"
    assert not np.any(posterior.n_layers > 0)
