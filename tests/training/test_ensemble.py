"""Ensembles in one file answer as their networks do; MC dropout tells where it is unsure."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

import model_files  # noqa: E402
from torch import nn  # noqa: E402

from layerscope.errors import InputError  # noqa: E402
from layerscope.models.bioimageio import write_package  # noqa: E402
from layerscope.models.card import ModelCard  # noqa: E402
from layerscope.models.file import read_model  # noqa: E402
from layerscope.training.ensemble import Ensemble, mc_dropout  # noqa: E402
from layerscope.training.export import export_model  # noqa: E402
from layerscope.training.network_trial import ask_ensemble, ask_network, member_state  # noqa: E402
from layerscope.training.networks.network import Network  # noqa: E402

torch.set_num_threads(1)


def network(share=0.5):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 1), nn.BatchNorm2d(8), nn.Dropout(share), nn.Conv2d(8, 3, 1)
    )


IMAGES = torch.rand(2, 1, 6, 7, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("softmax", [True, False])
def test_mean_and_spread(softmax):
    module = network()
    module.train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    mean, spread = mc_dropout(module, IMAGES, draws=30, softmax=softmax)
    again = mc_dropout(module, IMAGES, draws=30, softmax=softmax)
    assert torch.equal(mean, again[0])
    assert torch.equal(spread, again[1])
    assert mean.shape == (2, 3, 6, 7)
    assert spread.min() > 0
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert all(m.training for m in module.modules())
    if softmax:
        assert torch.allclose(mean.sum(1), torch.ones(2, 6, 7), atol=1e-5)


def test_more_dropout_is_less_sure():
    _, little = mc_dropout(network(0.05), IMAGES, draws=50)
    _, much = mc_dropout(network(0.6), IMAGES, draws=50)
    assert much.mean() > 2 * little.mean()


def test_a_variance_in_closed_form():
    """One unit kept with chance 1/2 and doubled: the logit is 0 or 2 w."""
    module = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(1, 1, 1, bias=False))
    nn.init.constant_(module[1].weight, 1.0)
    mean, spread = mc_dropout(module, torch.ones(1, 1, 50, 50), draws=40, softmax=False)
    high = torch.sigmoid(torch.tensor(2.0)).item()
    assert mean.mean().item() == pytest.approx((0.5 + high) / 2, abs=0.005)
    assert spread.mean().item() == pytest.approx((high - 0.5) / 2, abs=0.01)


def test_without_dropout_it_is_refused():
    for module in (nn.Conv2d(1, 1, 1), network(0.0)):
        with pytest.raises(InputError, match="ensemble"):
            mc_dropout(module, IMAGES)
    with pytest.raises(InputError, match="2 draws"):
        mc_dropout(network(), IMAGES, draws=1)


class Tiny(Network):
    """Stride 4 down and up again; every seed another network."""

    def __init__(self, seed):
        super().__init__(1, 3, 4)
        self.name = "tiny"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.down, self.head = nn.Conv2d(1, 8, 4, 4), nn.Conv2d(8, 3, 3, padding=1)
        with torch.no_grad():
            self.head.weight.mul_(6)

    def forward(self, x):
        maps = self.head(torch.relu(self.down(x)))
        return nn.functional.interpolate(maps, scale_factor=4, mode="bilinear")


CARD = ModelCard("tiny", "phases", "classes", ("bare", "thin", "thick"), channels=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One file of three networks, and the three."""
    path, members = tmp_path_factory.mktemp("ensemble") / "all.onnx", [Tiny(i) for i in range(3)]
    export_model(Ensemble(members), CARD, path)
    return path, [m.eval() for m in members]


def noise(height, width):
    return np.random.default_rng(height).random((height, width, 1), np.float32)


def apart(members, image):
    """What each network says by itself, (members, H, W, K)."""
    return np.stack([ask_network(m, image) for m in members]).astype(np.float64)


def test_one_file_answers_as_its_networks_do_apart(made):
    path, members = made
    for image in (noise(37, 54), noise(8, 4)):
        mean, spread = read_model(path).predict_with_spread(image)
        each = apart(members, image)
        np.testing.assert_allclose(mean, each.mean(0), atol=2e-6)
        np.testing.assert_allclose(spread, each.std(0), atol=2e-5)
        np.testing.assert_array_equal(read_model(path).predict(image), mean)
        live = ask_ensemble(Ensemble(members).eval(), image)
        np.testing.assert_allclose(live[0], mean, atol=2e-6)
        np.testing.assert_allclose(live[1], spread, atol=2e-6)
    assert spread.max() > 0.01


def test_windows_change_no_spread(made):
    model = read_model(made[0])
    small = replace(model.members[0], card=replace(model.card, tile_px=64))
    image = noise(120, 90)
    for one, other in zip(
        model.predict_with_spread(image),
        replace(model, members=(small,)).predict_with_spread(image),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_is_inside_of_members_is_added_to_what_is_between(made):
    path, members = made
    image = noise(16, 20)
    ways = [image, image[::-1]]
    each = np.concatenate([apart(members, ways[0]), apart(members, ways[1])[:, ::-1]])
    parts = [read_model(path).predict_with_spread(w) for w in ways]
    inside = np.mean([parts[0][1] ** 2, parts[1][1][::-1] ** 2], axis=0)
    between = np.var([parts[0][0], parts[1][0][::-1]], axis=0)
    np.testing.assert_allclose(np.sqrt(inside + between), each.std(0), atol=2e-5)
    twice = read_model([path, path]).predict_with_spread(image)
    np.testing.assert_allclose(twice[1], parts[0][1], atol=2e-6)
    all_ways = read_model(path, turned=True).predict_with_spread(image)[1]
    assert (all_ways**2).mean() > inside.mean()


def test_one_network_has_no_spread_and_one_is_no_ensemble(made, tmp_path):
    path, members = made
    with pytest.raises(InputError, match="2 networks or more"):
        Ensemble(members[:1])
    with pytest.raises(InputError, match="no word for an ensemble"):
        write_package(read_model(path), tmp_path / "x.zip", licence="MIT", authors=("A",))
    single = read_model(model_files.write(tmp_path / "single.onnx"))
    assert not single.tells_spread
    with pytest.raises(InputError, match="one network gives one answer"):
        single.predict_with_spread(np.zeros((8, 8), np.float32))


def test_networks_of_an_ensemble_go_on_from_their_own_weights(made):
    _, members = made
    state = Ensemble(members).state_dict()
    for i in range(5):
        mine, wanted = member_state(state, i), members[i % 3].state_dict()
        assert mine.keys() == wanted.keys()
        assert all(torch.equal(mine[k], wanted[k]) for k in wanted)
    single = members[0].state_dict()
    assert member_state(single, 1) is single
