"""Weights: round trips, foreign and damaged files, downloads, checksums, channels."""

import functools
import http.server
import os
import pickle
import threading

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from layerscope.errors import (  # noqa: E402
    CannotWrite,
    InputError,
    UnknownName,
    UnreadableFile,
)
from layerscope.training import weight_files  # noqa: E402
from layerscope.training.networks import ENCODERS, build  # noqa: E402
from layerscope.training.weight_files import (  # noqa: E402
    SOURCES,
    Source,
    checksum,
    fetch,
    find_weights,
)
from layerscope.training.weights import adapt_channels, load_weights, read_state  # noqa: E402

torch.set_num_threads(1)
NAME = "fpn/mobilenetv3-small"


@pytest.fixture(scope="module")
def encoder():
    """Encoder with a classifier, as ImageNet files hold it."""
    torch.manual_seed(11)
    part = ENCODERS["mobilenetv3-small"].make(channels=3, top=True)
    part.classifier = torch.nn.Sequential(torch.nn.Linear(576, 10))
    return part


@pytest.fixture
def file(encoder, tmp_path):
    path = tmp_path / "small.pth"
    torch.save(encoder.state_dict(), path)
    return path


def _same(network, state, prefix=""):
    ours = network.state_dict()
    return all(torch.equal(ours[k], state[prefix + k]) for k in ours if prefix + k in state)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pth.tar"])
@pytest.mark.parametrize("name", ["light-n", NAME])
def test_a_network_saved_and_loaded_answers_the_same(name, suffix, tmp_path):
    first = build(name, channels=2, outputs=3, seed=1).eval()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.save_file(first.state_dict(), path)
    else:
        torch.save({"epoch": 3, "state_dict": first.state_dict()}, path)
    second = build(name, channels=2, outputs=3, weights=path, seed=2).eval()
    image = torch.rand(1, 2, 64, 64)
    assert torch.equal(first(image), second(image))
    assert "network from weights" in second.origin


def test_an_encoder_file_is_found_to_be_one_and_its_classifier_is_left_out(encoder, file):
    network = build(NAME, channels=3, outputs=2)
    assert network.origin == "starts from scratch"
    report = load_weights(network, file)
    assert report.part == "encoder"
    assert not report.missing
    assert not report.reshaped
    assert {"classifier.0.weight", "features.12.0.weight"} <= set(report.unexpected)
    assert _same(network.encoder, encoder.state_dict())
    assert network.origin == report.describe()
    assert checksum(file)[:12] in network.origin


