"""Write docs/reference/*.md from what the package itself says: registries, docstrings, options.

    python scripts/make_reference.py            writes the pages
    python scripts/make_reference.py --check    exit 1 if a committed page differs

Never edit those pages by hand: change the docstring or the table that they come from.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
_MADE = "<!-- Made by scripts/make_reference.py; edit the source that it reads, not this page. -->"
_EXIT_CODES = {
    "OK": "All images were analysed. Withheld layer numbers are no failure.",
    "FAILED": "Something that layerscope names went wrong; the last line says what.",
    "USAGE": "A name, a number, an option or a settings file cannot be used; the line says which.",
    "SOME_FAILED": "Some images could not be read and are listed; the others were analysed.",
    "NOTHING_USABLE": "No image could be analysed.",
    "MISMATCH": "`layerscope verify`: a part, a table or an image is not as it was.",
    "INTERRUPTED": "Stopped with Ctrl-C.",
}
_KEEPS = {
    "masks": "masks, also where they overlap",
    "boxes": "boxes",
    "pictures": "masks that do not overlap, unlabelled pixels",
}


def materials() -> str:
    """Crystals and media."""
    from layerscope.physics.materials import load
    from layerscope.physics.materials import materials as names

    known = [load(name) for name in names()]
    crystals, media = [], []
    for m in known:
        source = f"[{m.doi}](https://doi.org/{m.doi})" if m.doi else m.reference
        aliases = ", ".join(m.aliases)
        if m.layer_nm is None:
            media.append((m.name, aliases, _index(m), source, m.remark))
        else:
            crystals.append((m.name, aliases, f"{m.layer_nm:g}", _index(m), source, m.remark))
    return "\n".join(
        [
            "Names and aliases are understood in any case. n + i k is the refractive index at "
            "550 nm; the files hold 380 to 780 nm.",
            "",
            "## Layered crystals: for `--material`",
            "",
            *_table(
                ("name", "also", "nm per layer", "n + i k, 550 nm", "source of n and k", "remark"),
                crystals,
            ),
            "",
            "## Media: for `--substrate`",
            "",
            "Crystals can stand in a substrate too, e.g. `hBN(20nm)/SiO2(285nm)/Si`.",
            "",
            *_table(("name", "also", "n + i k, 550 nm", "source of n and k", "remark"), media),
        ]
    )


def _extensions(names: Sequence[str]) -> str:
    """Names of extensions; a long run of numbers as its ends."""
    numbers = [n for n in names if n[1:].isdigit()]
    others = [n for n in names if n not in numbers]
    return ", ".join([*others, *([f"{numbers[0]} to {numbers[-1]}"] if numbers else [])])


def formats() -> str:
    """Image files, lists of stage positions, labelled images."""
    from layerscope.io import FORMATS, MAX_PIXELS
    from layerscope.io.annotated import ANNOTATION_FORMATS
    from layerscope.io.positions import FORMATS as POSITION_FORMATS

    rows = [
        (f.name, f.description, _extensions(f.extensions), _extensions(f.named)) for f in FORMATS
    ]
    lists = [
        (f.name, f.description, ", ".join(f.extensions), "yes" if f.write else "")
        for f in POSITION_FORMATS
    ]
    labelled = [(f.name, f.description, _KEEPS[f.keeps]) for f in ANNOTATION_FORMATS.values()]
    return "\n".join(
        [
            "What a file is, is decided by its first bytes or, where they do not tell, by its "
            "extension. The extension also decides which files of a folder are taken. Images over "
            f"{MAX_PIXELS // 1_000_000} million pixels are refused unless `--max-pixels` is "
            "raised.",
            "",
            *_table(("name", "what", "extensions", "read when named"), rows),
            "",
            "[AFM scans: channels, units, what was checked](../howto/read_afm.md). "
            "[Electron micrographs: scale, optics, what is no image](../howto/read_em.md).",
            "",
            "## Stage positions",
            "",
            "The content decides; [how positions find their images](../howto/stage_positions.md).",
            "",
            *_table(("name", "what", "usual extensions", "written"), lists),
            "",
            "## Labelled images",
            "",
            "Read by `train`, `data` and `convert`, written by `convert`; "
            "[how](../howto/training_data.md).",
            "",
            *_table(("name", "what", "keeps"), labelled),
        ]
    )


_TABLES = (
    ("Images of a scan", "`images.csv` of `layerscope scan`: one row per image.",
     "scan", "IMAGE_COLUMNS"),
    ("Sites of a scan", "`sites.csv` of `layerscope scan`: one row per region on the wafer.",
     "scan", "SITE_COLUMNS"),
    ("Images of phases", "`images.csv` of `layerscope run --task phases`: one row per image.",
     "segmentation", "PHASE_COLUMNS"),
    ("Areas of phases", "`areas.csv` of the same: one row per image and class.",
     "segmentation", "AREA_COLUMNS"),
    ("Images of categories", "`images.csv` of `layerscope run --task categories`: a row per image.",
     "categories", "IMAGE_COLUMNS"),
    ("Answers of categories", "`answers.csv` of the same: one row per image and question.",
     "categories", "ANSWER_COLUMNS"),
    ("Probabilities of categories",
     "`probabilities.csv` of the same: one row per image, question and possible answer.",
     "categories", "PROBABILITY_COLUMNS"),
    ("Images of particles", "`images.csv` of `layerscope run --task particles`: one row per image.",
     "particles", "PARTICLE_IMAGE_COLUMNS"),
    ("Figures of particles", "`population.csv` of the same: one row per image and figure.",
     "particles", "POPULATION_COLUMNS"),
    ("Images of crystals", "`images.csv` of `layerscope run --task crystals`: one row per image.",
     "crystals", "CRYSTAL_IMAGE_COLUMNS"),
    ("Crystals", "`crystals.csv` of the same: one row per crystal.", "crystals", "CRYSTAL_COLUMNS"),
)  # fmt: skip
"""Title, text, module of `core` and name of the tables whose columns are always the same."""


def columns() -> str:
    """Columns of objects.csv and objects.parquet, and of the tables of other tasks."""
    from layerscope.measure import table_columns
    from layerscope.measure.particles import particle_columns

    head = ("column", "unit", "type", "meaning")
    rows = [_column(c) for c in table_columns()]
    others: list[str] = []
    for title, text, place, name in _TABLES:
        known = getattr(importlib.import_module(f"layerscope.core.{place}"), name)
        others += ["", f"## {title}", "", text, "", *_table(head, map(_column, known))]
    told = "`particles.csv` of `layerscope run --task particles`: one row per particle."
    others += ["", "## Particles", "", told, "", *_table(head, map(_column, particle_columns()))]
    return "\n".join(
        [
            "## Objects",
            "",
            "One row per region, in this order. Lengths and areas come twice, in px and in µm; "
            "without a pixel size the µm columns are empty. The number of `p_…L` columns follows "
            "`--max-layers` (here 10).",
            "",
            *_table(head, rows),
            *others,
        ]
    )


def measurements() -> str:
    """Measurements: what makes most of those columns."""
    from layerscope.measure import MEASUREMENTS

    rows = []
    for name, m in MEASUREMENTS.items():
        made = ", ".join(f"`{c}`" for c in m.columns)
        turns = "no" if m.rotation_invariant else "yes"
        rows.append((name, made, ", ".join(sorted(m.needs)), turns, m.description))
    return "\n".join(
        [
            "`looks at`: the mask of the region, or the camera's signal in it.",
            "",
            *_table(
                ("name", "columns", "looks at", "changes when the image is turned", "meaning"), rows
            ),
        ]
    )


def flags() -> str:
    """Quality flags."""
    from layerscope.core.results import FLAG_MEANING
    from layerscope.report.ranking import PENALTY
    from layerscope.tasks.layers import NO_CRYSTAL

    rows = []
    for flag, meaning in FLAG_MEANING.items():
        name = flag.names[0]
        left_out = "yes" if flag in NO_CRYSTAL else ""
        rows.append((f"`{name}`", flag.value, meaning, left_out, f"{PENALTY.get(name, 1.0):g}"))
    return "\n".join(
        [
            "In the column `flags`, joined by `|`. `left out`: a region with this flag and without "
            "a layer number is dropped unless `--keep-residue` is given. `rank`: factor on a "
            "flake's merit in the report's list of best flakes.",
            "",
            *_table(("flag", "bit", "meaning", "left out", "rank"), rows),
        ]
    )


def heads() -> str:
    """Layer heads that are trained from labels."""
    from layerscope.models import HEADS

    return _of_registry(
        "For `layerscope train layers --head NAME`; the trained file goes to "
        "`layerscope run --head FILE`.",
        HEADS,
    )


def networks() -> str:
    """Networks, encoders and the weights that are published for them."""
    import torch

    from layerscope.training.networks import ENCODERS, NETWORKS, build
    from layerscope.training.networks.network import count_parameters
    from layerscope.training.weight_files import SOURCES

    def millions(name: str) -> str:
        with torch.device("meta"):
            return f"{count_parameters(build(name, channels=3, outputs=1)) / 1e6:.2f}"

    whole = [
        (f"`{name}`", a.description, _stride(name), millions(name))
        for name, a in NETWORKS.items()
        if not a.on_encoder
    ]
    standing = [
        (f"`{name}/…`", a.description, "labels per pixel" if a.gives == "maps" else "numbers")
        for name, a in NETWORKS.items()
        if a.on_encoder
    ]
    decoders = ("unet", "fpn")
    encoders = [
        (f"`{name}`", e.description, *(millions(f"{d}/{name}") for d in decoders),
         ", ".join(f"`{data}`" for data in SOURCES if name in SOURCES[data]))
        for name, e in ENCODERS.items()
    ]  # fmt: skip
    files = [
        (f"`{data}`", f"`{name}`", source.url, source.sha256 or "–", source.about)
        for data, sources in SOURCES.items()
        for name, source in sources.items()
    ]
    return "\n".join(
        [
            "[Which one to take](../howto/networks.md). Parameters are counted in millions for "
            "three channels and one output. Height and width of the input are multiples of the "
            "stride.",
            "",
            "## Networks as a whole",
            "",
            *_table(("name", "what", "stride", "parameters"), whole),
            "",
            "## Networks on an encoder",
            "",
            "The name of the encoder follows the slash. Stride 32.",
            "",
            *_table(("name", "what", "gives"), standing),
            "",
            "## Encoders",
            "",
            *_table(
                ("name", "what", *(f"in `{d}/…`" for d in decoders), "published weights"), encoders
            ),
            "",
            "## Published weights",
            "",
            "The checksum is the beginning of the file's sha256, as published; for MicroNet none "
            "is.",
            "",
            *_table(("data", "encoder", "address", "sha256", "of"), files),
        ]
    )


def surfaces() -> str:
    """Levelling, coverage methods and tables of a coverage run."""
    from layerscope.core.coverage import COVERAGE_COLUMNS
    from layerscope.measure.domain_columns import domain_columns
    from layerscope.ops.surface import LEVELLERS
    from layerscope.tasks.coverage import METHODS
    from layerscope.training.coverage_models import COVERAGE_MODELS

    levellers = [
        (f"`{name}`", _keywords(LEVELLERS[name]), _first_line(LEVELLERS[name]))
        for name in LEVELLERS
    ]
    head = ("column", "unit", "type", "meaning")
    return "\n".join(
        [
            "Of `layerscope run --task coverage`; [how](../howto/coverage.md).",
            "",
            "## Levelling: for `--levelling`",
            "",
            "Parameters are those of `layerscope.ops.surface.level`, with their defaults.",
            "",
            *_table(("name", "parameters", "what"), levellers),
            "",
            "## Methods: for `--method`",
            "",
            _of_registry("`auto` chooses and checks one by another.", METHODS),
            "",
            "## Models: for `layerscope train coverage --model`",
            "",
            "Their files are for `--method` too; [how](../howto/train_coverage.md). Patches per "
            "image; endless: drawn anew at every step.",
            "",
            *_table(
                (
                    "name",
                    "what",
                    "network",
                    "patch, px",
                    "patches",
                    "batch",
                    "learning rate",
                    "ends",
                ),
                [_coverage_model(name, m) for name, m in COVERAGE_MODELS.items()],
            ),
            "",
            "## Columns of the images table",
            "",
            *_table(head, [_column(c) for c in COVERAGE_COLUMNS]),
            "",
            "## Columns of the domains table",
            "",
            *_table(head, [_column(c) for c in domain_columns()]),
        ]
    )


def _coverage_model(name: str, model: Any) -> tuple[str, ...]:
    ends = [f"{figure} at most {most}" for figure, most in model.goals.items()]
    ends += [f"{model.patience} epochs without a gain"] if model.patience else []
    ends += [f"{model.epochs} epochs"] if model.epochs else ["the time is up"]
    return (
        f"`{name}`", model.description, f"`{model.network}`", str(model.size_px),
        str(model.patches or "endless"), str(model.batch), f"{model.learning_rate:g}",
        ", ".join(ends),
    )  # fmt: skip


def _column(column: Any) -> tuple[str, str, str, str]:
    return f"`{column.name}`", column.unit or "–", column.dtype, column.meaning


def _keywords(function: Any) -> str:
    parameters = inspect.signature(function).parameters.values()
    return ", ".join(f"`{p.name}={p.default}`" for p in parameters if p.kind == p.KEYWORD_ONLY)


def report_sections() -> str:
    """Sections of report.html and report.pdf."""
    from layerscope.report import SCAN_SECTIONS, SECTIONS

    empty = "In this order. A section that has nothing to show says so in one line."
    return "\n".join(
        [
            _of_registry(empty, SECTIONS),
            "",
            "## Of a scan",
            "",
            _of_registry("A scan has its own.", SCAN_SECTIONS),
        ]
    )


def cameras() -> str:
    """Synthetic cameras."""
    from layerscope.synth.camera import BENCHMARK_CAMERAS, CAMERAS

    rows = [
        (f"`{name}`", c.lamp, c.tone, c.bit_depth, f"{c.exposure:g}", f"{c.saturation:g}",
         f"{c.flare:g}", "yes" if name in BENCHMARK_CAMERAS else "")
        for name, c in CAMERAS.items()
    ]  # fmt: skip
    return "\n".join(
        [
            "For `layerscope synth flakes --camera NAME`. They differ on purpose from the camera "
            "that the analysis assumes. `exposure`: level of light of the bare substrate, fraction "
            "of white. `matrix`: strength of the colour matrix. `flare`: stray light over the "
            "substrate's.",
            "",
            *_table(
                ("name", "lamp", "tone", "bits", "exposure", "matrix", "flare", "benchmark"), rows
            ),
        ]
    )


def calibration_parameters() -> str:
    """Parameters that calibration finds out about microscope and wafer."""
    from layerscope.physics.ladder import PARAMETERS

    rows = [
        (f"`{p.name}`", p.meaning, f"{p.mean:g}", f"{p.sd:g}", f"{p.low:g} to {p.high:g}")
        for p in PARAMETERS
    ]
    return "\n".join(
        [
            "The columns of `draws` in calibration.toml. Mean and sd are those of the Gaussian "
            "prior. For `oxide_nm` they are replaced by the thickness in `--substrate` and by "
            "`--oxide-sd`, its limits by four times that.",
            "",
            *_table(("name", "meaning", "mean", "sd", "limits"), rows),
        ]
    )


def commands() -> str:
    """Every command and option."""
    from typer.main import get_command

    from layerscope.cli import app

    lines = ["`layerscope COMMAND --help` prints the same in the terminal."]
    for name, command in _leaves(get_command(app), "layerscope"):
        given = [p for p in command.params if p.name != "help"]
        arguments = [p for p in given if p.param_type_name == "argument"]
        options = [p for p in given if p.param_type_name == "option"]
        usage = [name, *(_argument(p) for p in arguments), *["[OPTIONS]"] * bool(options)]
        lines += ["", f"## {name}", "", command.help or "", "", "```text", " ".join(usage), "```"]
        rows = [(f"`{_argument(p)}`", p.help or "", _default(p)) for p in arguments]
        rows += [(_spelling(p), p.help or "", _default(p)) for p in options]
        if rows:
            lines += ["", *_table(("option", "meaning", "default"), rows)]
    return "\n".join(lines)


def losses() -> str:
    """Losses of a training, and normalisations of images."""
    from layerscope.ops.normalisation import NORMALISATIONS
    from layerscope.training.losses import LOSSES

    return "\n".join(
        [
            _of_registry("For `training.losses.build_loss`.", LOSSES),
            "",
            _of_registry("On a model's card, and in `ops.normalisation`.", NORMALISATIONS),
        ]
    )


def exit_codes() -> str:
    """Numbers that a script sees when a command ends."""
    from layerscope.cli import options

    rows = [(getattr(options, name), meaning) for name, meaning in _EXIT_CODES.items()]
    return "\n".join(_table(("code", "meaning"), rows))


PAGES: dict[str, tuple[str, Callable[[], str]]] = {
    "materials": ("Materials", materials),
    "formats": ("File formats", formats),
    "columns": ("Columns of the tables", columns),
    "measurements": ("Measurements", measurements),
    "flags": ("Quality flags", flags),
    "heads": ("Layer heads", heads),
    "networks": ("Networks", networks),
    "surfaces": ("Levelling and coverage", surfaces),
    "losses": ("Losses and normalisations", losses),
    "report_sections": ("Report sections", report_sections),
    "cameras": ("Synthetic cameras", cameras),
    "calibration_parameters": ("Calibration parameters", calibration_parameters),
    "commands": ("Commands and options", commands),
    "exit_codes": ("Exit codes", exit_codes),
}


def make_page(name: str) -> str:
    """Whole text of one page."""
    title, body = PAGES[name]
    return f"# {title}\n\n{_MADE}\n\n{body().rstrip()}\n"


def _stride(network: str) -> int:
    import torch

    from layerscope.training.networks import build

    with torch.device("meta"):
        return int(build(network, channels=3, outputs=1).stride)


def _of_registry(text: str, registry: Any) -> str:
    rows = [(f"`{name}`", _first_line(registry[name])) for name in registry]
    return "\n".join([text, "", *_table(("name", "what"), rows)])


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def _index(material: Any) -> str:
    value = complex(material.index(550.0))
    return f"{value.real:.3f} + {value.imag:.3f}i"


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for key, child in inner.items():
        yield from _leaves(child, f"{name} {key}")


def _argument(parameter: Any) -> str:
    name = str(parameter.name).upper()
    return f"{name}..." if parameter.nargs == -1 else name


def _spelling(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    value = "" if parameter.is_flag else " …"
    return ", ".join(f"`{name}{value}`" for name in names)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    flag = getattr(parameter, "is_flag", False)  # an argument has none
    if flag and parameter.secondary_opts:
        return "`" + (parameter.opts if parameter.default else parameter.secondary_opts)[0] + "`"
    value = parameter.default
    return "" if flag or value is None or callable(value) else f"`{value}`"


def _table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    cells = [[str(c).replace("|", "\\|").replace("\n", " ") for c in row] for row in rows]
    return [
        "| " + " | ".join(heading) + " |",
        "|" + " --- |" * len(heading),
        *("| " + " | ".join(row) + " |" for row in cells),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check all pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args(arguments).check
    stale = []
    for name in PAGES:
        path, text = FOLDER / f"{name}.md", make_page(name)
        if check and (not path.is_file() or path.read_text(encoding="utf-8") != text):
            stale.append(path.name)
        elif not check:
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run scripts/make_reference.py\n")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
