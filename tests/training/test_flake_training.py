"""Flake networks: targets, scenes, patches, loss, and that a little training helps."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from layerscope.core.evaluation import Objects  # noqa: E402
from layerscope.core.examples import IGNORE, DataSet, Example, Instance  # noqa: E402
from layerscope.core.micrograph import Micrograph  # noqa: E402
from layerscope.core.results import CropMasks, Flag  # noqa: E402
from layerscope.errors import InputError, UnknownName, UnreadableFile  # noqa: E402
from layerscope.measure.scores_overlap import mask_iou  # noqa: E402
from layerscope.models.file import read_model  # noqa: E402
from layerscope.models.judge import Judge  # noqa: E402
from layerscope.models.shipped import open_model  # noqa: E402
from layerscope.tasks.finders import choose_finder  # noqa: E402
from layerscope.training.flake_loss import flake_loss  # noqa: E402
from layerscope.training.flake_patches import MILD, Conditions, draw_batch, draw_patch  # noqa: E402
from layerscope.training.flake_targets import IGNORED, depth_of, meeting, targets_of  # noqa: E402
from layerscope.training.flakes import (  # noqa: E402
    FlakeSettings,
    Live,
    choose_parting,
    fine_tune,
    judge_of,
    load_base,
    scene_of,
    scenes_of,
    take_examples,
    train_flakes,
)
from layerscope.training.networks import build  # noqa: E402
from layerscope.training.pretrain import (  # noqa: E402
    PretrainSettings,
    fit_flakes,
    map_figures,
    pretrain,
)
from layerscope.training.scenes import open_scenes, render_scene  # noqa: E402
from layerscope.training.settings import FitSettings  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scene():
    return render_scene(3, 1, side_px=128)


def test_a_scene_is_the_same_each_time(scene):
    again = render_scene(3, 1, side_px=128)
    assert all(np.array_equal(getattr(scene, n), getattr(again, n)) for n in vars(scene))


def test_a_scene_is_consistent():
    for index in range(4):
        scene = render_scene(5, index, side_px=128)
        inside = scene.terraces > 0
        assert (scene.depth[~inside] == 0).all()
        assert not (inside & (scene.ignored > 0)).any()
        bare = ~inside & (scene.ignored == 0)
        assert abs(np.median(scene.contrast[bare].astype(float))) < 0.02
        for number in np.unique(scene.terraces)[1:]:
            assert scene.depth[scene.terraces == number].max() == 255


def test_scenes_on_disk_are_those_rendered(tmp_path):
    told = []
    first = open_scenes(tmp_path, 1, seed=3, side_px=128, progress=lambda *t: told.append(t))
    again = open_scenes(tmp_path, 1, seed=3, side_px=128, progress=lambda *t: told.append(t))
    assert told == [(1, 1)]
    assert np.array_equal(first[0].contrast, again[0].contrast)


@given(st.integers(0, 5000))
@settings(max_examples=15, deadline=None)
def test_targets_lie_in_their_ranges(seed):
    rng = np.random.default_rng(seed)
    terraces = np.kron(rng.integers(0, 4, (4, 4)), np.ones((8, 8))).astype(np.uint16)
    depth = depth_of(CropMasks.from_labels(terraces))
    foreground, boundary, deep = targets_of(terraces, depth, np.zeros((32, 32), np.uint8))
    assert set(np.unique(foreground)) <= {0.0, 1.0}
    assert set(np.unique(boundary)) <= {0.0, 1.0}
    assert deep.min() >= 0
    assert deep.max() <= 1
    assert (deep[foreground == 0] == 0).all()


def test_terraces_meet_where_they_touch_and_nowhere_else():
    terraces = np.zeros((12, 12), np.uint16)
    terraces[2:10, 2:6], terraces[2:10, 6:10] = 3, 7
    met = meeting(terraces)
    assert met[5, 5]
    assert met[5, 6]
    assert not met[5, 3]
    assert not met[0].any()
    terraces[2:10, 6:10] = 3
    assert not meeting(terraces).any()


def test_a_batch_depends_on_seed_and_step_only(scene):
    def draw(step, seed):
        return draw_batch([scene], step, seed=seed, count=2, side_px=64, conditions=Conditions())

    (x, y), (x2, y2) = draw(4, 1), draw(4, 1)
    assert np.array_equal(x, x2)
    assert np.array_equal(y, y2)
    assert x.shape == (2, 3, 64, 64)
    assert y.shape == (2, 3, 32, 32)
    assert not np.array_equal(x, draw(5, 1)[0])
    assert not np.array_equal(x, draw(4, 2)[0])


@pytest.mark.parametrize("conditions", [Conditions(), MILD])
def test_patches_are_finite_and_substrate_is_about_zero(scene, conditions):
    rng = np.random.default_rng(0)
    for _ in range(8):
        image, targets = draw_patch(scene, rng, 64, conditions)
        assert np.isfinite(image).all()
        assert np.isfinite(targets).all()
    if conditions is MILD:
        bare = targets[0] == 0
        assert abs(np.median(image[:, ::2, ::2][:, bare])) < 0.1


def test_the_right_maps_lose_least():
    targets = torch.zeros(1, 3, 16, 16)
    targets[:, 0, 4:12, 4:12] = 1
    targets[:, 2, 6:10, 6:10] = 1
    right = 12 * targets - 6
    assert flake_loss(right, targets) < 0.1 * flake_loss(torch.zeros_like(right), targets)
    assert flake_loss(right, targets) < 0.1 * flake_loss(-right, targets)


def test_ignored_pixels_teach_nothing():
    targets = torch.zeros(1, 3, 8, 8)
    targets[:, 0, 2:6, 2:6] = IGNORED
    logits = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    flake_loss(logits, targets).backward()
    assert (logits.grad[..., 2:6, 2:6] == 0).all()
    assert (logits.grad[:, 0, 0] != 0).all()


def test_training_lowers_the_loss(scene):
    network = build("flake-n", channels=3, outputs=3)
    batch = {"count": 2, "side_px": 64, "conditions": MILD}
    images, targets = (torch.from_numpy(a) for a in draw_batch([scene], 99, seed=5, **batch))

    def loss():
        network.half = True
        network.eval()
        with torch.no_grad():
            value = float(flake_loss(network(images), targets))
        network.half = False
        return value

    before = loss()
    fit_flakes(
        network, [scene], FitSettings(steps=8, learning_rate=3e-3, warmup_steps=2, ema=0.5),
        MILD, batch=2, side_px=64,
    )  # fmt: skip
    assert loss() < 0.95 * before
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)


def test_another_network_is_refused(scene):
    with pytest.raises(InputError, match="flake-n"):
        fit_flakes(torch.nn.Conv2d(3, 3, 1), [scene], FitSettings(), MILD, batch=1, side_px=64)


def test_figures_of_perfect_and_of_empty_maps():
    targets = np.zeros((1, 3, 32, 32), np.float32)
    targets[0, 0, 8:24, 8:24] = 1
    targets[0, 2, 12:20, 12:20] = 1
    perfect = map_figures(targets.copy(), targets)
    assert perfect["foreground_iou"] == perfect["recall"] == perfect["precision"] == 1
    assert map_figures(np.zeros_like(targets), targets)["recall"] == 0


def square(top, left, side, index=1, **more):
    box = (top, left, top + side, left + side)
    return Instance(index, box, np.ones((side, side), bool), **more)


def picture(side=96):
    image = np.full((side, side, 3), 120, np.uint8)
    image[20:60, 20:60] = (90, 100, 115)
    return image


def test_the_smaller_terrace_lies_on_the_larger():
    marks = [square(30, 30, 10, 2), square(20, 20, 40)]
    scene = scene_of(Example.from_arrays("a", picture(), marks))
    assert len(np.unique(scene.terraces)) == 3
    assert (scene.terraces[30:40, 30:40] == scene.terraces[35, 35]).all()
    assert scene.terraces[35, 35] != scene.terraces[25, 25]
    assert scene.contrast[25, 25, 0] == pytest.approx(-0.25, abs=0.01)


def test_boxes_and_crowds_are_ignored():
    marks = [Instance(1, (0, 0, 10, 10)), square(50, 50, 20, crowd=True), square(5, 5, 3)]
    scene = scene_of(Example.from_arrays("a", picture(), marks))
    assert scene.ignored[0, 0] == 1
    assert scene.ignored[60, 60] == 1
    assert scene.ignored[6, 6] == 0
    assert scene.terraces[6, 6] > 0


def test_areas_of_a_label_map_are_terraces():
    labels = np.zeros((96, 96), np.uint8)
    labels[5:15, 5:15], labels[5:15, 15:25], labels[40:50, 40:50] = 1, 2, 1
    labels[90:] = IGNORE
    scene = scene_of(Example.from_arrays("a", picture(), labels))
    assert len(np.unique(scene.terraces)) == 4
    assert (scene.ignored[90:] == 1).all()


def test_nothing_marked_is_refused():
    with pytest.raises(InputError, match="mark"):
        scenes_of(DataSet((Example.from_arrays("a", picture(), []),), ("background", "flake")))


def test_few_examples_are_of_as_many_specimens_as_there_are():
    marks = [square(20, 20, 40)]
    examples = tuple(
        Example.from_arrays(f"{g}{i}", picture(), marks, group=g) for g in "ab" for i in range(3)
    )
    data = DataSet(examples, ("background", "flake"))
    for seed in range(5):
        assert set(take_examples(data, 2, seed).groups) == {"a", "b"}
    assert len(take_examples(data, 0)) == 6
    with pytest.raises(InputError, match="6"):
        take_examples(data, 7)


def keep_exports(monkeypatch, module):
    """Let `module` write no file: ONNX is tested with `training.export`, and slow."""
    written = {}

    def export(network, card, path, half, beside=None):
        written.update(network=network, path=path, half=half)
        return card

    monkeypatch.setattr(f"layerscope.training.{module}.export_model", export)
    return written


def test_pretraining_resumes_and_does_not_overwrite_another(tmp_path, monkeypatch):
    written = keep_exports(monkeypatch, "pretrain")
    settings = PretrainSettings(
        minutes=0, steps=2, scenes=1, held_out=1, batch=1, side_px=64, scene_px=128
    )
    card = pretrain(tmp_path / "n.onnx", settings, cache=tmp_path / "cache")
    assert card.settings["steps_taken"] == 2
    assert {"synthetic_loss", "synthetic_recall"} <= set(card.metrics)
    assert written["half"]
    first = {k: v.clone() for k, v in written["network"].state_dict().items()}
    with pytest.raises(InputError, match="--resume"):
        pretrain(tmp_path / "m.onnx", settings, cache=tmp_path / "cache")
    pretrain(tmp_path / "m.onnx", settings, cache=tmp_path / "cache", resume=True)
    again = written["network"].state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first)


def test_fine_tuning_starts_from_the_shipped_network():
    data = DataSet(
        (Example.from_arrays("a", picture(), [square(20, 20, 40)]),), ("background", "flake")
    )
    settings = FlakeSettings(steps=1, batch=1, side_px=64, learning_rate=1e-9, minutes=0)
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 3, 64, 64)).astype(np.float32)
    shipped = open_model("flake-n")
    tuned = load_base("flake-n")
    fine_tune(tuned, scenes_of(data), settings)
    with torch.no_grad():
        tuned.half = True
        answer = tuned.eval()(torch.from_numpy(noise)).numpy()
    assert np.abs(shipped.logits(noise) - answer).max() < 0.05
    assert choose_parting(Live(shipped.card, tuned), data) in (0.1, 1.0)


def test_labels_decide_whether_colour_parts():
    """A network that draws the square whole, and labels of its two halves of different colour."""
    image = picture()
    image[20:60, 40:60] = (70, 85, 105)
    whole = [square(20, 20, 40)]
    halves = [Instance(1, (20, left, 60, left + 20), np.ones((40, 20), bool)) for left in (20, 40)]
    card = open_model("flake-n").card

    class Whole(torch.nn.Module):
        def forward(self, x):
            inside = (x.abs().mean(1, keepdim=True) > 0.05).float() * 20 - 10
            return torch.cat([inside, torch.full_like(inside, -10), inside], 1)

    for marks, wanted in ((whole, 1.0), (halves, 0.1)):
        data = DataSet((Example.from_arrays("a", image, marks),), ("background", "flake"))
        assert choose_parting(Live(card, Whole()), data) == wanted


def test_the_card_says_what_was_learned_from(monkeypatch):
    written = keep_exports(monkeypatch, "flakes")
    marks = [square(20, 20, 40)]
    examples = tuple(Example.from_arrays(n, picture(), marks, group="chip") for n in "ab")
    settings = FlakeSettings(geometry="learn", steps=1, batch=1, side_px=64, minutes=0)
    card = train_flakes(DataSet(examples, ("background", "flake")), "tuned.onnx", settings)
    assert (card.task, card.output, card.stride) == ("flakes", "instances", 32)
    assert (card.trained_on[-1].images, card.trained_on[-1].groups) == (2, 1)
    assert card.settings["steps_taken"] == 1
    assert card.settings["plateau_share"] in (0.1, 1.0)
    assert written["half"]


def a_chip(seed, flakes=10, side=256):
    """Dark squares, of which a person marks the fainter half, among others of the same sizes."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), 150.0)
    marks, places = [], [(y, x) for y in range(12, side - 48, 60) for x in range(12, side - 48, 60)]
    for k in range(flakes):
        (y, x), faint = places[k], k % 2 == 0
        image[y : y + 36, x : x + 36] *= (0.93, 0.9, 0.95) if faint else (0.7, 0.6, 0.8)
        if faint:
            marks.append(square(y, x, 36))
    noisy = image + rng.normal(0, 1, image.shape)
    return Example.from_arrays(f"chip{seed}", np.clip(noisy, 0, 255).astype(np.uint8), marks)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    data = DataSet(tuple(a_chip(s) for s in (1, 2)), ("background", "flake"))
    path = tmp_path_factory.mktemp("taught") / "flakes.onnx"
    return train_flakes(data, path, FlakeSettings(steps=1)), read_model(path)


