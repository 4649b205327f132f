"""Encoders against published parameter counts, key names and other implementations."""

import re

import pytest

torch = pytest.importorskip("torch")

from layerscope.training.networks import ENCODERS  # noqa: E402
from layerscope.training.networks.network import count_parameters  # noqa: E402

torch.set_num_threads(1)

# Name: parameters with the ImageNet classifier, sizes of the classifier's layers.
PUBLISHED = {
    "resnet18": (11_689_512, [(512, 1000)]),
    "resnet34": (21_797_672, [(512, 1000)]),
    "resnet50": (25_557_032, [(2048, 1000)]),
    "se-resnext50": (27_559_896, [(2048, 1000)]),
    "se-resnext101": (48_955_416, [(2048, 1000)]),
    "efficientnet-b0": (5_288_548, [(1280, 1000)]),
    "convnext-tiny": (28_589_128, [(768, 1000)]),
    "mobilenetv3-large": (5_483_032, [(960, 1280), (1280, 1000)]),
    "mobilenetv3-small": (2_542_856, [(576, 1024), (1024, 1000)]),
}

# Entries of published state dicts and their shapes: a first, a late, a shortcut or gate.
KEYS = {
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer4.1.bn2.running_var": (512,),
    },
    "resnet34": {"layer3.5.conv2.weight": (256, 256, 3, 3), "layer4.2.bn1.bias": (512,)},
    "resnet50": {
        "layer1.0.downsample.1.running_mean": (256,),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
    },
    "se-resnext50": {
        "layer0.conv1.weight": (64, 3, 7, 7),
        "layer0.bn1.weight": (64,),
        "layer1.0.conv2.weight": (128, 4, 3, 3),
        "layer4.2.se_module.fc1.weight": (128, 2048, 1, 1),
        "layer2.0.downsample.0.weight": (512, 256, 1, 1),
    },
    "se-resnext101": {"layer3.22.se_module.fc2.bias": (1024,)},
    "efficientnet-b0": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.0.block.0.0.weight": (32, 1, 3, 3),
        "features.1.0.block.1.fc1.weight": (8, 32, 1, 1),
        "features.6.3.block.1.1.running_var": (1152,),
        "features.7.0.block.3.0.weight": (320, 1152, 1, 1),
        "features.8.1.bias": (1280,),
    },
    "convnext-tiny": {
        "features.0.0.weight": (96, 3, 4, 4),
        "features.0.1.weight": (96,),
        "features.2.1.weight": (192, 96, 2, 2),
        "features.5.8.layer_scale": (384, 1, 1),
        "features.7.2.block.5.weight": (768, 3072),
        "classifier.0.bias": (768,),
    },
    "mobilenetv3-large": {
        "features.0.0.weight": (16, 3, 3, 3),
        "features.4.block.2.fc1.weight": (24, 72, 1, 1),
        "features.15.block.3.0.weight": (160, 960, 1, 1),
        "features.16.0.weight": (960, 160, 1, 1),
    },
    "mobilenetv3-small": {
        "features.1.block.1.fc1.weight": (8, 16, 1, 1),
        "features.12.0.weight": (576, 96, 1, 1),
    },
}


def _make(name, device="meta"):
    with torch.device(device):
        return ENCODERS[name].make(channels=3, top=True).eval()


def test_every_encoder_but_the_narrow_one_is_published():
    assert set(ENCODERS) == {*PUBLISHED, "resnet18-n"}


@pytest.mark.thorough
def test_the_narrow_encoder_has_a_quarter_of_the_channels():
    wide, narrow = (_make(n) for n in ("resnet18", "resnet18-n"))
    assert [4 * w for w in narrow.widths] == list(wide.widths)
    assert list(narrow.state_dict()) == list(wide.state_dict())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_agree_with_the_published_number(name):
    total, classifier = PUBLISHED[name]
    assert count_parameters(_make(name)) + sum(a * b + b for a, b in classifier) == total


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_are_those_of_published_state_dicts(name):
    entries = {key: tuple(value.shape) for key, value in _make(name).state_dict().items()}
    assert KEYS[name].items() <= entries.items()
    assert _make(name).first in entries


