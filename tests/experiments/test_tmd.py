"""The repeated study of TMD crystals: its pictures, gains, verdicts, and one seed of it."""

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from layerscope.core.evaluation import Objects  # noqa: E402
from layerscope.core.examples import DataSet, Example, Instance  # noqa: E402
from layerscope.errors import InputError  # noqa: E402
from layerscope.experiments.conduct import conduct, plan_of  # noqa: E402
from layerscope.experiments.folder import FILES, write_finding  # noqa: E402
from layerscope.experiments.study import Effort, Finding, Trial  # noqa: E402
from layerscope.experiments.tmd import TMD  # noqa: E402
from layerscope.experiments.tmd_beside import (  # noqa: E402
    CLAIMS,
    FROM_HETERO,
    GAUSSIAN,
    ISLANDS,
    LENSES,
    NOISY,
    NUMBERS,
    ONE_LENS,
    OTHER,
    PLAIN,
    SALT,
    SAME,
    SCRATCH,
    SIZE,
    lines_beside,
    ratio_percent,
    tables_beside,
    verdict,
)
from layerscope.experiments.tmd_crystals import (  # noqa: E402
    HETERO,
    THICKNESS,
    CrystalWorld,
    guess_islands,
    harmed,
    magnified,
    user_parts,
)
from layerscope.experiments.worlds import UserWorld  # noqa: E402
from layerscope.measure.scores_objects import object_figures, right_objects  # noqa: E402

TINY = Effort("tiny", "half-n", 64, 2, 1, 1, 2, 2, 2, 96)
WORLD = CrystalWorld()


def data_of(bright=200):
    """One picture with a bright square of class 1 and a bar of class 2."""
    image = np.full((80, 100, 3), 20, np.uint8)
    square, bar = np.ones((30, 30), bool), np.ones((8, 60), bool)
    image[10:40, 10:40], image[60:68, 20:80] = bright, bright
    objects = [Instance(1, (10, 10, 40, 40), square), Instance(2, (60, 20, 68, 80), bar)]
    return DataSet((Example.from_arrays("p", image, objects),), ("background", "a", "b"))


def trial(arm, panel, value, setting=None, **other):
    figures = {**dict.fromkeys(NUMBERS, value), "early_loss": 5.0, "parameters": 1.0, **other}
    return Trial(arm, figures, panel, setting)


def finding_of(gains):
    """Seeds of which `gains` tells n, s, scratch, transfer and noise."""
    trials = {}
    for seed, gain in enumerate(gains):
        trials[seed] = (
            trial(ISLANDS, "", 0.1),
            trial("n", SIZE, 0.5), trial("s", SIZE, 0.5 * gain), trial("m", SIZE, 0.7),
            trial(SCRATCH, SAME, 0.4),
            trial(FROM_HETERO, SAME, 0.4 * gain, early_loss=4 - seed / 9),
            trial(SCRATCH, OTHER, 0.4), trial(FROM_HETERO, OTHER, 0.4 + 0.05 * (-1) ** seed),
            *(trial(arm, panel, 0.5 - (0.002 * level if arm == NOISY else 0.02 * level), level)
              for panel in (GAUSSIAN, SALT) for arm in (PLAIN, NOISY) for level in (0.0, 20.0)),
            *(trial(ONE_LENS, LENSES, 0.5 - 0.2 * (x != 50), x) for x in (20.0, 50.0, 100.0)),
        )  # fmt: skip
    return Finding(TMD, trials, len(gains), plan_of(TMD, WORLD, TINY))


def test_a_gain_is_that_of_the_means_with_paired_seeds():
    one, other = np.array([0.6, 0.72, 0.66]), np.array([0.5, 0.6, 0.55])
    percent, low, high = ratio_percent(one, other)
    assert percent == pytest.approx(20)
    assert (low, high) == (pytest.approx(20), pytest.approx(20))  # every seed gains a fifth
    wider = ratio_percent(one + np.array([0.05, 0, -0.05]), other)
    assert wider[1] < 20 < wider[2]
    assert all(math.isnan(v) for v in ratio_percent(np.zeros(0), np.zeros(0)))


@pytest.mark.parametrize(
    ("expects", "low", "high", "said"),
    [
        ("gain", 10, 30, "holds"),
        ("gain", -30, -10, "does not hold"),
        ("gain", -30, 10, "not shown"),
        ("none", -4, 3, "holds"),
        ("none", -30, 10, "not shown"),
        ("none", 10, 30, "does not hold"),
        ("stable", -4, 1, "holds"),
        ("stable", -20, -6, "does not hold"),
        ("stable", -20, -4, "not shown"),
        ("gain", math.nan, math.nan, "no interval"),
    ],
)
def test_verdicts(expects, low, high, said):
    assert verdict(expects, 0.4, low, high) == said
    assert verdict(expects, 0.001, 1, 2).startswith("not told")


def test_every_sentence_is_told_beside_the_published_one():
    finding = finding_of([1.2, 1.22, 1.24])
    table = tables_beside(finding)["claims"].set_index("claim")
    assert len(table) == len(CLAIMS) + 1
    size = table.loc["s is better than n, masks"]
    assert (size["published_percent"], size["percent"]) == (21.37, pytest.approx(22))
    assert size["verdict"] == "holds"
    assert table.loc["another material: no gain, masks", "verdict"] == "not shown"
    assert table.loc["Gaussian noise of 20 % costs less than 5 %", "verdict"] == "does not hold"
    lines = "\n".join(lines_beside(finding))
    assert "published +3.90 %, here +22.0 %" in lines
    assert "Why it may be so" in lines
    early = table[table["figure"] == "early_loss"].iloc[0]
    assert early["verdict"] == "holds"


