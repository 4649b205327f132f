"""MC dropout: reproducible, leaves the network as it was, and tells where it is unsure."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from layerscope.errors import InputError  # noqa: E402
from layerscope.training.ensemble import mc_dropout  # noqa: E402

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