@pytest.mark.parametrize("name", ENCODERS)
def test_features_have_the_announced_sizes(name):
    encoder = _make(name)
    image = torch.empty(2, 3, 64, 96, device="meta")
    features = encoder(image)
    expected = [
        (2, width, 64 // stride, 96 // stride)
        for width, stride in zip(encoder.widths, encoder.strides, strict=True)
    ]
    assert [tuple(f.shape) for f in features] == expected
    assert encoder.pool(image).shape == (2, encoder.pooled)


# Other implementations: their entries are ours in the same order, up to the names below.


def _resnet(name):
    transformers = pytest.importorskip("transformers")
    deep = name == "resnet50"
    config = transformers.ResNetConfig(
        hidden_sizes=[256, 512, 1024, 2048] if deep else [64, 128, 256, 512],
        depths=[3, 4, 6, 3] if deep else [2, 2, 2, 2],
        layer_type="bottleneck" if deep else "basic",
    )
    return transformers.ResNetModel(config)


def _se_resnext(name):
    return pytest.importorskip("monai.networks.nets.senet").SEResNext50(
        spatial_dims=2, in_channels=3, num_classes=1
    )


def _convnext(name):
    transformers = pytest.importorskip("transformers")
    return transformers.ConvNextModel(transformers.ConvNextConfig())


def _efficientnet(name):
    transformers = pytest.importorskip("transformers")
    config = transformers.EfficientNetConfig(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
        batch_norm_eps=1e-5,
        depthwise_padding=list(range(16)),  # the same border on both sides, as ours
    )
    return transformers.EfficientNetModel(config)


def _our_key(key):
    """Key of a transformers ResNet as torchvision writes it; other keys as they are."""
    key = key.replace("embedder.embedder.convolution", "conv1")
    key = key.replace("embedder.embedder.normalization", "bn1")
    match = re.match(
        r"encoder\.stages\.(\d)\.layers\.(\d+)\.(shortcut|layer\.(\d))\.(\w+)\.(\w+)", key
    )
    if match is None:
        return key
    stage, layer, part, number, kind, leaf = match.groups()
    norm = kind == "normalization"
    name = f"downsample.{int(norm)}" if part == "shortcut" else f"{'bn' if norm else 'conv'}"
    number = "" if part == "shortcut" else str(int(number) + 1)
    return f"layer{int(stage) + 1}.{layer}.{name}{number}.{leaf}"


def _copy(other, encoder):
    """Give `encoder` the weights of `other`, by our key where there is one, else by order."""
    ours = {k: v for k, v in encoder.state_dict().items() if "num_batches" not in k}
    theirs = {_our_key(k): v for k, v in other.state_dict().items() if "num_batches" not in k}
    theirs = {k: v for k, v in theirs.items() if "last_linear" not in k}
    assert len(ours) == len(theirs)
    if set(ours) != set(theirs):
        theirs = dict(zip(ours, theirs.values(), strict=True))
    state = {k: theirs[k].reshape(v.shape) for k, v in ours.items()}
    encoder.load_state_dict(state, strict=False)


def _shake(module):
    """Replace weights and statistics that are 1, 0 or 1e-6 when new: defaults hide mistakes."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.ndim == 1 and value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) * 0.5 + 0.5)


def _their_features(name, other, encoder, image):
    if name == "se-resnext50":
        features = [other.layer0[:3](image), other.layer1(other.layer0(image))]
        for layer in (other.layer2, other.layer3, other.layer4):
            features.append(layer(features[-1]))
        return features
    if name == "efficientnet-b0":  # its stem has another border: start after ours
        x = encoder.features[0](image)
        return [other.pooler(other.encoder(x).last_hidden_state).flatten(1)]
    states = other(image, output_hidden_states=True).hidden_states
    return states[1:]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("resnet18", _resnet),
        ("resnet50", _resnet),
        ("se-resnext50", _se_resnext),
        ("convnext-tiny", _convnext),
        ("efficientnet-b0", _efficientnet),
    ],
)
def test_features_agree_with_another_implementation(name, make):
    torch.manual_seed(1)
    other = make(name).eval()
    _shake(other)
    encoder = _make(name, "cpu")
    _copy(other, encoder)
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        theirs = _their_features(name, other, encoder, image)
        ours = encoder(image) if name != "efficientnet-b0" else [encoder.pool(image)]
    for a, b in zip(reversed(ours), reversed(theirs), strict=False):
        scale = b.abs().max()
        assert scale > 0
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-4 * scale