def test_what_was_not_run_is_said():
    finding = finding_of([1.2, 1.2])
    assert set(tables_beside(finding)["claims"]["verdict"]) == {"no interval"}
    some = Finding(TMD, {0: (trial(ISLANDS, "", 0.1), trial("n", SIZE, 0.5))}, 1, finding.plan)
    assert "not run" in set(tables_beside(some)["claims"]["verdict"])


def test_the_folder_of_a_finding(tmp_path):
    text = write_finding(finding_of([1.2, 1.22, 1.24]), tmp_path)
    assert "Beside the published study" in text
    assert {*FILES, "claims.csv"} <= {p.name for p in tmp_path.iterdir()}
    again = tmp_path / "again"
    again.mkdir()
    write_finding(finding_of([1.2, 1.22, 1.24]), again)
    for name in ("result.json", "plot.svg", "claims.csv"):
        assert (tmp_path / name).read_bytes() == (again / name).read_bytes()
    assert json.loads((tmp_path / "result.json").read_text())["study"] == "tmd"


def test_pictures_of_a_seed_are_the_same_and_others_differ():
    first = WORLD.pictures(1, "test", THICKNESS, "WTe2", TINY)
    assert first.classes == ("background", "thin", "thick", "bulk")
    other = WORLD.pictures(1, "target", THICKNESS, "WTe2", TINY)
    pixels = [d.examples[0].read_image() for d in (first, other)]
    assert not np.array_equal(*pixels)
    lateral = WORLD.pictures(1, "test", HETERO, "MoS2", TINY)
    assert lateral.classes == WORLD.classes
    assert len(WORLD.test(1, TINY)) == 2


def test_noise_leaves_objects_and_changes_pixels():
    data = data_of()
    noisy = harmed(data, "Salt and pepper", 20, 0)
    image = noisy.examples[0].read_image()
    share = np.mean((image == 0).all(axis=2) | (image == 255).all(axis=2))
    assert share == pytest.approx(0.2, abs=0.02)
    assert noisy.examples[0].instances == data.examples[0].instances
    spread = harmed(data, "Gaussian noise", 20, 0).examples[0].read_image()[:8].astype(float)
    assert spread.std() > 20


def test_the_middle_of_a_picture_keeps_what_is_seen_of_objects():
    (near,) = magnified(data_of(), 2).examples
    assert near.shape == (40, 50)
    (square,) = near.instances  # the bar is outside
    top, left, bottom, right = square.box
    assert (near.read_image()[top:bottom, left:right] == 200).all()
    assert square.area_px == 20 * 15


def test_islands_are_found_and_scored():
    figures = guess_islands(data_of(), common=1)
    assert figures["mask_ap50"] == pytest.approx(0.5)  # the bar has another class


def test_figures_of_right_and_of_wrong_objects():
    data = data_of()
    marked = Objects.marked(data.examples[0].instances, data.examples[0].shape)
    found = Objects.found(marked.masks, marked.class_index, np.array([0.9, 0.8]))
    assert set(object_figures([(found, marked)], 2).values()) == {1.0}
    swapped = Objects.found(marked.masks, marked.class_index[::-1].copy(), found.score)
    assert set(object_figures([(swapped, marked)], 2).values()) == {0.0}
    assert right_objects(found, marked).tolist() == [True, True]
    assert right_objects(swapped, marked).tolist() == [False, False]
    twice = found.take(np.array([0, 0]))
    assert right_objects(twice, marked).tolist() == [True, False]
    with pytest.raises(InputError):
        object_figures([], 2)


def test_a_users_pictures_must_have_objects():
    image = data_of().examples[0].read_image()
    maps = [
        Example.from_arrays(f"p{i}", image, np.zeros(image.shape[:2], np.uint8)) for i in (0, 1)
    ]
    with pytest.raises(InputError, match="outlines"):
        user_parts(UserWorld(DataSet(tuple(maps), ("background", "a"))), 0, TINY)


@pytest.mark.thorough
@pytest.mark.parametrize("of_user", [False, True])
def test_one_seed_is_run_and_kept(tmp_path, of_user):
    world = WORLD
    if of_user:
        pairs = [WORLD.pictures(s, "target", HETERO, "MoS2", TINY).examples for s in (1, 2, 3)]
        named = [
            Example.from_arrays(f"p{i}", e.read_image(), e.instances)
            for i, e in enumerate(e for pair in pairs for e in pair)
        ]
        world = UserWorld(DataSet(tuple(named), WORLD.classes))
    finding = conduct(TMD, world, TINY, tmp_path, seeds=1)
    panels = {t.panel for t in finding.trials[0]}
    assert {SIZE, SAME, GAUSSIAN, SALT, LENSES} <= panels
    assert (OTHER in panels) is not of_user
    write_finding(finding, tmp_path)
    again = conduct(TMD, world, TINY, tmp_path, seeds=1)
    assert again.trials == finding.trials
