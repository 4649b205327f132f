"""`layerscope live` from the command line: what it refuses, and a short session."""

import re
import threading

import cv2
import pytest
from live_parts import Answers, scene
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.errors import LayerscopeError
from layerscope.live import processes

GRAPHENE = ["-m", "graphene", "-s", "SiO2(90nm)/Si"]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "field.png"
    cv2.imwrite(str(path), scene(1, shape=(300, 400)))
    return path


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command; the analysis is one that answers at once, in this process."""

    class Process(Answers):
        def __init__(self, asked):
            super().__init__()
            self.asked_for = asked
            made.append(self)

        def start(self):
            pass

    made = []
    monkeypatch.setattr(processes, "Processes", Process)

    def run(*arguments):
        found = CliRunner().invoke(app, ["live", *map(str, arguments), "-o", str(tmp_path / "out")])
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return found

    run.made = made
    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no source 'nowhere'"),
        (["replay:/no/such/file.avi"], "no such file or folder"),
        (["camera:0", "--no-window"], "nothing would be shown"),
        (["camera:0", "--seconds", "0"], "--seconds 0: expected more than 0"),
        (["camera:0", "--width", "20"], "--width 20"),
        (["camera:0", "--pan", "big"], "--pan 'big': expected width x height"),
        (["camera:0", "--fps", "0"], "--fps 0"),
        (["camera:0", "--task", "phases"], "unknown task 'phases'"),
        (["camera:0", "--analyse-width", "9"], "analyse_width 9"),
        (["camera:0", "--layers", "none"], "--layers 'none'"),
        (["camera:0", "--objective", "20x"], "20x"),
    ],
)
def test_refusals_are_one_line(run, arguments, said):
    quiet = [] if "--no-window" in arguments else ["--no-window", "--seconds", "1"]
    with pytest.raises(LayerscopeError) as caught:
        run(*quiet, *arguments, *GRAPHENE)  # of an option given twice the last counts
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_replay_is_seen_to_its_end_and_counted(run, image, tmp_path):
    found = run(
        f"replay:{image}", *GRAPHENE, "--no-window", "--seconds", "30", "--pixel-size", "0.4um",
        "--record",
    )  # fmt: skip
    assert found.exit_code == 0
    assert re.search(r"1 frames in .* 1 shown .* 0 dropped", found.output)
    assert (tmp_path / "out" / "recordings" / "0001" / "answers.jsonl").is_file()
    assert run.made[0].asked_for.material == "graphene"


def test_it_stops_by_itself(run, image):
    before = threading.active_count()
    found = run(
        f"replay:{image}", *GRAPHENE, "--no-window", "--seconds", "0.5", "--pan", "200x100",
        "--fps", "100", "--pan-step", "3",
    )  # fmt: skip
    frames, shown = map(int, re.search(r"(\d+) frames in .*: (\d+) shown", found.output).groups())
    assert 1 <= shown <= frames <= 60
    assert threading.active_count() <= before


def test_the_page_is_served(run, image):
    pytest.importorskip("uvicorn")
    pytest.importorskip("websockets")
    found = run(
        f"replay:{image}", *GRAPHENE, "--no-window", "--browser", "--no-open", "--port", "0",
        "--seconds", "0.5", "--pan", "200x100",
    )  # fmt: skip
    assert re.search(r"http://127\.0\.0\.1:\d+/\s", found.output)
    assert "token" not in found.output
    assert found.exit_code == 0


def test_a_model_means_a_network(run, image):
    run(f"replay:{image}", *GRAPHENE, "--no-window", "--seconds", "9", "--model", "flake-n")
    assert run.made[0].asked_for.finder == "network"