@pytest.mark.parametrize("finder", ["network", "both"])
def test_two_images_teach_which_flakes_are_wanted(taught, finder):
    _, model = taught
    example = a_chip(7)
    image = Micrograph(example.read_image(), white_level=255.0)
    plain, _ = choose_finder(finder)(image)
    judged, _ = choose_finder(finder, model)(image)
    assert np.array_equal(judged.masks.labels(), plain.masks.labels())  # the same outlines
    marked = Objects.marked(example.instances, example.shape).masks
    wanted = mask_iou(judged.masks, marked).max(axis=1) >= 0.5
    assert wanted.sum() >= 4
    assert (~wanted).sum() >= 4
    assert judged.score[wanted].min() > 0.8
    assert judged.score[~wanted].max() < 0.2
    unlike = (judged.flags & Flag.UNLIKE_MARKED) > 0
    assert (unlike == ~wanted).all()


def test_few_images_leave_the_network_alone(taught):
    card, model = taught
    assert card.settings["steps_taken"] == 0
    assert card.metrics["held_out_f1"] > 0.9
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 3, 64, 64)).astype(np.float32)
    assert np.abs(open_model("flake-n").logits(noise) - model.logits(noise)).max() < 0.05
    assert model.card.thresholds == open_model("flake-n").card.thresholds


def test_where_all_or_none_is_marked_nothing_is_judged(tmp_path):
    live = Live(open_model("flake-n").card, load_base("flake-n").eval())
    alone = DataSet((a_chip(3, flakes=1),), ("background", "flake"))
    judge, figures = judge_of(live, alone)
    assert judge is None
    assert figures["marked_found"] >= 1
    elsewhere = replace(alone.examples[0], instances=(square(200, 200, 20),))
    with pytest.raises(InputError, match="--geometry learn"):
        train_flakes(DataSet((elsewhere,), alone.classes), tmp_path / "m.onnx")
    with pytest.raises(UnknownName, match="keep"):
        FlakeSettings(geometry="both")


def test_a_judge_is_read_as_it_was_written(taught):
    judge = taught[1].judge
    again = Judge.from_text(judge.to_text())
    assert again.to_text() == judge.to_text()
    for spoilt in ("", "{}", judge.to_text()[:-40], judge.to_text().replace("area", "size")):
        with pytest.raises(UnreadableFile, match="judge"):
            Judge.from_text(spoilt)
