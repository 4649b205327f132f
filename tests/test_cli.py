"""Every option of the commands does something; see test_commands for what users meet first."""

import io
import json
import resource
import subprocess
import sys

import numpy as np
import pytest

from layerscope.cli import main
from layerscope.io.calibration import write_calibration
from layerscope.synth import synth_set, write_set

ASKED = ("--material", "graphene", "--substrate", "SiO2(90nm)/Si", "-q")


@pytest.fixture
def command(capsys, monkeypatch):
    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["layerscope", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture(scope="session")
def saved_calibration(synthetic_run, tmp_path_factory):
    """Return the file of a calibration, so that a command need not make one."""
    path = tmp_path_factory.mktemp("saved") / "calibration.toml"
    write_calibration(path, synthetic_run.calibration)
    return path


@pytest.fixture
def analyse(command, synthetic_folder, saved_calibration, tmp_path):
    """Run on one image, with more options, and return the objects table beside the answer."""

    def run(*options, images=None, **given):
        out = tmp_path / "out"
        images = [synthetic_folder / "synthetic_0001.jpg"] if images is None else images
        common = (*ASKED, "--tone", "linear", "--calibration", saved_calibration, "--no-report")
        code, text, err = command("run", *images, *common, "-o", out, *options, **given)
        table = None
        if (out / "objects.csv").exists():
            import pandas as pd

            table = pd.read_csv(out / "objects.csv", dtype={"n_layers": str})
        return code, text + err, table

    return run


def test_help_costs_little_cpu():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "layerscope", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.8


@pytest.mark.parametrize(
    "words",
    ["run", "calibrate", "contrast", "materials", "synth flakes", "train layers", "demo"],
)
def test_every_command_explains_itself(command, words):
    code, text, _ = command(*words.split(), "--help")
    assert code == 0
    assert f"layerscope {words}" in " ".join(text.split())


class TestRun:
    def test_pixel_size(self, analyse):
        _, _, table = analyse("--pixel-size", "0.5um")
        np.testing.assert_allclose(table["area_um2"], 0.25 * table["area_px"], rtol=1e-6)

    def test_objective_and_table(self, analyse, tmp_path):
        (tmp_path / "scope.toml").write_text('[objectives]\n20x = "0.5um"\n100x = "0.1um"\n')
        options = ("--objective", "100x", "--magnification-table", tmp_path / "scope.toml")
        code, told, table = analyse(*options)
        assert code == 0, told
        np.testing.assert_allclose(table["area_um2"], 0.01 * table["area_px"], rtol=1e-6)

    def test_layers_and_area_filters(self, analyse):
        _, _, everything = analyse()
        _, _, thin = analyse("--layers", "1-3")
        assert 0 < len(thin) < len(everything)
        assert set(thin["n_layers"]) <= {"1", "2", "3"}
        number = thin["n_layers"].iloc[0]
        _, _, one = analyse("--layers", number)
        assert set(one["n_layers"]) == {number}
        _, _, large = analyse("--min-area", "1000px")
        assert 0 < len(large) < len(everything)
        _, _, also_large = analyse("--pixel-size", "0.5um", "--min-area", "250um2")
        assert len(also_large) == len(large)

    def test_keep_residue_keeps_at_least_as_much(self, analyse):
        _, _, without = analyse()
        _, _, with_it = analyse("--keep-residue")
        assert len(with_it) >= len(without)

    def test_labels(self, analyse, synthetic, tmp_path):
        scene = synthetic[1]
        i = int(np.argmax(np.where(scene.n_layers <= 10, scene.masks.area_px, 0)))
        y, x = np.argwhere(scene.masks.dense(i))[scene.masks.area_px[i] // 2]
        row = f"synthetic_0001.jpg,{x},{y},{scene.n_layers[i]}"
        (tmp_path / "labels.csv").write_text(f"image,x,y,layers\n{row}\n")
        _, _, table = analyse("--labels", tmp_path / "labels.csv")
        assert np.count_nonzero(table["layers_true"] == scene.n_layers[i]) >= 1

    def test_flat_field_from_a_file(self, analyse, tmp_path):
        import cv2

        cv2.imwrite(str(tmp_path / "flat.png"), np.full((480, 640, 3), 150, np.uint8))
        code, told, table = analyse("--flat-field", tmp_path / "flat.png")
        assert code == 0, told
        record = json.loads((tmp_path / "out" / "run.json").read_text())
        assert record["parameters"]["flat_field"] != "from each image"
        assert len(table) > 0

    def test_names_from_standard_input(self, analyse, synthetic_folder):
        lines = "\n".join(str(p) for p in sorted(synthetic_folder.glob("*.jpg"))[:2])
        code, told, table = analyse(images=["-"], stdin=lines + "\n\n")
        assert code == 0, told
        assert set(table["image"]) == {"synthetic_0000", "synthetic_0001"}

    def test_max_pixels(self, analyse):
        code, told, _ = analyse("--max-pixels", 1000)
        assert code == 4
        assert "synthetic_0001.jpg" in told

    def test_without_a_report_there_is_none(self, analyse, tmp_path):
        analyse()
        assert not (tmp_path / "out" / "report.html").exists()
        assert (tmp_path / "out" / "objects.parquet").exists()

    def test_json_alone_on_stdout(self, command, synthetic_folder, saved_calibration, tmp_path):
        code, text, _ = command(
            "run", synthetic_folder, *ASKED, "--tone", "linear", "--calibration",
            saved_calibration, "--no-report", "--json", "-o", tmp_path / "out",
        )  # fmt: skip
        assert code == 0
        summary = json.loads(text)
        assert sum(summary["regions"].values()) > 10
        assert summary["failed"] == []

    @pytest.mark.parametrize("na", ["0", "1.2", "-1"])
    def test_aperture_out_of_range(self, command, synthetic_folder, tmp_path, na):
        options = (*ASKED, "--tone", "linear", "--no-report", "-o", tmp_path / "out", "--na", na)
        code, _, err = command("run", synthetic_folder, *options)
        assert code == 2
        assert "NA" in err
        assert len(err.strip().splitlines()) == 1

    def test_missing_option_is_usage(self, command):
        code, _, err = command("run", "x.jpg", "-s", "SiO2(90nm)/Si")
        assert code == 2
        assert "material" in err


class TestContrast:
    @pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
    def test_plots(self, command, tmp_path, suffix):
        paths = [tmp_path / f"{i}.{suffix}" for i in range(2)]
        for path in paths:
            assert command("contrast", "MoS2", "-s", "SiO2(285nm)/Si", "-o", path)[0] == 0
        assert paths[0].stat().st_size > 5000
        if suffix != "svg":  # element ids are drawn at random
            assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_numbers_are_the_ladder(self, command):
        from layerscope.physics.materials import load
        from layerscope.physics.thin_film import Stack, contrast_ladder

        _, text, _ = command("contrast", "wse2", "-s", "hBN(20nm)/SiO2(90nm)/Si", "--json")
        shown = json.loads(text)
        want = contrast_ladder(load("WSe2"), Stack.parse("hBN(20nm)/SiO2(90nm)/Si"))
        np.testing.assert_allclose(shown["contrast_rgb"], want, atol=1e-6)
        assert shown["material"] == "WSe2"

    def test_bare_base_has_no_oxide_to_choose(self, command, tmp_path):
        out = ("-o", tmp_path / "c.png")
        code, text, _ = command("contrast", "graphene", "-s", "PDMS", "--best-oxide", *out)
        assert code == 0
        assert "no film" in text

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("grafene",), "Did you mean graphene"),
            (("SiO2",), "no layered crystal"),
            (("graphene", "--layers", "0"), "1 to 1000"),
            (("graphene", "--na", "1.4"), "0 < NA < 1"),
            (("graphene", "-o", "c.gif"), ".png, .svg or .pdf"),
        ],
    )
    def test_says_what_is_wrong(self, command, arguments, words):
        code, _, err = command("contrast", *arguments)
        assert code == 2
        assert words in err
        assert len(err.strip().splitlines()) == 1


