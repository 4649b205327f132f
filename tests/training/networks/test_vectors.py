"""Regressors of the WSe2 study as published, and the classifier of micrographs."""

import math

import pytest

torch = pytest.importorskip("torch")

from layerscope.errors import InputError  # noqa: E402
from layerscope.training.networks import build  # noqa: E402
from layerscope.training.networks.network import count_parameters  # noqa: E402

torch.set_num_threads(1)


def test_cnnsc_has_the_published_layers():
    network = build("cnnsc", channels=1, outputs=1)
    convolutions = (25 + 1) * 32 + (25 * 32 + 1) * 16 + (25 * 16 + 1) * 8 + (25 * 8 + 1) * 4
    layers = (4 * 10 * 10 + 1) * 200 + 201 * 100 + 101
    assert count_parameters(network) == convolutions + layers
    with pytest.raises(InputError, match="256 x 224"):
        network(torch.zeros(1, 1, 256, 224))


def test_heads_have_the_published_widths():
    tuned = build("regressor/resnet18", channels=3, outputs=1)
    assert count_parameters(tuned.head) == 513 * 100 + 101
    frozen = build("frozen/resnet18", channels=3, outputs=1)
    assert count_parameters(frozen.head) == 513 * 120 + 121 * 84 + 85


def test_the_tuned_regressor_answers_with_fractions():
    network = build("regressor/mobilenetv3-small", channels=1, outputs=1).eval()
    fractions = network(100 * torch.randn(3, 1, 64, 64))
    assert ((fractions >= 0) & (fractions <= 1)).all()


def test_a_frozen_encoder_stays_as_it_is_through_training():
    network = build("frozen/mobilenetv3-small", channels=1, outputs=1)
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    learns = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learns, lr=0.1)
    network.train()
    for _ in range(2):
        network(torch.rand(4, 1, 64, 64)).square().mean().backward()
        optimiser.step()
    after = network.encoder.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    x = torch.rand(2, 1, 64, 64)
    assert torch.equal(network.head(network.features(x)), network(x))


def test_magnification_counts_and_an_unknown_one_adds_nothing():
    network = build("categories/mobilenetv3-small", channels=1, outputs=5).eval()
    x = torch.rand(1, 1, 64, 64).repeat(3, 1, 1, 1)
    unknown = network(x)
    logits = network(x, torch.tensor([2e3, 1.2e6, math.nan]))
    assert torch.allclose(logits[2], unknown[2], atol=1e-6)
    assert not torch.allclose(logits[0], unknown[0], atol=1e-4)
    assert not torch.allclose(logits[0], logits[1], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("cnnsc", {"widths": (8, 4), "hidden": (10,)}, 208 + 804 + (4 * 53 * 53 + 1) * 10 + 11),
        ("frozen/mobilenetv3-small", {"hidden": (7,)}, 577 * 7 + 8),
    ],
)
def test_sizes_that_a_search_may_choose(name, options, parameters):
    network = build(name, channels=1, outputs=1, **options)
    learns = [p for p in network.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learns) == parameters
    side = 224 if name == "cnnsc" else 64
    assert network(torch.zeros(2, 1, side, side)).shape == (2, 1)


def test_options_that_are_not_there_are_refused():
    with pytest.raises(InputError, match="it has hidden, side_px, widths"):
        build("cnnsc", channels=1, outputs=1, depth=3)
    with pytest.raises(InputError, match="it has none"):
        build("light-n", channels=1, outputs=1, width=3)
    with pytest.raises(InputError, match="take fewer"):
        build("cnnsc", channels=1, outputs=1, widths=(8, 8, 8, 8, 8, 8))
