"""The repeated WSe2 study: pictures asked in two ways, claims and verdicts."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from layerscope.errors import InputError, UnknownName, UnreadableFile  # noqa: E402
from layerscope.experiments import EXPERIMENTS  # noqa: E402
from layerscope.experiments.conduct import conduct, plan_of  # noqa: E402
from layerscope.experiments.films import FilmWorld  # noqa: E402
from layerscope.experiments.folder import FILES, write_finding  # noqa: E402
from layerscope.experiments.study import (  # noqa: E402
    Effort,
    Finding,
    Trial,
)
from layerscope.experiments.summary import mean_table  # noqa: E402
from layerscope.experiments.wse2 import WSE2, guess_mean, with_weights  # noqa: E402
from layerscope.experiments.wse2_arms import (  # noqa: E402
    ARMS,
    CNN_I,
    MLP_I,
    MLP_M,
    SCRATCH,
    SCRATCH_STAR,
    SEG_I,
    SEG_NONE,
    Trained,
    arms_of,
    train_arm,
)
from layerscope.experiments.wse2_beside import (  # noqa: E402
    AS_PUBLISHED,
    CLAIMS,
    NOTHING,
    PATCHES,
    PUBLISHED,
    WHOLE,
    tables_beside,
)
from layerscope.experiments.wse2_stand_in import stand_in  # noqa: E402
from layerscope.experiments.wse2_whole import ask_as_published, ask_whole  # noqa: E402
from layerscope.training.coverage_models import COVERAGE_MODELS  # noqa: E402

TINY = Effort("tiny", "tiny", 96, 2, 1, 1, 2, 3, 2, 192)
WORLD = FilmWorld()


class Mean(torch.nn.Module):
    """Answers a patch with its mean: the right coverage of a black and white picture."""

    stride = 32

    def forward(self, x):
        return x.mean((1, 2, 3))[:, None]


class Bright(torch.nn.Module):
    """Logit above 0 where the picture is bright."""

    stride = 32

    def forward(self, x):
        return x[:, :1] - 0.5


def trained(network, arm, **changes):
    model = replace(arm.sized(TINY, {}), normalisation="unit", **changes)
    return Trained(arm, model, network)


def stripes(shape, share):
    """Black and white picture whose left part is film."""
    labels = np.zeros(shape, np.uint8)
    labels[:, : round(share * shape[1])] = 1
    return 255 * labels[:, :, None], labels


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(219, 219), (192, 384), (300, 240)])
def test_a_segmenter_finds_the_same_film_either_way(shape):
    image, labels = stripes(shape, 0.5)
    for ask in (ask_whole, ask_as_published):
        said = ask(trained(Bright(), SEG_I), image, labels)
        assert said.film.shape == shape
        assert np.mean(said.film == (labels > 0)) > 0.98
        assert said.fraction == pytest.approx(0.5, abs=0.01)


def test_a_regressor_that_is_right_of_each_tile_is_right_of_the_picture():
    image, labels = stripes((219, 219), 0.5)
    assert ask_whole(trained(Mean(), SCRATCH), image, labels).fraction == pytest.approx(
        0.5, abs=0.02
    )


def test_the_published_tiling_counts_what_is_no_picture():
    """All white: real area says 1, black filling and its tiles say less."""
    image, labels = stripes((219, 219), 1.0)
    right = ask_whole(trained(Mean(), SCRATCH), image, labels).fraction
    published = ask_as_published(trained(Mean(), SCRATCH), image, labels).fraction
    assert right == pytest.approx(1.0)
    assert published < 0.97


def test_unlabelled_pixels_count_in_nothing():
    image, labels = stripes((219, 219), 0.5)
    labels[:, :60] = 255
    said = ask_whole(trained(Bright(), SEG_I), image, labels)
    assert said.fraction == pytest.approx((labels == 1).sum() / (labels != 255).sum(), abs=0.01)


def test_the_full_effort_has_every_published_model_as_it_is():
    full = arms_of(WSE2.efforts["full"])
    assert {a.model for a in full} == set(COVERAGE_MODELS)
    assert all(a.sized(WSE2.efforts["full"], {}) == COVERAGE_MODELS[a.model] for a in full)
    small = arms_of(WSE2.efforts["small"])
    assert not any(a.full_only for a in small)
    assert all(a.sized(WSE2.efforts["small"], {}).network != "regressor/resnet18" for a in small)


def test_real_weights_take_the_real_encoder(tmp_path):
    sized = CNN_I.sized(WSE2.efforts["small"], {"imagenet": tmp_path})
    assert sized.network == "regressor/resnet18"
    with pytest.raises(UnreadableFile, match="no such file of weights"):
        with_weights(WSE2, {"imagenet": tmp_path / "none.pth"})
    with pytest.raises(InputError, match="starts from no weights"):
        with_weights(EXPERIMENTS["size"], {"imagenet": tmp_path})


def test_every_published_claim_held_in_the_study():
    known = [c.published for c in CLAIMS if not math.isnan(c.published)]
    assert len(known) >= 8
    assert max(known) < 0
    assert {arm for arm, _ in PUBLISHED} <= {a.name for a in ARMS}
    assert {c.better[0] for c in CLAIMS} | {c.worse[0] for c in CLAIMS} <= set(ARMS)


def finding_of(seeds, gap, options=None):
    """CNNsc better than CNNsc* by `gap`, the MLPs likewise, in every seed."""
    study = replace(WSE2, options=options or {})
    trials = {}
    for seed in range(seeds):
        wobble = 0.002 * (-1) ** seed
        rows = [Trial(NOTHING, {"rmse": 0.28})]
        for arm, rmse in ((SCRATCH, 0.05), (SCRATCH_STAR, 0.05 + gap + wobble),
                          (MLP_M, 0.05), (MLP_I, 0.05 + gap + wobble)):  # fmt: skip
            rows.append(Trial(arm.name, {"rmse": rmse, "mae": rmse}, PATCHES))
        rows.append(Trial(SEG_NONE.name, {"rmse": 0.1, "iou": 0.9}, WHOLE))
        rows.append(Trial(SEG_NONE.name, {"rmse": 0.2, "iou": 0.5}, AS_PUBLISHED))
        trials[seed] = tuple(rows)
    return Finding(study, trials, seeds, plan_of(study, WORLD, TINY))


def verdict(finding, start):
    claims = tables_beside(finding)["claims"].set_index("claim")
    return next(row["verdict"] for text, row in claims.iterrows() if text.startswith(start))


def test_a_claim_holds_only_where_its_interval_leaves_out_zero():
    assert verdict(finding_of(5, 0.05), "augmentation") == "holds"
    assert verdict(finding_of(5, -0.03), "augmentation") == "does not hold"
    assert verdict(finding_of(5, 0.0), "augmentation") == "not shown"
    assert verdict(finding_of(2, 0.05), "augmentation") == "no interval"


def test_stand_ins_say_nothing_of_imagenet():
    assert verdict(finding_of(5, 0.05), "frozen: MicroNet") == "not tested: stand-in weights"
    both = {"imagenet": "a" * 64, "micronet": "b" * 64}
    assert verdict(finding_of(5, 0.05, both), "frozen: MicroNet") == "holds"


def test_the_folder_has_the_published_figures_beside(tmp_path):
    text = write_finding(finding_of(3, 0.05), tmp_path)
    assert all((tmp_path / f).stat().st_size for f in FILES)
    assert "augmentation on the fly helps: published -0.080, here -0.051" in text
    assert "patches: -0.051" in text
    beside = pd.read_csv(tmp_path / "published.csv").set_index(["arm", "panel"])
    assert beside.loc[(SCRATCH.name, PATCHES), "published_rmse"] == pytest.approx(0.041)
    assert len(json.loads((tmp_path / "result.json").read_text())["claims"]) == len(CLAIMS)


def test_films_are_repeatable_and_the_test_has_others():
    small = replace(TINY, side_px=64)
    one, two = WORLD.target(3, small), FilmWorld().target(3, small)
    assert all(np.array_equal(a, b) for a, b in zip(one.images, two.images, strict=True))
    assert not np.array_equal(one.images[0], WORLD.test(3, small).images[0])
    assert guess_mean(WORLD, 3, small)["rmse"] == pytest.approx(0.24, abs=0.05)


def test_a_stand_in_fits_its_encoder_and_is_one_of_two():
    state = stand_in("imagenet", "regressor/resnet18-n", replace(TINY, side_px=96), 0)
    assert state["conv1.weight"].shape == (16, 3, 7, 7)
    with pytest.raises(UnknownName, match="imagenet"):
        stand_in("audio", "regressor/resnet18-n", TINY, 0)


def test_an_arm_learns_from_the_stand_in():
    world = WORLD.target(0, replace(TINY, side_px=128))
    done = train_arm(CNN_I, world, replace(TINY, side_px=128), 0, {})
    assert done.network.encoder.conv1.weight.shape == (16, 3, 7, 7)
    assert not done.network.training


@pytest.mark.thorough
def test_the_whole_study_runs(tmp_path):
    finding = conduct(WSE2, WORLD, TINY, tmp_path, seeds=1)
    arms = {(t.arm, t.panel) for t in finding.trials[0]}
    assert {(a.name, p) for a in arms_of(TINY) for p in (PATCHES, WHOLE)} <= arms
    assert np.isfinite(mean_table(finding)["rmse"]).all()
    assert {arm for pair in WSE2.pairs for arm in pair} <= {a for a, _ in arms}
