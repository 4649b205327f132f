"""Training of categories: what is learned from, calibrated, written, and what it answers."""

import json

import numpy as np
import pytest
from category_files import ASKED, SIZE, write_folder
from scipy.special import log_softmax

from layerscope.core.categories import NOT_ASKED
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.label_sheets import read_label_sheet
from layerscope.models import answers
from layerscope.models.answers import ask_picture, questionnaire_of
from layerscope.models.file import read_model
from layerscope.training import categories
from layerscope.training.categories import agreement, train_categories
from layerscope.training.category_data import find_sheet, load_categories
from layerscope.training.category_features import fit_features
from layerscope.training.category_settings import CategorySettings
from layerscope.training.category_trial import CategoryCandidate, fit_temperatures, per_answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def data(folder):
    return load_categories(folder, read_label_sheet(find_sheet(folder), ASKED), SIZE)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "linear.onnx"
    lines = []
    settings = CategorySettings("features", folds=4, jobs=1)
    return train_categories(data, path, settings, tell=lines.append), path, lines


def test_what_is_learned_from(data):
    assert [q.answers for q in data.questionnaire.questions] == [("bars", "blobs"), ("no", "yes")]
    assert (len(data), data.specimens, data.scale_kind) == (48, 16, "magnification")
    assert data.scale_range == (2000, 50_000)
    low = data.scales == 2000
    assert (data.targets[low, 1] == NOT_ASKED).all()
    assert (data.targets[~low, 1] != NOT_ASKED).all()
    assert data.targets[5, 0] == NOT_ASKED
    assert (data.targets[:, 0] == NOT_ASKED).sum() == 1
    said = "; ".join(data.notes)
    assert "dots: 11 answers at a magnification that cannot show it" in said
    assert "shape: never answered, never learned: both" in said


def test_held_out_scores_stand_beside_the_majority(trained):
    done, _, lines = trained
    figures = {(f.group, f.name): f for f in done.figures}
    for question in ("shape", "dots"):
        assert figures[question, "macro_f1"].value > 0.85
        assert figures[question, "kappa"].value > 0.7
        assert figures[question, "accuracy"].baseline < 0.7
        assert figures[question, "accuracy"].low <= figures[question, "accuracy"].value
    assert done.card.metrics["macro_f1"] > done.card.metrics["macro_f1_majority"] + 0.3
    assert any("most frequent answer" in line for line in lines)
    assert any(line.startswith("chosen: features") for line in lines)
    assert done.card.metrics["held_out_by"] == "specimen"


def test_the_file_answers_as_it_was_trained(data, trained):
    done, path, _ = trained
    model = read_model(path)
    assert questionnaire_of(model.card) == data.questionnaire
    right = np.zeros(2)
    for row in range(12):
        answers = ask_picture(model, data.picture(row)[..., 0], data.scales[row])
        for q, probability in enumerate(answers):
            assert probability.sum() == pytest.approx(1)
            right[q] += probability.argmax() == data.targets[row, q]
    assert right[0] >= 11
    with pytest.raises(InputError, match="--task categories"):
        model.predict(data.picture(0))
    assert json.loads(done.card.to_json())["settings"]["size_px"] == SIZE


def test_a_model_of_other_features_is_refused(data, trained, monkeypatch):
    _, path, _ = trained
    monkeypatch.setattr(answers, "N_FEATURES", 17)
    with pytest.raises(UnreadableFile, match="this version measures 17: train it again"):
        ask_picture(read_model(path), data.picture(0)[..., 0], 50_000.0)


def test_the_same_labels_give_the_same_bytes(data, trained, tmp_path):
    _, path, _ = trained
    again = tmp_path / "linear.onnx"
    train_categories(data, again, CategorySettings("features", folds=4, jobs=1))
    assert again.read_bytes() == path.read_bytes()


