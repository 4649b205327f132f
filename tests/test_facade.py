"""What `import layerscope` gives, and what it leaves alone."""

import subprocess
import sys

import pytest

import layerscope

HEAVY = ("torch", "pandas", "matplotlib", "scipy", "PIL", "tifffile", "pyarrow", "numpy", "cv2",
         "rich", "jinja2", "reportlab", "typer", "skimage")  # fmt: skip


def imported_by(code):
    show = "import sys; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_is_light():
    assert not imported_by("import layerscope") & set(HEAVY)


@pytest.mark.parametrize("module", ["pipeline", "cli", "tasks.flakes", "physics.calibration"])
def test_what_analyses_starts_without_the_heavy_ones(module):
    heavy = {"torch", "torchvision", "pandas", "matplotlib", "scipy", "reportlab", "skimage"}
    assert not imported_by(f"import layerscope.{module}") & heavy


def test_no_torch_in_a_whole_run(synthetic_folder):
    code = f"""
from layerscope import finding, pipeline
from layerscope.ops.tone import tone_curve
pipeline.run([{str(synthetic_folder / "synthetic_0000.jpg")!r}], material="graphene",
             substrate="SiO2(90nm)/Si", optics=finding.Optics(tone=tone_curve("linear")))
"""
    assert "torch" not in imported_by(code)


@pytest.mark.parametrize("name", layerscope.__all__)
def test_every_name_is_there_and_stays_the_same(name):
    first = getattr(layerscope, name)
    assert callable(first)
    assert getattr(layerscope, name) is first
    assert first.__doc__
    assert name in dir(layerscope)


def test_unknown_name():
    with pytest.raises(AttributeError, match="'flakes'"):
        layerscope.flakes  # noqa: B018


def test_version():
    assert layerscope.__version__.count(".") == 2
