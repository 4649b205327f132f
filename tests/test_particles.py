"""The path of particles and its folder, from the command line too."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from tests.builders.particle_scenes import dark_discs, flake_over_hole
from typer.testing import CliRunner

from layerscope.cli import app
from layerscope.core.coverage import LabelMap
from layerscope.core.particles import PARTICLE_IMAGE_COLUMNS, Particles, PixelClasses
from layerscope.core.results import CropMasks
from layerscope.core.segmentation import ClassMasks
from layerscope.errors import InputError
from layerscope.io.annotations import read_coco
from layerscope.io.xlsx import read_xlsx
from layerscope.models.card import ModelCard
from layerscope.ops.instances import label_islands
from layerscope.particles import Settings, run_particles
from layerscope.report.particles_folder import ParticlesFolder
from layerscope.tasks.particle_counts import IslandModel
from layerscope.tasks.particle_sources import ClassNames, LabelSource, ModelSource
from layerscope.tasks.particles import Separation
from layerscope.tasks.proposals import (
    NearestMasks,
    propose_in_tiles,
    without_repeats,
)

RUN = CliRunner()


@pytest.fixture
def labelled(tmp_path):
    """Two images with label pictures: a flake over a hole, and bare support."""
    flake, holes, grey = flake_over_hole()
    for name, scene, classes in (
        ("a", grey, np.where(flake, 1, np.where(holes, 2, 0))),
        ("b", np.full_like(grey, 0.7), np.zeros(flake.shape)),
    ):
        for folder, data in (("images", 200 * scene), ("masks", classes)):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            path = tmp_path / "set" / folder / f"{name}.png"
            cv2.imwrite(str(path), np.clip(data, 0, 255).astype(np.uint8))
    text = "[classes]\nsupport = 0\nflake = 1\nhole = 2\n"
    (tmp_path / "set" / "classes.toml").write_text(text)
    return tmp_path / "set"


def test_a_run_of_labels_writes_everything(labelled, tmp_path):
    folder = ParticlesFolder(tmp_path / "out")
    settings = Settings(pixel_size="2nm")
    run = run_particles([labelled / "images"], LabelSource(labelled), settings, on_result=folder)
    folder.finish(run)
    assert run.images["particles"].tolist() == [1, 0]
    assert run.images["reference"].tolist() == ["support and vacuum", "support"]
    assert [c.name for c in PARTICLE_IMAGE_COLUMNS] == list(run.images.columns)
    flake = flake_over_hole()[0]
    row = run.particles.iloc[0]
    assert row["area_um2"] == pytest.approx(flake.sum() * 4e-6)
    assert row["over_holes_px"] == 0  # one class a pixel: nobody said what lies under the flake
    assert set(run.population["image"]) == {"a", "b", "all"}
    out = tmp_path / "out"
    written = pd.read_csv(out / "particles.csv")
    assert len(written) == 1
    assert (cv2.imread(str(out / "masks" / "a.png"), -1) > 0).sum() == flake.sum()
    book = read_xlsx(out / "particles.xlsx")
    assert book[0] == list(run.images.columns)
    assert [line[0] for line in book[1:]] == ["a", "b"]
    coco = read_coco(out / "annotations.coco.json")
    assert coco[0].masks.area_px.tolist() == [flake.sum()]
    document = json.loads((out / "run.json").read_text())
    assert document["provenance"]["from"] == "labels"
    page = (out / "report.html").read_text()
    assert "Lateral size" in page
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "overlays" / "b.png").exists()


def test_the_same_run_gives_the_same_bytes(labelled, tmp_path):
    for name in ("one", "two"):
        folder = ParticlesFolder(tmp_path / name)
        images = [labelled / "images"]
        folder.finish(run_particles(images, LabelSource(labelled), on_result=folder))
    for path in sorted((tmp_path / "one").rglob("*")):
        if path.is_file():
            assert (
                path.read_bytes()
                == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
            )


class _Model:
    """A phases model that knows the answer."""

    def __init__(self, card, probability):
        self.card, self.probability, self.sha256, self.tells_spread = card, probability, "0", False

    def predict(self, pixels, size_nm):
        return self.probability


@pytest.mark.parametrize("overlap", [True, False])
def test_a_model_of_one_class_or_of_overlapping_classes(overlap):
    from layerscope.core.micrograph import Micrograph

    flake, holes, grey = flake_over_hole()
    if overlap:
        planes, classes, output = [flake, holes], ("gfm", "hole"), "labels"
    else:
        planes = [~flake & ~holes, flake & ~holes, holes]
        classes, output = ("support", "gfm", "hole"), "classes"
    probability = 0.9 * np.stack(planes, axis=-1).astype(np.float32) + 0.03
    card = ModelCard("m", "phases", output, classes, channels=1)
    model = _Model(card, probability)
    image = Micrograph((200 * grey).clip(0, 255).astype(np.uint8), name="a")
    source = ModelSource(model, ClassNames(("gfm",), ("hole",)))
    run = run_particles([image], source)
    assert run.particles["area_px"].tolist() == [flake.sum()]
    assert run.particles["over_holes_px"][0] == (flake & holes).sum()
    assert 0.6 < run.particles["score"][0] <= 0.95
    assert run.images["notes"][0] == "no pixel size: lengths and areas in px only"
    strict = run_particles([image], replace(source, separation=Separation(sure=0.97)))
    assert len(strict.particles) == 0
    assert "1 islands of which the model is not sure left out" in strict.images["notes"][0]
    assert strict.provenance["unknown_below"] == 0.97
    with pytest.raises(InputError, match="class"):
        ModelSource(model, ClassNames(("sheet",)))


def test_held_out_islands_of_a_model_tell_how_many_particles_there_are():
    from layerscope.core.micrograph import Micrograph

    flake, holes, grey = flake_over_hole()
    film = np.zeros_like(flake)
    film[140:150, 150:170] = True
    probability = np.stack([0.9 * flake + 0.6 * film, 0.9 * holes], -1).astype(np.float32)
    islands = {"gfm": IslandModel.fit([]).as_metrics()}
    card = ModelCard("m", "phases", "labels", ("gfm", "hole"), 1, metrics={"islands": islands})
    source = ModelSource(_Model(card, probability))
    image = Micrograph((200 * grey).clip(0, 255).astype(np.uint8), name="a")
    one = run_particles([image], source)
    assert one.particles["area_px"].tolist() == [flake.sum()]
    assert one.particles["score"][0] < 0.9  # of being a particle, no longer of its pixels
    assert one.provenance["unknown_below"] == "learned"
    assert "1 islands of which" in one.images["notes"][0]
    both = run_particles([image, replace(image, name="b")], source)
    rows = [run.population.set_index(["quantity", "image"]) for run in (one, both)]
    first, total = rows[0].loc["count_expected", "a"], rows[1].loc["count_expected", "all"]
    assert total["value"] == pytest.approx(2 * first["value"])
    assert first["low"] <= 1 <= first["high"]
    assert 2 * first["low"] <= total["low"] <= 2 <= total["high"] <= 2 * first["high"]
    told = run_particles([image], replace(source, separation=Separation(sure=0.0)))
    assert len(told.particles) == 2
    two = ModelSource(source.model, ClassNames(("gfm", "hole"), ()))  # no island of both was judged
    assert "count_expected" not in set(run_particles([image], two).population["quantity"])


def test_labels_of_an_earlier_phases_run_are_read(tmp_path):
    from layerscope.report.phases_pictures import class_image

    flake, holes, grey = flake_over_hole()
    valid = np.ones(flake.shape, bool)
    masks = ClassMasks(np.stack([flake, holes], -1), ("gfm", "hole"), valid, (0.5, 0.5))
    plain = LabelMap(np.where(flake, 1, 0).astype(np.uint8), ("support", "gfm"), valid)
    for name, phases in (("overlap", masks), ("single", plain)):
        (tmp_path / name / "classes").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name / "classes" / "a.png"), class_image(phases))
        output = "labels" if name == "overlap" else "classes"
        model = {"classes": list(phases.classes), "output": output}
        row = {"image": "a", "files": "a", "height_px": 160, "width_px": 200}
        document = {"provenance": {"model": model}, "images": [row]}
        (tmp_path / name / "run.json").write_text(json.dumps(document))
        cv2.imwrite(str(tmp_path / "a.png"), (200 * grey).clip(0, 255).astype(np.uint8))
        run = run_particles([tmp_path / "a.png"], LabelSource(tmp_path / name))
        assert run.failures == ()
        assert run.particles["area_px"].tolist() == [flake.sum()]
        under = (flake & holes).sum() if name == "overlap" else 0
        assert run.particles["over_holes_px"].tolist() == [under]


def test_the_command_measures_and_says_what_is_wrong(labelled, tmp_path):
    images, out = str(labelled / "images"), str(tmp_path / "out")
    told = ["run", images, "--task", "particles", "--labels", str(labelled), "--pixel-size", "2nm"]
    done = RUN.invoke(app, [*told, "-o", out, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.output)["particles"] == 1
    both = RUN.invoke(app, [*told, "--model", "flake-n"])
    assert "not both" in str(both.exception)
    wrong = RUN.invoke(app, [*told, "--border", "none"])
    assert "expected one of" in str(wrong.exception)
    named = RUN.invoke(app, ["run", images, "--task", "particles", "--objects", "flake"])
    assert "name classes" in str(named.exception)


def test_an_image_without_labels_is_listed_and_the_others_go_on(labelled, tmp_path):
    (labelled / "masks" / "b.png").unlink()
    run = run_particles([labelled / "images"], LabelSource(labelled))
    assert run.images["image"].tolist() == ["a"]
    assert "no labels of that name" in run.failures[0].reason


def test_proposals_are_label_pictures_and_coco_that_names_follow(tmp_path):
    image, masks = dark_discs(number=6)
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "p.png"), image.data)
    out = tmp_path / "out"
    done = RUN.invoke(app, ["propose", str(tmp_path / "images"), "-o", str(out)])
    assert done.exit_code == 0, done.output
    coco = read_coco(out / "annotations.json")[0]
    assert len(coco.masks) >= 6
    assert set(coco.classes) == {"region"}
    instances = cv2.imread(str(out / "instances" / "p.png"), -1)
    truth = np.any(masks, axis=0)
    assert (instances[truth] > 0).mean() > 0.9
    again = RUN.invoke(app, ["propose", str(tmp_path / "images"), "-o", str(tmp_path / "named"),
                             "--named", str(out)])  # fmt: skip
    assert again.exit_code == 0, again.output
    assert "named region" in again.output


class _Islands:
    """Proposes dark islands, the larger the surer."""

    def propose(self, image):
        masks = CropMasks.from_labels(label_islands(image.data < 128))
        order = np.argsort(-masks.area_px, kind="stable")
        return masks.take(order), masks.area_px[order] / 1e4


def test_large_pictures_are_proposed_in_tiles_without_repeats_or_cuts():
    image, truth = dark_discs(seed=2, shape=(300, 420), number=14)
    clean = np.where(np.any(truth, axis=0), 60, 200).astype(np.uint8)
    image = image.after("clean", data=clean)
    masks, score = propose_in_tiles(image, _Islands(), tile_px=128, halo_px=48)
    whole, _ = _Islands().propose(image)
    assert sorted(masks.area_px.tolist()) == sorted(whole.area_px.tolist())
    assert (np.diff(score) <= 0).all()
    np.testing.assert_array_equal(masks.labels() > 0, whole.labels() > 0)


def test_repeats_go_and_the_surest_stays():
    masks = CropMasks(
        np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]),
        (np.ones((10, 10), bool), np.ones((10, 9), bool), np.ones((10, 10), bool)),
        (40, 40),
    )
    kept, score = without_repeats(masks, np.array([0.5, 0.9, 0.7]))
    assert kept.boxes[:, 3].tolist() == [9, 30]
    assert score.tolist() == [0.9, 0.7]


def test_a_hole_needs_six_votes_of_ten():
    features = np.zeros((10, 6))
    features[:, 0] = np.linspace(0, 1e-3, 10)
    names = ("hole",) * 5 + ("flake",) * 4 + ("hole",)
    close = NearestMasks(features, names, neighbours=9)
    asked = np.array([[0.5, 0, 0, 0, 0, 0]])  # far off: all nine vote nearly alike
    share = dict(zip(close.classes, close.probabilities(asked)[0], strict=True))
    assert 0.5 < share["hole"] < 0.6
    assert close.name(asked) == ("flake",)
    assert NearestMasks(features, names, least=(), neighbours=9).name(asked) == ("hole",)
    with pytest.raises(InputError, match="10 masks with 0 names"):
        NearestMasks(features, ())


def test_particles_must_fit_their_picture():
    pixels = PixelClasses(*(np.zeros((4, 4), bool) for _ in range(3)))
    none = np.zeros(0, np.int64)
    with pytest.raises(InputError, match="masks of"):
        Particles(CropMasks.empty((5, 5)), np.zeros(0), none, none, pixels)
    with pytest.raises(InputError, match="one plane"):
        PixelClasses(np.zeros((4, 4), bool), np.zeros((4, 5), bool), np.zeros((4, 4), bool))