def test_few_images_or_one_answer_teach_nothing(tmp_path):
    root = write_folder(tmp_path / "few", number=3)
    with pytest.raises(InputError, match="3 images with answers"):
        load_categories(root, read_label_sheet(find_sheet(root), ASKED), SIZE)
    root = write_folder(tmp_path / "one", number=6)
    sheet = root / "labels.csv"
    sheet.write_text("image,shape\n" + "".join(
        f"{p.name},bars\n" for p in (root / "images").iterdir()))  # fmt: skip
    with pytest.raises(InputError, match="no question has two different answers"):
        load_categories(root, read_label_sheet(sheet, ASKED), SIZE)
    (root / "second.xlsx").write_bytes(b"")
    with pytest.raises(InputError, match="say which"):
        find_sheet(root)


def test_a_bad_image_is_left_out_and_said(tmp_path):
    root = write_folder(tmp_path / "data", number=8)
    first = sorted((root / "images").iterdir())[0]
    first.write_bytes(b"no image")
    found = load_categories(root, read_label_sheet(find_sheet(root), ASKED), SIZE)
    assert len(found) == 7
    assert any(first.name in note for note in found.notes)


def test_trees_and_a_linear_model_answer_together(data):
    rng = np.random.default_rng(3)
    features, asked = rng.normal(size=(60, 4)), data.questionnaire
    targets = np.stack([(features[:, 0] > 0), np.abs(features[:, 1]) < 0.6], axis=1).astype(int)
    both = CategoryCandidate("features", 0.3, trees=True)
    assert str(both) == "features, logistic regression and trees, C = 0.3"
    alone = [fit_features(c, features, targets, asked, 0) for c in both.members]
    together = fit_features(both, features, targets, asked, 0)
    seen = rng.normal(size=(400, 4))
    np.testing.assert_allclose(
        together.logits(seen), np.mean([a.logits(seen) for a in alone], axis=0)
    )
    step = np.abs(seen[:, 1]) < 0.6  # within a band: no sum of features says that
    right = [(a.logits(seen)[:, 2:].argmax(axis=1) == step).mean() for a in alone]
    assert right[1] > 0.8 > right[0]


def test_a_temperature_makes_overconfident_answers_calibrated(data):
    rng = np.random.default_rng(1)
    n, asked = 4000, data.questionnaire
    logits = rng.normal(0, 1.5, (n, len(asked.classes)))
    targets = np.stack(
        [(logits[:, p] + rng.gumbel(size=(n, 2))).argmax(axis=1) for p in asked.slices], axis=1
    )  # drawn from softmax(logits)
    stretched = logits * per_answer(np.array([3.0, 0.5]), asked)
    found = fit_temperatures(stretched, targets, asked)
    np.testing.assert_allclose(found, [3.0, 0.5], rtol=0.1)
    loss = -log_softmax(stretched[:, :2] / found[0], axis=1)[np.arange(n), targets[:, 0]].mean()
    for other in (found[0] * 1.2, found[0] / 1.2):
        worse = -log_softmax(stretched[:, :2] / other, axis=1)[np.arange(n), targets[:, 0]].mean()
        assert loss < worse


@pytest.mark.parametrize(("way", "sure"), [({"looseness": 1.0}, 0.999), ({"trees": True}, 0.99)])
def test_an_answer_without_examples_is_improbable_not_impossible(data, way, sure):
    features = np.random.default_rng(0).normal(size=(20, 5))
    targets = np.stack([np.zeros(20, np.int64), np.full(20, NOT_ASKED)], axis=1)
    candidate = CategoryCandidate("features", **way)
    fitted = fit_features(candidate, features, targets, data.questionnaire, 0)
    logits = fitted.logits(features)
    probability = np.exp(log_softmax(logits[:, :2], axis=1))
    assert (probability[:, 0] > sure).all()
    assert (probability[:, 1] > 1e-4).all()
    np.testing.assert_allclose(logits[:, 2], logits[:, 3])


def test_two_labellers(tmp_path):
    sheets = []
    for k, flip in enumerate((0, 6)):
        text = "image,specimen,shape\n" + "".join(
            f"a{i}.tif,s{i // 2},{'bars' if (i % 2) ^ (i < flip) else 'blobs'}\n"
            for i in range(40 - k)
        )
        (tmp_path / f"{k}.csv").write_text(text)
        sheets.append(read_label_sheet(tmp_path / f"{k}.csv", ASKED))
    figures = {f.name: f for f in agreement(*sheets)}
    assert figures["accuracy"].value == pytest.approx(33 / 39)
    assert 0.6 < figures["kappa"].value < 0.75
    assert figures["kappa"].low < figures["kappa"].value < figures["kappa"].high
    alike = {f.name: f.value for f in agreement(sheets[0], sheets[0])}
    assert alike["kappa"] == 1