class TestSynthAndTrain:
    def test_synth_options_reach_the_pictures(self, command, tmp_path):
        options = ("-m", "MoS2", "-s", "SiO2(285nm)/Si", "--seed", 3, "--clutter", 0)
        for name in "ab":
            code = command("synth", "flakes", "-n", 1, "-o", tmp_path / name, *options)[0]
            assert code == 0
        files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
        assert len(files) >= 3
        assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes()
                   for f in files)  # fmt: skip

    @pytest.mark.parametrize(
        ("option", "words"),
        [(("--camera", "ccd_linaer"), "ccd_linear"), (("-m", "MoS"), "MoS2"), (("-n", "-1"), "-1")],
    )
    def test_synth_says_what_is_wrong(self, command, tmp_path, option, words):
        code, _, err = command("synth", "flakes", "-o", tmp_path, *option)
        assert code == 2
        assert words in err

    def test_train_writes_a_head_that_run_takes(self, command, tmp_path):
        data = tmp_path / "data"
        scenes = list(synth_set(3, 2, shape=(480, 640), n_flakes=9, clutter=0, thick_share=0))
        write_set(scenes, data / "images")
        (data / "masks").mkdir()
        import cv2

        for scene in scenes:
            layers = scene.layer_labels.astype(np.uint8)
            cv2.imwrite(str(data / "masks" / f"{scene.micrograph.name}.png"), layers)
        head = tmp_path / "head.json"
        code, text, err = command("train", "layers", data, "-o", head)
        assert code == 0, err
        assert "layers 1" in text
        options = (*ASKED, "--head", head, "--no-report", "-o", tmp_path / "out")
        assert command("run", data / "images", *options)[0] == 0

    def test_train_says_what_is_wrong(self, command, tmp_path):
        code, _, err = command("train", "layers", tmp_path)
        assert code == 2
        assert "images/" in err


@pytest.mark.parametrize("name", ["em", "categories"])
def test_a_folder_that_cannot_be_made_is_one_line(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "inside"
    monkeypatch.setattr("sys.argv", ["layerscope", "synth", name, "-n", "1", "-o", str(out)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("layerscope: cannot")
    assert said.count("\n") == 1
    assert "Not a directory" in said