@pytest.mark.parametrize("prefix", ["module.", "model.", "encoder.", "module.encoder."])
def test_prefixes_of_wrappers_are_dropped(encoder, prefix, tmp_path):
    state = {prefix + k: v for k, v in encoder.state_dict().items()}
    if "encoder" in prefix:
        state |= {prefix.replace("encoder", "decoder") + "up.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "wrapped.pth")
    network = build(NAME, channels=3, outputs=2, weights=tmp_path / "wrapped.pth")
    assert _same(network.encoder, encoder.state_dict())


def test_a_grey_picture_is_answered_as_three_equal_channels(encoder, file):
    colour = build(NAME, channels=3, outputs=2, weights=file, seed=3).eval()
    grey = build(NAME, channels=1, outputs=2, weights=file, seed=3).eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        expected = colour.encoder(image.expand(-1, 3, -1, -1))
        for a, b in zip(grey.encoder(image), expected, strict=True):
            assert torch.allclose(a, b, atol=1e-4)
    assert "summed over RGB" in grey.origin


def test_channels_beyond_rgb_change_nothing_at_first_and_learn(file):
    network = build(NAME, channels=4, outputs=2, weights=file).eval()
    image = torch.rand(1, 4, 64, 64)
    other = torch.cat((image[:, :3], torch.rand(1, 1, 64, 64)), 1)
    assert torch.allclose(network(image), network(other), atol=1e-5)
    network(image).square().mean().backward()
    assert network.encoder.features[0][0].weight.grad[:, 3].abs().sum() > 0


def test_two_channels_keep_the_sum():
    weight = torch.rand(5, 3, 3, 3)
    two, said = adapt_channels(weight, 2)
    assert two.shape == (5, 2, 3, 3)
    assert torch.allclose(two.sum(1), weight.sum(1))
    assert said


@pytest.mark.parametrize(("from_", "to"), [("resnet18", "resnet34"), ("resnet34", "resnet18")])
def test_the_file_of_a_shallower_or_deeper_network_is_refused(from_, to, tmp_path):
    """ResNet-34 has every key of ResNet-18: only counting both ways tells them apart."""
    torch.save(ENCODERS[from_].make(channels=3).state_dict(), tmp_path / "other.pth")
    network = build(f"fpn/{to}", channels=3, outputs=1)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(InputError, match=r"100 of \d+ entries of the encoder match"):
        load_weights(network, tmp_path / "other.pth")
    assert _same(network, before)


def test_entries_of_another_shape_are_told(tmp_path):
    torch.save(build("light-n", channels=1, outputs=2).state_dict(), tmp_path / "two.pth")
    network = build("light-n", channels=1, outputs=5)
    report = load_weights(network, tmp_path / "two.pth")
    assert report.reshaped == (
        "head.weight (2, 16, 1, 1) not (5, 16, 1, 1)",
        "head.bias (2,) not (5,)",
    )
    assert "2 of another shape" in network.origin


class _Runs:
    """Makes a folder when a pickle of it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_file_that_could_run_code_is_refused_in_one_line(tmp_path):
    plain = tmp_path / "plain.pth"
    plain.write_bytes(pickle.dumps({"weight": _Runs(tmp_path / "ran")}))
    torch.save({"weight": _Runs(tmp_path / "ran")}, tmp_path / "zipped.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    for name in ("plain", "zipped", "module"):
        with pytest.raises(UnreadableFile, match="could run code") as caught:
            read_state(tmp_path / f"{name}.pth")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_damaged_empty_and_missing_files_are_refused(name, tmp_path):
    path = tmp_path / name
    with pytest.raises(UnreadableFile, match="no such file"):
        read_state(path)
    state = {"weight": torch.rand(30, 30)}
    (safetensors.save_file if name.endswith("safetensors") else torch.save)(state, path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"<html>not here</html>", b"\x00" * 64):
        path.write_bytes(content)
        with pytest.raises(UnreadableFile) as caught:
            read_state(path)
        assert "\n" not in str(caught.value)


def test_a_file_without_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3, "names": ["a"]}, tmp_path / "x.pth")
    with pytest.raises(UnreadableFile, match="state dict"):
        read_state(tmp_path / "x.pth")


@pytest.fixture
def server(tmp_path):
    """Address of a local server over `tmp_path`/served."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    )
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_published_weights_are_fetched_once_and_checked(server, encoder, tmp_path, monkeypatch):
    folder, address = server
    torch.save(encoder.state_dict(), folder / "small.pth")
    source = Source(f"{address}/small.pth", checksum(folder / "small.pth")[:8], "")
    sources = {"imagenet": {"mobilenetv3-small": source}}
    monkeypatch.setattr(weight_files, "SOURCES", sources)
    monkeypatch.setenv("LAYERSCOPE_WEIGHTS", str(tmp_path / "kept"))
    network = build(NAME, channels=3, outputs=1, weights="imagenet")
    assert _same(network.encoder, encoder.state_dict())
    (folder / "small.pth").unlink()
    assert find_weights("mobilenetv3-small", "imagenet") == tmp_path / "kept" / "small.pth"
    (tmp_path / "kept" / "small.pth").write_bytes(b"damaged later")
    with pytest.raises(UnreadableFile, match="sha256 begins with"):
        find_weights("mobilenetv3-small", "imagenet")
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["small.pth"]


def test_a_download_with_another_checksum_leaves_nothing(server, tmp_path):
    folder, address = server
    (folder / "x.pth").write_bytes(b"tampered")
    with pytest.raises(UnreadableFile, match="published is 00000000"):
        fetch(f"{address}/x.pth", tmp_path / "kept" / "x.pth", "00000000")
    with pytest.raises(UnreadableFile, match="no answer"):
        fetch(f"{address}/y.pth", tmp_path / "kept" / "y.pth")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_file_address_serves_too_and_others_do_not(file, tmp_path):
    path = fetch(file.as_uri(), tmp_path / "copy.pth", checksum(file))
    assert path.read_bytes() == file.read_bytes()
    with pytest.raises(InputError, match="https://"):
        fetch("ftp://host/x.pth", tmp_path / "y.pth")
    with pytest.raises(CannotWrite, match="cannot keep"):
        fetch(file.as_uri(), file / "inside" / "y.pth")


def test_nobody_is_asked_unless_allowed(tmp_path):
    with pytest.raises(UnreadableFile, match=r"resnet18-f37072fd\.pth.* put it there"):
        find_weights("resnet18", "imagenet", folder=tmp_path, download=False)


@pytest.mark.parametrize(
    ("encoder", "dataset", "hint"),
    [("resnet18", "imagenette", "imagenet"), ("convnext-tiny", "micronet", "micronet")],
)
def test_unknown_sources_are_answered_with_known_ones(encoder, dataset, hint):
    with pytest.raises(UnknownName, match=hint):
        find_weights(encoder, dataset)


def test_a_network_without_encoder_takes_no_encoder_weights():
    with pytest.raises(InputError, match="light-n has none"):
        build("light-n", channels=3, outputs=1, weights="imagenet")


def test_every_source_is_of_an_encoder_and_imagenet_has_all():
    own = {"resnet18-n"}  # a quarter of the channels: nobody has weights of it
    assert set(SOURCES["imagenet"]) == set(ENCODERS) - own
    for sources in SOURCES.values():
        assert set(sources) <= set(ENCODERS)
        for source in sources.values():
            assert source.url.endswith((".pth", ".pth.tar"))
            assert source.sha256 in source.url
            assert source.about