# Networks


def test_a_network_learns_from_what_was_answered_only(data):
    torch = pytest.importorskip("torch")
    from layerscope.training.category_network import answer_loss

    loss = answer_loss(data.questionnaire)
    logits = torch.randn(3, 4, requires_grad=True)
    targets = torch.tensor([[0, NOT_ASKED], [1, NOT_ASKED], [NOT_ASKED, NOT_ASKED]])
    loss(logits, targets).backward()
    assert (logits.grad[:, 2:] == 0).all()
    assert (logits.grad[2] == 0).all()
    wanted = torch.nn.functional.cross_entropy(logits[:2, :2], targets[:2, 0])
    assert float(loss(logits.detach(), targets)) == pytest.approx(float(wanted.detach()))
    assert float(loss(logits.detach(), torch.full((3, 2), NOT_ASKED))) == 0


@pytest.mark.thorough
def test_a_network_is_trained_written_and_asked(data, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from layerscope.training.category_network import (
        AnswerNetworkSettings,
        network_logits,
        train_answers,
    )
    from layerscope.training.weights import read_state

    rows = np.arange(len(data))
    how = AnswerNetworkSettings("categories-n", steps=80)
    network = train_answers(data, rows, how)
    logits = network_logits(network, data, rows, "standard")
    known = data.targets[:, 0] != NOT_ASKED
    assert (logits[known, :2].argmax(axis=1) == data.targets[known, 0]).mean() > 0.8

    path = tmp_path / "net.onnx"
    done = train_categories(data, path, CategorySettings("categories-n", steps=2, folds=2, jobs=1))
    assert done.card.input == "image"
    assert done.card.metrics["onnx_parity"] < 1e-3
    assert path.with_suffix(".safetensors").exists()
    model = read_model(path)
    told, untold = (
        ask_picture(model, data.picture(0)[..., 0], s) for s in (50_000.0, float("nan"))
    )
    assert all(np.isfinite(p).all() for p in (*told, *untold))
    assert not np.allclose(told[0], untold[0], atol=1e-6)

    lines, kept = [], path.with_suffix(".safetensors")
    how = AnswerNetworkSettings("categories-n", start=kept, steps=1, learning_rate=1e-12, seed=9)
    same = train_answers(data, rows, how).state_dict()
    for name, value in read_state(kept).items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(same[name], value, atol=1e-6, rtol=0)
    with monkeypatch.context() as patch:
        patch.setattr(categories._Training, "_finish", categories._Training._card)
        go_on = CategorySettings(start=path, steps=1, folds=2, jobs=1)
        more = train_categories(data, path, go_on, tell=lines.append)
    assert more.card.network == "categories-n"
    assert [t.images for t in more.card.trained_on] == [48]  # told once
    assert "starts from net, categories-n" in lines
    assert "48 of these images taught net already: held-out scores are too good" in lines


def test_what_cannot_be_gone_on_from_is_refused(trained):
    _, path, _ = trained
    with pytest.raises(InputError, match="on features"):
        categories.base_of(path)
    with pytest.raises(InputError, match="brings its network"):
        CategorySettings("resnet18", start=path)


def test_batches_depend_on_the_step_only_and_keep_the_frame(data):
    pytest.importorskip("torch")
    from layerscope.training.category_network import AnswerNetworkSettings, _Batches

    source = _Batches(data, np.arange(10), AnswerNetworkSettings("categories-n", steps=1, batch=4))
    x, y = source.batch(7)
    x_again, y_again = source.batch(7)
    np.testing.assert_array_equal(x, x_again)
    np.testing.assert_array_equal(y, y_again)
    assert x.shape == (4, 2, SIZE, SIZE)
    assert y.shape == (4, 2)
    assert not np.array_equal(source.batch(8)[0], x)
