"""Training of phases from end to end, on pictures of three greys that a forest can tell apart."""

import json
from dataclasses import replace

import numpy as np
import pytest

from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError, MissingExtra
from layerscope.models.file import read_model
from layerscope.training import phases
from layerscope.training.labelled import load_labelled, take_few
from layerscope.training.phases import PhaseSettings, train_phases

CLASSES = ("film", "hole", "flake")


def picture(seed, colour=False):
    """Discs of two greys on a third; lamp and noise differ."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((64, 80), np.uint8)
    y, x = np.mgrid[:64, :80]
    for value in (1, 2, 1, 2):
        labels[np.hypot(y - rng.uniform(5, 59), x - rng.uniform(5, 75)) < rng.uniform(9, 15)] = (
            value
        )
    level = np.array([0.5, 0.8, 0.25])[labels] * rng.uniform(0.8, 1.1)
    image = np.clip(level + 0.03 * rng.standard_normal(labels.shape), 0, 1)
    image = np.rint(255 * image).astype(np.uint8)[:, :, None]
    return (np.repeat(image, 3, axis=2) if colour else image), labels


def dataset(number=6, specimens=3, **told):
    examples = []
    for i in range(number):
        image, labels = picture(i, **told)
        labels[:3] = IGNORE
        group = f"s{i % specimens}"
        examples.append(Example.from_arrays(f"im{i}", image, labels, group=group))
    return DataSet(tuple(examples), CLASSES)


FAST = PhaseSettings("forest", minutes=0.01, folds=2, jobs=1, trees=10)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path, lines = tmp_path_factory.mktemp("phases") / "model.onnx", []
    done = train_phases(dataset(), path, FAST, tell=lines.append)
    return path, done, lines


def test_it_finds_what_it_learned(trained):
    path, done, _ = trained
    image, labels = picture(100)
    found = read_model(path).predict(image).argmax(axis=2)
    assert (found == labels).mean() > 0.95
    assert done.card.metrics["mean_iou"] > 0.85
    assert done.card.metrics["mean_iou"] > done.card.metrics["mean_iou_majority"] + 0.3


def test_it_says_what_it_chose_and_why(trained):
    _, done, lines = trained
    text = "\n".join(lines)
    assert "6 images" in text
    assert "of 3 specimens" in text
    assert "most frequent class" in text
    assert "fold 1" in text
    best = max(done.trials, key=lambda t: t.score())
    assert f"chosen: {best.candidate}" in text


def test_the_card_says_how_far_shares_may_be_off(trained):
    _, done, _ = trained
    card = done.card
    errors = card.metrics["share_errors"]
    assert (card.task, card.input, card.classes) == ("phases", "pixel_features", CLASSES)
    assert (errors["specimens"], errors["images"], len(errors["rms"])) == (3, 6, 3)
    assert card.trained_on[0].groups == 3
    json.loads(card.to_json())


def test_the_same_bytes_again(trained, tmp_path):
    path, _, _ = trained
    train_phases(dataset(), tmp_path / "model.onnx", FAST, name="model")
    assert (tmp_path / "model.onnx").read_bytes() == path.read_bytes()


def test_grey_stored_as_colour_is_grey():
    assert load_labelled(dataset(2, colour=True)).channels == 1


def test_one_image_gives_no_score(tmp_path):
    lines = []
    done = train_phases(dataset(1), tmp_path / "m.onnx", FAST, tell=lines.append)
    assert "share_errors" not in done.card.metrics
    assert any("nothing can be held out" in line for line in lines)


def test_one_specimen_is_held_out_by_image(tmp_path):
    lines = []
    done = train_phases(dataset(2, 1), tmp_path / "m.onnx", FAST, tell=lines.append)
    assert done.card.metrics["held_out_by"] == "image"
    assert any("one specimen" in line for line in lines)


def test_a_few_are_tested_on_the_rest(tmp_path):
    settings = PhaseSettings("forest", few=2, minutes=0.01, folds=2, jobs=1, trees=10)
    done = train_phases(dataset(4, 4), tmp_path / "m.onnx", settings)
    assert len(done.rest) == 2
    assert done.tested > 0.7


def test_the_few_are_of_many_specimens_and_all_classes():
    data = load_labelled(dataset(9, 3))
    few, rest = take_few(data, 3, seed=1)
    assert len({data.groups[i] for i in few}) == 3
    assert sorted([*few, *rest]) == list(range(9))
    assert (data.take(few).counts() > 0).all()
    with pytest.raises(InputError, match="there are 9"):
        take_few(data, 10, 0)


@pytest.mark.thorough
@pytest.mark.slow
def test_an_ensemble_from_labels_to_intervals(tmp_path):
    pytest.importorskip("torch")
    from layerscope.segmentation import run_phases

    settings = PhaseSettings("light-n", minutes=1, folds=2, jobs=1, steps=2, members=2)
    lines, path = [], tmp_path / "m.onnx"
    done = train_phases(dataset(4, 4), path, settings, tell=lines.append)
    assert any(line.startswith("trying 2 x light-n") for line in lines)
    assert done.card.settings["members"] == 2
    model = read_model(path)
    assert model.tells_spread
    _, spread = model.predict_with_spread(picture(9)[0])
    assert np.ptp(spread) > 0
    run = run_phases([Micrograph(picture(9)[0][..., 0])], model)
    assert run.images["disagreement"][0] > 0
    assert (run.areas["fraction_high"] > run.areas["fraction_low"]).all()
    again = PhaseSettings("light-n", path, minutes=1, folds=2, jobs=1, steps=1)
    more = train_phases(dataset(4, 4), tmp_path / "more.onnx", again)
    assert more.card.settings["members"] == 2
    assert len(more.card.trained_on) == 2


def test_settings_that_cannot_be_are_refused():
    for told, why in (
        ({"members": 0}, "1 to 10"),
        ({"members": 3, "network": "forest"}, "ensemble of its trees"),
        ({"weights": "imagenet"}, "unet/resnet18"),
    ):
        with pytest.raises(InputError, match=why):
            PhaseSettings(**told)


@pytest.mark.thorough
@pytest.mark.slow
def test_weights_of_an_encoder_are_loaded_and_told(tmp_path):
    torch = pytest.importorskip("torch")
    from layerscope.training.networks import ENCODERS

    encoder = ENCODERS["mobilenetv3-small"].make(channels=3, top=True)
    torch.save(encoder.state_dict(), tmp_path / "small.pth")
    lines, weights = [], str(tmp_path / "small.pth")
    settings = PhaseSettings(
        "fpn/mobilenetv3-small", minutes=1, folds=2, jobs=1, steps=1, weights=weights
    )
    done = train_phases(dataset(2), tmp_path / "m.onnx", settings, tell=lines.append)
    told = next(line for line in lines if line.startswith("encoder from small.pth"))
    assert "first convolution summed over RGB" in told
    assert done.card.settings["weights"] == told
    assert done.card.normalisation == "imagenet"
    wrong = replace(settings, network="fpn/resnet18")
    with pytest.raises(InputError, match="choose the file of this network"):
        train_phases(dataset(2), tmp_path / "n.onnx", wrong)


@pytest.mark.thorough
@pytest.mark.slow
def test_a_network_by_steps(tmp_path):
    """Few steps only: that it learns is measured in benchmarks/phases.py."""
    pytest.importorskip("torch")
    from layerscope.training.network_trial import load_fitting
    from layerscope.training.networks import build
    from layerscope.training.weights import read_state

    settings = PhaseSettings("light-n", minutes=1, folds=2, jobs=1, steps=2)
    lines = []
    done = train_phases(dataset(2), tmp_path / "m.onnx", settings, tell=lines.append)
    assert any(line.startswith("trying light-n on 2 of 2 folds") for line in lines)
    assert done.card.input == "image"
    assert done.card.metrics["held_out_images"] == 2
    maps = read_model(tmp_path / "m.onnx").predict(picture(7)[0])
    np.testing.assert_allclose(maps.sum(axis=2), 1, atol=1e-5)
    weights = read_state(tmp_path / "m.safetensors")
    other = build("light-n", channels=1, outputs=5)
    loaded, expected = load_fitting(other, weights)
    assert 0 < expected - loaded <= 2  # the last layer has other classes
    np.testing.assert_array_equal(
        other.state_dict()["body.stem.0.weight"], weights["body.stem.0.weight"]
    )


def test_without_torch_forests_are_tried(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(phases, "find_spec", lambda name: None if name == "torch" else True)
    lines = []
    settings = PhaseSettings(minutes=0.01, folds=2, jobs=1, trees=10)
    done = train_phases(dataset(2, 2), tmp_path / "m.onnx", settings, tell=lines.append)
    assert done.card.network == "forest"
    assert any("torch is not installed" in line for line in lines)
    with pytest.raises(MissingExtra, match="train"):
        train_phases(dataset(2, 2), tmp_path / "m.onnx", PhaseSettings("light-n"))


def test_a_forest_is_no_start(trained, tmp_path):
    with pytest.raises(InputError, match="is a forest"):
        train_phases(dataset(2), tmp_path / "m.onnx", PhaseSettings(start=trained[0]))


def test_what_cannot_be_learned_is_refused(tmp_path):
    image = np.zeros((30, 30), np.uint8)
    one = Example.from_arrays("a", image, np.zeros((30, 30), np.uint8))
    with pytest.raises(InputError, match="label some of a second class"):
        train_phases(DataSet((one,), ("a", "b")), tmp_path / "m.onnx", FAST)
    none = Example.from_arrays("a", image, np.full((30, 30), IGNORE, np.uint8))
    with pytest.raises(InputError, match="no image with labelled pixels"):
        train_phases(DataSet((none,), ("a", "b")), tmp_path / "m.onnx", FAST)
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        train_phases(dataset(2), tmp_path / "m.pt", FAST)
    with pytest.raises(InputError, match="folds"):
        PhaseSettings(folds=1)
