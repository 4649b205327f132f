"""Every network: sizes, gradients, same seed same weights."""

import pytest

torch = pytest.importorskip("torch")

from layerscope.errors import InputError, UnknownName  # noqa: E402
from layerscope.training.networks import NETWORKS, build  # noqa: E402

torch.set_num_threads(1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_logits_have_the_size_of_the_image_and_every_weight_learns(name, channels):
    network = build(name, channels=channels, outputs=3)
    side = max(64, 2 * network.stride)
    image = torch.rand(2, channels, side, side + network.stride)
    logits = network(image)
    assert logits.shape == (2, 3, side, side + network.stride)
    logits.square().mean().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None]
    assert not idle


@pytest.mark.parametrize("name", list(NETWORKS))
def test_same_seed_same_weights_and_the_random_state_of_the_caller_stays(name):
    before = torch.random.get_rng_state()
    first, again, other = (build(name, channels=1, outputs=2, seed=s) for s in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert any(
        not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize(("channels", "outputs"), [(0, 1), (5, 1), (3, 0)])
def test_numbers_that_no_network_takes_are_refused(channels, outputs):
    with pytest.raises(InputError, match=r"\d (channels|outputs)"):
        build("light-n", channels=channels, outputs=outputs)


def test_an_unknown_network_is_answered_with_near_names():
    with pytest.raises(UnknownName, match="light-n"):
        build("lite-n", channels=3, outputs=1)
