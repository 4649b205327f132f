"""Studies: every one runs, goes on where it stopped, and says only what its figures show."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.core.examples import DataSet, Example
from layerscope.errors import InputError, UnreadableFile
from layerscope.experiments import EXPERIMENTS
from layerscope.experiments.adaptation import shift_colours
from layerscope.experiments.conduct import conduct, plan_of
from layerscope.experiments.figure import draw_finding
from layerscope.experiments.folder import FILES, write_finding
from layerscope.experiments.labelled import Labelled, classes_of, layer_ranges
from layerscope.experiments.learning import figures_of, guess_majority
from layerscope.experiments.perturbation import PERTURBATIONS
from layerscope.experiments.repaint import Paintbox, repaint
from layerscope.experiments.study import EFFORTS, MAJORITY, Effort, Finding, Study, Trial
from layerscope.experiments.summary import comparison_table, mean_table, reading, t_interval
from layerscope.experiments.worlds import CLASSES, SyntheticWorld, UserWorld

TINY = Effort("tiny", "light-n", 32, 2, 2, 2, 2, 3, 2, 64)
WORLD = SyntheticWorld()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def coin(gap, spread=0.02):
    """A study of two arms that differ by `gap`, without a network."""

    def run(world, seed, effort):
        wobble = spread * (-1) ** seed
        yield Trial("plain", {"mean_iou": 0.5 + 0.1 * seed}, setting=1)
        yield Trial("better", {"mean_iou": 0.5 + 0.1 * seed + gap + wobble}, setting=1)

    return Study("coin", "Is it better?", run, (("better", "plain"),), "coins")


@pytest.mark.thorough
@pytest.mark.parametrize("name", [n for n in EXPERIMENTS if n != "wse2"])
def test_every_study_runs_and_its_pairs_are_arms(name, tmp_path):
    study = EXPERIMENTS[name]
    assert study.name == name
    finding = conduct(study, WORLD, TINY, tmp_path, seeds=1)
    arms = {t.arm for t in finding.trials[0]}
    assert {arm for pair in study.pairs for arm in pair} | {MAJORITY} == arms
    assert all(0 <= t.figures["mean_iou"] <= 1 for t in finding.trials[0])
    text = write_finding(finding, tmp_path)
    assert all((tmp_path / f).stat().st_size for f in FILES)
    assert study.question in text
    assert "3 seeds or more are needed" in text
    compared = pd.read_csv(tmp_path / "comparisons.csv")
    assert {tuple(p) for p in compared[["arm", "against"]].to_numpy()} == set(study.pairs)


@pytest.mark.thorough
def test_same_seed_same_figures():
    run = EXPERIMENTS["transfer"].run
    assert list(run(WORLD, 3, TINY)) == list(run(WORLD, 3, TINY))


def test_same_finding_same_bytes(tmp_path):
    for folder in ("a", "b"):
        finding = conduct(coin(0.1), WORLD, TINY, tmp_path / folder, seeds=3)
        write_finding(finding, tmp_path / folder)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_second_call_goes_on(tmp_path):
    ran = []

    def run(world, seed, effort):
        ran.append(seed)
        yield Trial("plain", {"mean_iou": 0.5})

    study = Study("counted", "?", run, ())
    conduct(study, WORLD, TINY, tmp_path, seeds=2)
    finding = conduct(study, WORLD, TINY, tmp_path, seeds=3)
    assert ran == [0, 1, 2]
    assert sorted(finding.trials) == [0, 1, 2]


def test_another_plan_in_the_same_folder_is_refused(tmp_path):
    study = coin(0.1)
    conduct(study, WORLD, TINY, tmp_path, seeds=1)
    with pytest.raises(InputError, match="another effort"):
        conduct(study, WORLD, replace(TINY, steps=5), tmp_path, seeds=1)
    with pytest.raises(InputError, match="another world"):
        conduct(study, SyntheticWorld("WSe2"), TINY, tmp_path, seeds=1)


def test_labels_that_changed_are_another_world(tmp_path):
    data = dataset(("bg", "flake"))
    conduct(coin(0.1), UserWorld(data), TINY, tmp_path, seeds=1)
    conduct(coin(0.1), UserWorld(data), TINY, tmp_path, seeds=1)
    with pytest.raises(InputError, match="another world"):
        conduct(coin(0.1), UserWorld(data.take(range(7))), TINY, tmp_path, seeds=1)


def test_a_damaged_seed_is_named(tmp_path):
    conduct(coin(0.1), WORLD, TINY, tmp_path, seeds=1)
    (tmp_path / "seeds" / "0000.json").write_text("[{")
    with pytest.raises(UnreadableFile, match=r"0000\.json"):
        conduct(coin(0.1), WORLD, TINY, tmp_path, seeds=1)


def test_no_seed_is_begun_that_would_end_too_late(tmp_path):
    ticks = iter(range(0, 10_000, 20))  # every look at the clock costs 20 s
    done = conduct(coin(0.1), WORLD, TINY, tmp_path, seeds=9, minutes=2, clock=lambda: next(ticks))
    assert 1 <= len(done.trials) < 9
    assert f"{len(done.trials)} seeds of 9: call again" in reading_of(done)


def finding_of(study, seeds):
    trials = {s: tuple(study.run(WORLD, s, TINY)) for s in range(seeds)}
    trials = {s: (Trial(MAJORITY, {"mean_iou": 0.2}), *t) for s, t in trials.items()}
    return Finding(study, trials, seeds, plan_of(study, WORLD, TINY))


def reading_of(finding):
    return reading(finding, mean_table(finding), comparison_table(finding))


def test_reading_tells_shown_from_not_shown():
    assert "+0.104 [+0.077 to +0.131]: shown" in reading_of(finding_of(coin(0.1), 5))
    assert ": not shown" in reading_of(finding_of(coin(0.001), 5))
    assert "(no interval)" in reading_of(finding_of(coin(0.1), 2))


def test_reading_names_only_what_a_study_used():
    finding = finding_of(coin(0.1), 3)
    network = finding.plan["effort"]["network"]
    assert f"{network}, {TINY.steps} steps, {TINY.source_steps} on a source" in reading_of(finding)
    sizes = replace(coin(0.1), pairs=((network, "plain"),), has_source=False)
    finding = replace(finding, study=replace(finding.study, has_source=False))
    assert "on a source" not in reading_of(finding)
    assert not EXPERIMENTS["size"].has_source
    assert not EXPERIMENTS["noise"].has_source
    trials = {
        seed: tuple(replace(t, arm=network if t.arm == "better" else t.arm) for t in found)
        for seed, found in finding.trials.items()
    }
    told = reading_of(replace(finding, study=sizes, trials=trials))
    assert f"Here {network}" not in told
    assert f"Here {TINY.steps} steps." in told


def test_a_figure_promises_no_bars_that_it_has_not():
    for seeds, said in ((1, "too few seeds for intervals"), (3, "bars: 95 % interval over seeds")):
        figure = draw_finding(finding_of(coin(0.1), seeds))
        texts = {t.get_text() for t in figure.findobj(match=Text)}
        assert any(said in text for text in texts), seeds


def test_differences_are_taken_seed_by_seed():
    """Seeds differ by 0.1 each, the arms by 0.02: only the difference of a pair shows it."""
    row = comparison_table(finding_of(coin(0.02, spread=0.0), 5)).iloc[0]
    assert row["difference"] == pytest.approx(0.02)
    assert row["shown"] == "yes"
    means = mean_table(finding_of(coin(0.02, spread=0.0), 5)).set_index("arm")
    assert means.loc["plain", "mean_iou_high"] > means.loc["better", "mean_iou"]


def test_interval_is_that_of_student():
    low, high = t_interval(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.302653 / np.sqrt(3), 2 + 4.302653 / np.sqrt(3)))
    assert np.isnan(t_interval(np.array([1.0, 2.0]))).all()


def test_figures_are_those_of_the_table():
    table = np.array([[80, 10, 0], [5, 5, 0], [0, 0, 0]])
    found = figures_of(table)
    assert found["mean_iou"] == pytest.approx((80 / 95 + 5 / 20) / 2)
    assert found["flake_iou"] == pytest.approx(5 / 20)
    labels = np.zeros((4, 5), np.uint8)
    labels[0] = 1
    one = Labelled((np.zeros((4, 5, 3), np.uint8),), (labels,))
    assert guess_majority(one, 2)["mean_iou"] == pytest.approx(0.75 / 2)


@pytest.mark.parametrize(
    ("names", "ranges"),
    [
        (CLASSES, ((0, 0), (1, 1), (2, 2), (3, 5), (6, 300))),
        (("bg", "1L", "2L", ">=3"), ((0, 0), (1, 1), (2, 2), (3, 300))),
        (("bg", "monolayer", "bilayer", "few-layer", "bulk"),
         ((0, 0), (1, 1), (2, 2), (2, 5), (6, 300))),
        (("bg", "flake"), ((0, 0), (1, 300))),
        (("bg", "flake", "hole"), None),
    ],
)  # fmt: skip
def test_layers_of_class_names(names, ranges):
    assert layer_ranges(names) == ranges


def test_classes_of_layers():
    layers = np.array([[0, 1, 2, 3, 5, 6, 299, 4000]])
    assert classes_of(layers, layer_ranges(CLASSES)).tolist() == [[0, 1, 2, 3, 3, 4, 4, 4]]


def scene(value):
    image = np.zeros((40, 60, 3), np.float32)
    labels = np.zeros((40, 60), np.uint8)
    labels[8:30, 10:40] = 2
    image[labels == 2] = value
    image += np.random.default_rng(0).normal(0, 0.01, image.shape).astype(np.float32)
    return Labelled((image,), (labels,))


def test_repainting_gives_the_colour_of_the_wanted_material_and_keeps_the_rest():
    box = Paintbox("MoS2", "SiO2(90nm)/Si")
    before = scene((-0.1, -0.08, 0.02))
    after = repaint(before, layer_ranges(CLASSES), box, np.random.default_rng(3))
    wanted = box.draw(np.random.default_rng(3))[2] - 1
    inside = np.s_[12:26, 14:36]
    assert after.images[0][inside].mean(axis=(0, 1)) == pytest.approx(wanted, abs=0.01)
    assert after.images[0][:, 50:] == pytest.approx(before.images[0][:, 50:], abs=1e-6)
    assert np.array_equal(after.labels[0], before.labels[0])


def test_noise_of_a_black_flake_is_not_blown_up():
    box = Paintbox("hBN", "SiO2(285nm)/Si")
    after = repaint(scene(-0.97), layer_ranges(CLASSES), box, np.random.default_rng(3))
    assert after.images[0][12:26, 14:36].std(axis=(0, 1)).max() < 0.03


def test_drawn_colours_agree_with_thin_film_physics():
    from layerscope.physics.materials import load
    from layerscope.physics.thin_film import Stack, contrast_ladder

    stack = Stack.parse("SiO2(90nm)/Si")
    drawn = [Paintbox("graphene", str(stack)).draw(np.random.default_rng(s)) for s in range(40)]
    nominal = contrast_ladder(load("graphene"), stack, max_layers=3)
    low, high = np.quantile(np.array(drawn)[:, 1:4] - 1, [0.02, 0.98], axis=0)
    assert (nominal > low).all()
    assert (nominal < high).all()


def test_shifting_colours_leaves_the_substrate():
    x = np.zeros((2, 3, 8, 8), np.float32)
    x[:, :, 4:] = -0.2
    rng = np.random.default_rng(0)
    assert shift_colours((1.0, 1.0), swap=False)(x, rng) == pytest.approx(x, abs=1e-6)
    changed = shift_colours((0.4, 2.5), swap=True)(x, rng)
    assert (changed[:, :, :4] == 0).all()
    assert (changed[:, :, 4:] < 0).all()
    assert not np.allclose(changed[:, 0], changed[:, 1])


@pytest.mark.parametrize("trouble", PERTURBATIONS, ids=lambda p: p.name)
def test_first_level_of_a_trouble_changes_nothing(trouble):
    test = WORLD.test(0, TINY)
    kept = trouble.applied(test, trouble.levels[0], 0)
    assert kept.images[0] == pytest.approx(test.images[0] / 255, abs=1e-6)
    harmed = trouble.applied(test, trouble.levels[-1], 0)
    assert harmed.labels[0].shape == harmed.images[0].shape[:2]
    same = harmed.images[0].shape == kept.images[0].shape
    assert not same or not np.allclose(harmed.images[0], kept.images[0], atol=0.01)


def test_salt_and_pepper_hit_the_share_that_is_told():
    grey = Labelled((np.full((200, 200, 3), 0.5, np.float32),), (np.zeros((200, 200), np.uint8),))
    harmed = next(p for p in PERTURBATIONS if p.name == "Salt and pepper").applied(grey, 20, 1)
    assert (harmed.images[0] == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert (harmed.images[0] == 1).mean() == pytest.approx(0.1, abs=0.01)


def dataset(classes, n=8):
    picture = WORLD.test(0, TINY)
    image, labels = picture.images[0], np.minimum(picture.labels[0], len(classes) - 1)
    examples = [
        Example.from_arrays(f"e{i}", image + i, labels, group=f"chip{i // 2}") for i in range(n)
    ]
    return DataSet(tuple(examples), classes)


def test_specimens_of_a_user_are_on_one_side_of_a_split():
    world = UserWorld(dataset(("bg", "flake")))
    for seed in range(4):
        train = {int(i[0, 0, 0]) for i in world.target(seed, TINY).images}
        test = {int(i[0, 0, 0]) for i in world.test(seed, TINY).images}
        first = int(world.data.examples[0].read_image()[0, 0, 0])
        assert not {(v - first) // 2 for v in train} & {(v - first) // 2 for v in test}


def test_a_users_data_run_with_synthetic_sources(tmp_path):
    world = UserWorld(dataset(("bg", "1 layer", "2+ layers")))
    finding = conduct(EXPERIMENTS["transfer"], world, TINY, tmp_path, seeds=1)
    assert "too short for other images" in reading_of(finding)


def test_classes_without_layer_numbers_are_said():
    world = UserWorld(dataset(("bg", "flake", "hole")))
    with pytest.raises(InputError, match="no layer numbers"):
        list(EXPERIMENTS["adaptation"].run(world, 0, TINY))
    with pytest.raises(InputError, match="name them alike"):
        UserWorld(dataset(("bg", "flake")), other_data=dataset(("bg", "1L", "2L")))
    with pytest.raises(InputError, match="give --source"):
        list(EXPERIMENTS["transfer"].run(world, 0, TINY))


def test_a_users_own_source_needs_no_layer_numbers():
    names = ("bg", "flake", "hole")
    world = UserWorld(dataset(names), other_data=dataset(names))
    arms = {t.arm for t in EXPERIMENTS["few-shot"].run(world, 0, TINY)}
    assert arms == {"from scratch", "from another material"}


def test_command(tmp_path, monkeypatch):
    monkeypatch.setitem(EFFORTS, "small", TINY)
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["experiment", "adaptation", "--seeds", "1", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "re-render" in done.output
    result = json.loads((out / "result.json").read_text())
    assert result["seeds"] == 1
    assert {r["arm"] for r in result["means"]} >= {"plain transfer", "re-rendered from physics"}
