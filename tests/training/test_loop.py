"""The training loop: it learns, stops, and is the same training after a kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from layerscope.errors import InputError, UnreadableFile  # noqa: E402
from layerscope.training.checkpoints import FILE  # noqa: E402
from layerscope.training.loop import FitSettings, ahead, device_of, fit  # noqa: E402
from layerscope.training.losses import build_loss  # noqa: E402
from layerscope.training.schedules import SCHEDULES, rate_factor  # noqa: E402

torch.set_num_threads(1)

QUICK = FitSettings(steps=40, learning_rate=0.02, warmup_steps=4, device="cpu")


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, 1, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.2),
            nn.Conv2d(6, 2, 1),
        )  # fmt: skip


def batch(step):
    rng = np.random.default_rng(step)
    images = rng.random((2, 1, 16, 16), np.float32)
    return images, (images[:, 0] > 0.5).astype(np.uint8)


def accuracy(module):
    images, target = batch(10_000)
    found = module(torch.from_numpy(images)).argmax(1).numpy()
    return {"accuracy": float((found == target).mean())}


def train(settings=QUICK, **more):
    return fit(network(), batch, build_loss("bce+dice"), settings, **more)


def changed(**fields):
    return FitSettings(**{**vars(QUICK), **fields})


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_it_learns_and_keeps_a_table():
    fitted = train(changed(metric="accuracy", validations=8), validate=accuracy)
    assert fitted.best > 0.95
    assert fitted.stopped == "steps"
    assert list(fitted.history.columns) == [
        "step", "progress", "learning_rate", "loss", "accuracy",
    ]  # fmt: skip
    assert fitted.history["step"].tolist() == [5, 10, 15, 20, 25, 30, 35, 40]
    assert fitted.history["accuracy"].max() == fitted.best


def test_the_same_seed_gives_the_same_bits():
    one, other = train(), train(changed(workers=3))
    assert same(one.state, other.state)
    assert not same(one.state, train(changed(seed=1)).state)


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    train()
    assert torch.equal(torch.rand(4), wanted)


class Stop(Exception):
    pass


@pytest.mark.parametrize(("ema", "schedule"), [(0.9, "cosine"), (0.0, "plateau")])
def test_an_interrupted_training_goes_on_where_it_was(tmp_path, monkeypatch, ema, schedule):
    monkeypatch.setattr("layerscope.training.loop._SAVE_EVERY_S", -1.0)
    settings = changed(ema=ema, schedule=schedule, metric="accuracy", plateau_patience=1)
    whole = train(settings, validate=accuracy)
    for stop in (7, 23):

        def interrupt(told, stop=stop):
            if told.step == stop:
                raise Stop

        with pytest.raises(Stop):
            train(settings, validate=accuracy, folder=tmp_path, progress=interrupt)
    resumed = train(settings, validate=accuracy, folder=tmp_path)
    assert same(whole.state, resumed.state)
    assert whole.history.equals(resumed.history)
    assert whole.best == resumed.best


KILLED = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
import test_loop as t
import layerscope.training.loop as loop
loop._SAVE_EVERY_S = -1.0
def tell(told):
    print(told.step, flush=True)
t.train(t.changed(steps=3000), folder=Path({folder!r}), progress=tell)
"""


def test_a_killed_training_resumes_bit_for_bit(tmp_path):
    code = KILLED.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    running = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    for line in running.stdout:
        if int(line) >= 15:
            running.send_signal(signal.SIGKILL)
            break
    running.communicate()
    assert (tmp_path / FILE).exists()
    settings = changed(steps=3000)
    stop_at = 60

    def interrupt(told):
        if told.step == stop_at:
            raise Stop

    nets = []
    for folder in (tmp_path, None):
        module = network()
        with pytest.raises(Stop):
            fit(module, batch, build_loss("bce+dice"), settings, folder=folder, progress=interrupt)
        nets.append(module.state_dict())
    assert same(*nets)


def test_a_finished_training_is_not_trained_again(tmp_path):
    first = train(folder=tmp_path)
    steps = []
    again = train(folder=tmp_path, progress=steps.append)
    assert not steps
    assert same(first.state, again.state)
    assert again.stopped == "steps"


def test_another_training_in_the_folder_is_refused(tmp_path):
    train(folder=tmp_path)
    with pytest.raises(InputError, match="learning_rate"):
        train(changed(learning_rate=0.01), folder=tmp_path)
    with pytest.raises(InputError, match="another network"):
        fit(nn.Conv2d(1, 2, 1), batch, build_loss("dice"), QUICK, folder=tmp_path)
    kept = tmp_path / FILE
    kept.write_bytes(kept.read_bytes()[:200])
    with pytest.raises(UnreadableFile, match="delete it"):
        train(folder=tmp_path)


def test_the_state_is_no_pickle(tmp_path):
    train(folder=tmp_path)
    content = (tmp_path / FILE).read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    assert "layerscope.training" in header["__metadata__"]


def test_a_budget_in_minutes_scales_the_schedule():
    now = [0.0]

    def clock():
        now[0] += 0.25  # the loop asks once per step and twice before the first
        return now[0]

    rates = []
    fitted = fit(
        network(), batch, build_loss("dice"), changed(steps=10_000, minutes=0.25, warmup_steps=0),
        clock=clock, progress=lambda told: rates.append(told.share),
    )  # fmt: skip
    assert fitted.stopped == "minutes"
    assert 55 <= fitted.steps <= 60
    assert fitted.seconds == pytest.approx(15, abs=0.3)
    assert rates == sorted(rates)
    assert fitted.history["learning_rate"].iloc[-1] < 0.02 * 0.01
    assert len(fitted.history) == 10


