"""Export: the file answers as the network does, and says how far it looks."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from layerscope.errors import InputError, LayerscopeError  # noqa: E402
from layerscope.models.card import ModelCard  # noqa: E402
from layerscope.models.file import CARD_KEY, read_model  # noqa: E402
from layerscope.training import export  # noqa: E402
from layerscope.training.export import export_model  # noqa: E402
from layerscope.training.networks import build  # noqa: E402
from layerscope.training.reach import reach_of  # noqa: E402

torch.set_num_threads(1)
CARD = ModelCard("tiny", "phases", "classes", ("bare", "thin", "thick"))


class Tiny(nn.Module):
    """Down by four, two 3 x 3 there, up again; `pooled` weighs channels as a whole (SE)."""

    stride = 4

    def __init__(self, pooled=False, dilation=1):
        super().__init__()
        self.down = nn.Conv2d(3, 12, 4, 4)
        self.norm = nn.BatchNorm2d(12)
        self.wide = nn.Conv2d(12, 12, 3, padding=dilation, dilation=dilation)
        self.again = nn.Conv2d(12, 12, 3, padding=1)
        self.head = nn.Conv2d(12, 3, 1)
        self.pooled = pooled

    def forward(self, x):
        x = functional.relu(self.wide(functional.relu(self.norm(self.down(x)))))
        x = functional.relu(self.again(x))
        if self.pooled:
            x = x * torch.sigmoid(x.mean((2, 3), keepdim=True))
        return functional.interpolate(self.head(x), scale_factor=4, mode="bilinear")


def trained(module):
    """Weights and statistics as after a training: logits of several units."""
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point() and value.dim() > 1:
                value.copy_(
                    torch.randn(value.shape, generator=rng) * (2.5 / value[0].numel()) ** 0.5
                )
            elif "running_var" in name:
                value.copy_(torch.rand(value.shape, generator=rng) + 0.5)
            elif "running_mean" in name:
                value.copy_(torch.randn(value.shape, generator=rng) * 0.1)
    return module.eval()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    network = trained(Tiny())
    return network, export_model(network, CARD, path), path


@pytest.fixture
def exported(written, monkeypatch):
    """Take the graph that was written instead of exporting anew, which takes seconds."""
    import onnx

    monkeypatch.setattr(export, "_graph", lambda *_: onnx.load(written[2]))
    return written


def in_torch(network, image):
    with torch.no_grad():
        logits = network(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
    return logits.softmax(1)[0].numpy().transpose(1, 2, 0)


def noise(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def test_the_file_answers_as_the_network_does(written):
    network, card, path = written
    image = noise(60, 72, 3)
    found = read_model(path).predict(image)
    assert np.abs(found - in_torch(network, image)).max() < 1e-4
    assert found.std() > 0.05
    assert card.metrics["onnx_parity"] < 1e-4


def test_the_card_is_filled_in(written):
    network, card, path = written
    assert read_model(path).card == card
    assert card.stride == 4
    assert card.parameters == sum(p.numel() for p in network.parameters())
    assert set(card.made_with) == {"layerscope", "torch", "onnx", "opset"}
    assert card.precision == "fp32"


def test_the_reach_is_measured():
    """Two 3 x 3 and a bilinear step on a grid of 4 px: 2 and a half cells and a bit."""
    near = reach_of(trained(Tiny()), 3, 4)
    far = reach_of(trained(Tiny(dilation=5)), 3, 4)
    assert 8 <= near <= 12
    assert far == near + 16
    assert reach_of(trained(Tiny(pooled=True)), 3, 4) is None


def test_windows_give_the_numbers_of_the_whole(written):
    _, _, path = written
    model = read_model(path)
    image = noise(301, 222, 3)
    member = model.members[0]
    small = replace(member, card=replace(member.card, tile_px=64))
    tiled = replace(model, members=(small,)).predict(image)
    assert np.abs(tiled - model.predict(image)).max() < 1e-5


def test_the_same_network_gives_the_same_bytes_and_is_left_alone(written, tmp_path):
    network, _, path = written
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    export_model(network, CARD, tmp_path / "again.onnx")
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    network.eval()
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
    assert str(tmp_path).encode() not in path.read_bytes()
    assert b"site-packages" not in path.read_bytes()


def test_half_the_bytes_and_nearly_the_numbers(exported, tmp_path):
    network, card, path = exported
    half = export_model(network, CARD, tmp_path / "half.onnx", half=True)
    image = noise(60, 72, 3)
    found = read_model(tmp_path / "half.onnx").predict(image)
    assert half.precision == "fp16"
    assert half.metrics["onnx_parity"] == card.metrics["onnx_parity"]
    assert 1e-5 < half.metrics["half_rounding"] < 5e-3
    assert np.abs(found - in_torch(network, image)).max() < 5e-3
    saved = path.stat().st_size - (tmp_path / "half.onnx").stat().st_size
    assert saved > 0.35 * 4 * card.parameters


def test_weights_lie_beside_it_and_load(written):
    from safetensors.torch import load_file

    network, card, path = written
    weights = load_file(path.with_suffix(".safetensors"))
    fresh = Tiny()
    fresh.load_state_dict(weights)
    content = path.with_suffix(".safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert ModelCard.from_json(header["__metadata__"][CARD_KEY]) == card
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in fresh.state_dict().items())


def test_a_difference_is_an_error_and_no_file(exported, tmp_path):
    other = trained(Tiny())
    with torch.no_grad():
        other.head.bias += 0.1
    with pytest.raises(LayerscopeError, match="differ"):
        export_model(other, CARD, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match="3 maps; the card names 2"):
        export_model(Tiny(), replace(CARD, classes=("a", "b")), tmp_path / "a.onnx")
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    with pytest.raises(InputError, match="holds maps"):
        export_model(pooled, CARD, tmp_path / "a.onnx")
    with pytest.raises(InputError, match="ends in"):
        export_model(Tiny(), CARD, tmp_path / "a.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "flake-n",
        *(pytest.param(n, marks=pytest.mark.thorough) for n in ("light-n", "unet/resnet18")),
    ],
)
def test_parity_of_the_shipped_networks(tmp_path, name):
    network = trained(build(name, channels=3, outputs=3))
    card = export_model(network, CARD, tmp_path / "n.onnx")
    image = noise(2 * card.stride + 32, 96, 3)
    found = read_model(tmp_path / "n.onnx").predict(image)
    assert np.abs(found - in_torch(network, image)).max() < 1e-3
    assert card.metrics["onnx_parity"] < 1e-3
    assert card.margin_px is not None
