"""The statistics that calibration and counting share, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from layerscope.core.results import RegionSignal
from layerscope.physics.mixture import (
    SATURATION_LEVEL,
    Colours,
    Nodes,
    Occupancy,
    Rungs,
    joint_log_density,
    log_sum,
)

NODES = Nodes(layers=4, thick=3, residue=2)
RUNG = np.linspace(0, -0.8, 9)[:, None] * [1.0, 1.1, 0.7]
RNG = np.random.default_rng(0)


def colours(contrast, sd=0.004, saturated=False, known=None):
    contrast = np.atleast_2d(np.asarray(contrast, float))
    n = len(contrast)
    known = np.zeros(n, np.int64) if known is None else np.asarray(known)
    return Colours(
        contrast, np.full((n, 3), sd**2), np.broadcast_to(saturated, (n, 3)).copy(), known
    )


def signal(level, background, se=0.001):
    level, background = np.atleast_2d(level).astype(float), np.atleast_2d(background).astype(float)
    n, error = len(level), np.full((len(level), 3), se)
    core, one = np.full(n, 100), np.ones(n)
    return RegionSignal(level, error, background, error, error, core, one, 0 * one)


class TestColours:
    def test_contrast_and_its_error_by_propagation(self):
        rng = np.random.default_rng(1)
        level, bare = np.array([0.3, 0.4, 0.2]), np.array([0.5, 0.45, 0.4])
        got = Colours.of(signal(level, bare, 0.002))
        np.testing.assert_allclose(got.contrast[0], level / bare - 1)
        noisy = (level + 0.002 * rng.standard_normal((40_000, 3))) / (
            bare + 0.002 * rng.standard_normal((40_000, 3))
        )
        np.testing.assert_allclose(np.sqrt(got.variance[0]), noisy.std(axis=0), rtol=0.02)

    def test_a_channel_near_white_is_a_lower_bound(self):
        got = Colours.of(signal([[SATURATION_LEVEL, 0.5, 0.91]], [[0.5, 0.5, 0.5]]))
        assert got.saturated.tolist() == [[True, False, False]]

    def test_black_background_stays_finite(self):
        got = Colours.of(signal([[0.1, 0.1, 0.1]], [[0.0, 0.5, 0.5]]))
        assert np.all(np.isfinite(got.contrast))
        assert np.all(np.isfinite(got.variance))


class TestLikelihood:
    def test_is_scipys_multivariate_t(self):
        rungs, seen = Rungs(RUNG, NODES, 1.0), colours(RNG.uniform(-0.9, 0.1, (6, 3)))
        got = rungs.log_likelihood(seen)
        assert got.shape == (6, NODES.count)
        for i in range(6):
            for j in range(NODES.count):
                shape = np.diag(rungs.variance[j] + seen.variance[i])
                want = stats.multivariate_t.logpdf(seen.contrast[i], RUNG[j], shape, df=4)
                assert got[i, j] == pytest.approx(want)

    def test_noise_widens_the_rungs(self):
        quiet, loud = Rungs(RUNG, NODES, 0.5), Rungs(RUNG, NODES, 2.0)
        np.testing.assert_allclose(loud.variance[:4], 16 * quiet.variance[:4])
        assert np.all(loud.variance > quiet.variance)
        near, far = colours(RUNG[1]), colours(RUNG[1] + 0.2)
        assert quiet.log_likelihood(near)[0, 1] > loud.log_likelihood(near)[0, 1]
        assert quiet.log_likelihood(far)[0, 1] < loud.log_likelihood(far)[0, 1]

    def test_curves_cover_the_gap_between_their_nodes(self):
        halfway = (RUNG[4] + RUNG[5]) / 2
        curve, lone = Rungs(RUNG, NODES, 1.0), Rungs(RUNG, Nodes(9, 0, 0), 1.0)
        assert (
            curve.log_likelihood(colours(halfway))[0, 4]
            > (lone.log_likelihood(colours(halfway))[0, 4])
        )

    def test_saturation_is_one_sided(self):
        rungs = Rungs(RUNG, NODES, 1.0)
        below, above = RUNG[2] - [0.15, 0, 0], RUNG[2] + [0.15, 0, 0]
        clip = [True, False, False]
        exact = rungs.log_likelihood(colours(RUNG[2]))[0, 2]
        # The camera says "at least": a rung above what was read explains it just as well.
        assert rungs.log_likelihood(colours(below, saturated=clip))[0, 2] == pytest.approx(exact)
        assert rungs.log_likelihood(colours(below))[0, 2] < exact - 5
        assert rungs.log_likelihood(colours(above, saturated=clip))[0, 2] < exact - 5


class TestOccupancy:
    def test_weights_are_a_distribution_over_the_four_kinds(self):
        weight = np.exp(Occupancy().log_weights(NODES))
        assert weight.sum() == pytest.approx(1)
        thin, thick, residue = NODES.kinds
        assert weight[thin].sum() == pytest.approx(0.6)
        assert weight[thick].sum() == pytest.approx(0.25)
        assert weight[residue].sum() == pytest.approx(0.1)
        assert weight[-1] == pytest.approx(0.05)
        assert np.all(np.diff(weight[thin]) < 0)  # peak at one layer by default

    @pytest.mark.parametrize("peak", [1, 3, 6])
    def test_finds_the_most_frequent_layer_number(self, peak):
        nodes = Nodes(8, 3, 2)
        share = 0.5 ** np.abs(np.arange(1, 9) - peak)
        responsibility = np.zeros((200, nodes.count + 1))
        responsibility[:, :8] = share / share.sum()
        found = Occupancy().updated(responsibility, nodes)
        assert found.peak == peak
        assert found.thin > 0.9
        total = found.thin + found.thick + found.residue + found.outlier
        assert total == pytest.approx(1)

    def test_even_numbers_alone_pay(self):
        """This is what excludes the doubled ladder: 2, 4, 6, 8 fit no shape with one peak."""
        nodes = Nodes(8, 0, 0)

        def best_score(layers):
            responsibility = np.zeros((len(layers), 9))
            responsibility[np.arange(len(layers)), np.array(layers) - 1] = 1
            found = Occupancy().updated(responsibility, nodes)
            return found.log_weights(nodes)[np.array(layers) - 1].sum()

        once = [1] * 20 + [2] * 15 + [3] * 11 + [4] * 8
        assert best_score(once) > best_score([2 * n for n in once]) + 20


class TestJointDensity:
    def test_most_probable_node_is_the_nearest(self):
        density = joint_log_density(colours(RUNG), Rungs(RUNG, NODES, 0.5), Occupancy())
        assert density.shape == (9, NODES.count + 1)
        assert density[:, :-1].argmax(axis=1)[:7].tolist() == list(range(7))

    def test_a_colour_off_every_rung_is_an_outlier(self):
        seen = colours([[0.9, -0.9, 0.9]])
        density = joint_log_density(seen, Rungs(RUNG, NODES, 0.5), Occupancy())
        assert density[0].argmax() == NODES.count

    def test_a_label_outweighs_the_colour_but_not_without_end(self):
        rungs = Rungs(RUNG, NODES, 1.0)
        seen = colours(np.repeat(RUNG[[1]], 4, axis=0), known=[0, 2, 3, 9])
        answer = joint_log_density(seen, rungs, Occupancy())[:, :-1].argmax(axis=1)
        assert answer[:3].tolist() == [1, 1, 2]
        assert answer[3] in range(4, 7)  # more layers than the ladder has: thick

    def test_log_sum_survives_extremes(self):
        x = np.array([[-1e4, -1e4 - 1], [700.0, 701.0], [0.0, -np.inf]])
        np.testing.assert_allclose(log_sum(x), np.logaddexp(x[:, 0], x[:, 1]))


def test_density_is_the_exponential_of_the_log_likelihood():
    rng = np.random.default_rng(5)
    clip = rng.random((40, 3)) < 0.3
    seen = colours(rng.normal(-0.2, 0.3, (40, 3)), saturated=clip)
    rungs = Rungs(RUNG, NODES, 0.7)
    density, distance2 = rungs.density(seen)
    np.testing.assert_allclose(np.log(density), rungs.log_likelihood(seen), rtol=1e-10)
    np.testing.assert_allclose(distance2, rungs.distance2(seen), rtol=1e-10)
