"""Every network: sizes, gradients, parameters of the published ones, same seed same weights."""

import pytest

torch = pytest.importorskip("torch")

from layerscope.errors import InputError, UnknownName  # noqa: E402
from layerscope.training.networks import ENCODERS, NETWORKS, build, network_names  # noqa: E402
from layerscope.training.networks.network import count_parameters  # noqa: E402

torch.set_num_threads(1)

# Real arithmetic: all that is small, each decoder over an encoder with and without features at
# half resolution, each encoder under some decoder. The rest is checked without numbers ("meta").
SMALL = [n for n in network_names() if n.startswith(("light", "flake"))]
REAL = [
    *SMALL,
    *(f"{d}/mobilenetv3-small" for d in ("unet", "unet++", "fpn", "deeplabv3+")),
    "fpn/convnext-tiny",
    "deeplabv3+/resnet18",
    "fpn/efficientnet-b0",
    "fpn/se-resnext50",
    "mask2former-n",
    "cnnsc",
    "regressor/mobilenetv3-small",
    "frozen/mobilenetv3-small",
    "categories/efficientnet-b0",
]
# A library's network that has one norm more than it uses.
IDLE = "model.model.pixel_level_module.encoder.swin.layernorm"


def _sides(network):
    return (224, 224) if network.stride == 224 else (2 * network.stride, 3 * network.stride)


def _channels(name):
    """4 for one network of each encoder and what stands on none, else 1."""
    return 4 if name.startswith("fpn/") or "/" not in name else 1


# Every encoder under one decoder, every decoder over encoders of all kinds. Mask2Former's library
# cannot run without numbers; its large network differs in numbers alone.
KINDS = ("resnet18", "mobilenetv3-small", "convnext-tiny")
SIZED = [
    name
    for name in network_names()
    if name != "mask2former"
    and (name.startswith("fpn/") or name.endswith(KINDS) or "/" not in name)
]


@pytest.mark.parametrize("name", SIZED)
def test_answers_have_the_announced_size(name):
    channels, device = _channels(name), "cpu" if name.startswith("mask2former") else "meta"
    with torch.device(device):
        network = build(name, channels=channels, outputs=3)
        shape = _sides(network)
        answer = network(torch.zeros(2, channels, *shape))
    maps = NETWORKS[name.partition("/")[0]].gives == "maps"
    assert answer.shape == ((2, 3, *shape) if maps else (2, 3))
    assert (network.name, network.channels, network.outputs) == (name, channels, 3)


@pytest.mark.parametrize(
    ("name", "channels"), [*((name, 1) for name in REAL), *((name, 3) for name in SMALL)]
)
def test_every_weight_learns(name, channels):
    network = build(name, channels=channels, outputs=3)
    generator = torch.Generator().manual_seed(1)
    answer = network(torch.rand(2, channels, *_sides(network), generator=generator))
    assert answer.isfinite().all()
    answer.square().mean().backward()
    learns = [(n, p) for n, p in network.named_parameters() if p.requires_grad and IDLE not in n]
    assert not [n for n, p in learns if p.grad is None]
    if not name.startswith("frozen"):
        assert next(p for _, p in learns if p.ndim == 4).grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["light-n", "flake-n", "unet/mobilenetv3-small", "mask2former-n"])
def test_same_seed_same_weights_and_the_random_state_of_the_caller_stays(name):
    before = torch.random.get_rng_state()
    first, again, other = (build(name, channels=1, outputs=2, seed=s) for s in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", REAL)
def test_each_image_of_a_batch_has_its_own_answer(name):
    network = build(name, channels=1, outputs=2).eval()
    images = torch.rand(2, 1, *_sides(network), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        both, one = network(images), network(images[1:])
    assert torch.allclose(both[1:], one, atol=1e-4, rtol=1e-4)


# Counted for one output and three channels by others, in the library the studies trained with.
PUBLISHED_NETWORKS = {
    "unet/resnet18": 14_328_209,
    "unet/resnet34": 24_436_369,
    "unet++/resnet34": 26_078_609,
    "fpn/resnet34": 23_155_393,
    "deeplabv3+/resnet34": 22_437_457,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_NETWORKS.items())
def test_parameters_of_published_networks(name, parameters):
    with torch.device("meta"):
        assert count_parameters(build(name, channels=3, outputs=1)) == parameters


@pytest.mark.parametrize(
    ("name", "millions"), [("light-n", 0.16), ("light-s", 0.6), ("light-m", 2.2), ("plain-n", 0.91)]
)
def test_light_networks_are_light(name, millions):
    assert count_parameters(build(name, channels=3, outputs=4)) / 1e6 == pytest.approx(
        millions, rel=0.05
    )


@pytest.mark.parametrize(("channels", "outputs"), [(0, 1), (5, 1), (3, 0)])
def test_numbers_that_no_network_takes_are_refused(channels, outputs):
    with pytest.raises(InputError, match=r"\d (channels|outputs)"):
        build("light-n", channels=channels, outputs=outputs)


@pytest.mark.parametrize(
    ("name", "error", "hint"),
    [
        ("lite-n", UnknownName, "light-n"),
        ("unet/resnet19", UnknownName, "resnet18"),
        ("unet", InputError, "unet/resnet18"),
        ("light-n/resnet18", InputError, "write light-n"),
        ("yolo/11n", InputError, "YoloFinder"),
    ],
)
def test_a_wrong_name_is_answered_with_a_right_one(name, error, hint):
    with pytest.raises(error, match=hint):
        build(name, channels=3, outputs=1)


def test_deeplab_refuses_to_train_on_one_image():
    network = build("deeplabv3+/mobilenetv3-small", channels=1, outputs=1)
    with pytest.raises(InputError, match="batch of 1"):
        network(torch.zeros(1, 1, 64, 64))


def test_every_encoder_and_network_has_a_line_for_the_reference():
    for registry in (NETWORKS, ENCODERS):
        assert all(registry[name].description for name in registry)


def test_a_frozen_encoder_stays_while_the_rest_learns():
    network = build("fpn/mobilenetv3-small", channels=1, outputs=2)
    network.freeze_encoder()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    learns = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learns, lr=0.1)
    network.eval().train()
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    optimiser.step()
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert not [k for k in changed if k.startswith("encoder.")]
    with pytest.raises(InputError, match="light-n has no encoder"):
        build("light-n", channels=1, outputs=1).freeze_encoder()