def test_it_stops_without_a_gain():
    figures = iter([0.1, 0.5, 0.4, 0.45, 0.3, 0.9])
    states = []

    def validate(module):
        states.append({k: v.clone() for k, v in module.state_dict().items()})
        return {"iou": next(figures)}

    settings = changed(metric="iou", patience=3, validations=20, schedule="constant")
    fitted = train(settings, validate=validate)
    assert fitted.stopped == "patience"
    assert fitted.best == 0.5
    assert len(fitted.history) == 5
    assert same(fitted.state, states[1])


@pytest.mark.parametrize(
    ("goals", "looks"),
    [({"rmse": 0.3}, 2), ({"rmse": 0.3, "mae": 0.2}, 4), ({"rmse": 0.1}, 4), ({"mae": 0.05}, 0)],
)
def test_it_stops_when_every_goal_is_reached(goals, looks):
    """As high as the goal is enough; what is not a number reaches none."""
    seen = [(0.5, 0.1), (0.3, 0.3), (float("nan"), 0.1), (0.1, 0.2), (0.4, 0.4), (0.4, 0.4)]
    states = []

    def validate(module):
        states.append({k: v.clone() for k, v in module.state_dict().items()})
        return dict(zip(("rmse", "mae"), seen[len(states) - 1], strict=True))

    fitted = train(changed(goals=goals, validations=6), validate=validate)
    assert fitted.stopped == ("goals" if looks else "steps")
    assert len(fitted.history) == (looks or 6)
    assert fitted.steps == fitted.history["step"].iloc[-1]
    assert same(fitted.state, states[-1])


def test_goals_of_a_figure_that_nobody_gives_are_told():
    with pytest.raises(InputError, match="'rmse'"):
        train(changed(goals={"rmse": 0.1}), validate=accuracy)


def test_the_best_weights_are_kept_where_a_metric_is_named_beside_goals():
    figures, states = iter([(0.2, 0.9), (0.3, 0.1)]), []

    def validate(module):
        states.append({k: v.clone() for k, v in module.state_dict().items()})
        return dict(zip(("rmse", "mae"), next(figures), strict=True))

    settings = changed(goals={"mae": 0.1}, metric="rmse", lower_is_better=True, validations=6)
    fitted = train(settings, validate=validate)
    assert fitted.stopped == "goals"
    assert same(fitted.state, states[0])


def test_the_plateau_lowers_the_rate():
    settings = changed(metric="loss", lower_is_better=True, schedule="plateau", warmup_steps=0)
    settings = FitSettings(**{**vars(settings), "plateau_patience": 1, "learning_rate": 1e-9})
    rates = train(settings).history["learning_rate"]
    assert rates.iloc[-1] < rates.iloc[0]
    assert set(np.round(np.log(rates / 1e-9) / np.log(0.3), 6) % 1) == {0.0}


def test_the_running_mean_of_the_weights_is_smoother():
    rough = train(changed(schedule="constant", learning_rate=0.1))
    smooth = train(changed(schedule="constant", learning_rate=0.1, ema=0.95))
    assert not same(rough.state, smooth.state)
    assert smooth.state["0.weight"].abs().max() < rough.state["0.weight"].abs().max()


def test_gradients_are_clipped():
    tiny = changed(clip=1e-9, optimiser="adam", weight_decay=0.0, warmup_steps=0)
    before = network().state_dict()["0.weight"]
    assert (train(tiny).state["0.weight"] - before).abs().max() < (
        train(changed(clip=0.0)).state["0.weight"] - before
    ).abs().max()


def test_schedules():
    for name in SCHEDULES:
        assert rate_factor(name, 0.0, 9, 10) == pytest.approx(1)
        assert rate_factor(name, 0.0, 4, 10) == pytest.approx(0.5)
    assert rate_factor("cosine", 0.5, 99, 0) == pytest.approx(0.5)
    assert rate_factor("cosine", 1.0, 99, 0) == pytest.approx(0)


def test_batches_come_in_order():
    assert list(ahead(lambda step: (step, -step), 3, 9, 4)) == [
        (s, -s) for s in range(3, 9)
    ]  # fmt: skip


def test_a_failing_batch_is_told():
    def broken(step):
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        fit(network(), broken, build_loss("dice"), QUICK)


def test_a_loss_that_is_no_number_is_told():
    with pytest.raises(InputError, match="lower learning_rate"):
        fit(network(), batch, lambda a, b: a.sum() * float("nan"), QUICK)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"optimiser": "sgd"}, "adamw"),
        ({"steps": 0}, "steps"),
        ({"ema": 1.0}, "ema"),
        ({"patience": 3}, "metric"),
        ({"schedule": "plateau"}, "metric"),
        ({"amp": "fp8"}, "bf16"),
        ({"minutes": -1.0}, "minutes"),
    ],
)
def test_bad_settings_are_refused(fields, said):
    with pytest.raises(InputError, match=said):
        changed(**fields)


def test_a_missing_figure_is_told():
    with pytest.raises(InputError, match="'iou'"):
        train(changed(metric="iou"), validate=accuracy)


def test_devices():
    assert device_of("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert device_of("auto").type == "cpu"
        with pytest.raises(InputError, match="no GPU"):
            device_of("cuda")


@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_reduced_precision_on_a_gpu(amp):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    fitted = train(changed(amp=amp, device="cuda", metric="loss", lower_is_better=True))
    assert fitted.history["loss"].iloc[-1] < fitted.history["loss"].iloc[0]
    assert all(v.device.type == "cpu" for v in fitted.state.values())
