"""The documentation says what the package does: made pages, links, pictures, commands, code."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from layerscope.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
COMMANDS = tuple(get_command(app).commands)


def load_generator():
    path = ROOT / "scripts" / "make_reference.py"
    spec = importlib.util.spec_from_file_location("make_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


def text_of(page):
    return page.read_text(encoding="utf-8")


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("name", list(GENERATOR.PAGES))
def test_committed_reference_is_what_the_package_says_now(name):
    made = GENERATOR.make_page(name)
    assert text_of(GENERATOR.FOLDER / f"{name}.md") == made, "run scripts/make_reference.py"


def test_no_reference_page_is_left_over():
    assert {p.stem for p in GENERATOR.FOLDER.glob("*.md")} == set(GENERATOR.PAGES)


def test_check_names_a_page_that_is_out_of_date(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(GENERATOR, "FOLDER", tmp_path / "reference")
    pages = {name: GENERATOR.PAGES[name] for name in ("flags", "heads")}
    monkeypatch.setattr(GENERATOR, "PAGES", pages)
    assert GENERATOR.main(["--check"]) == 1
    assert GENERATOR.main([]) == 0
    assert GENERATOR.main(["--check"]) == 0
    (tmp_path / "reference" / "flags.md").write_text("by hand\n")
    assert GENERATOR.main(["--check"]) == 1
    assert "flags.md" in capsys.readouterr().err


def test_every_exit_code_is_explained():
    from layerscope.cli import options

    codes = {n for n, v in vars(options).items() if n.isupper() and type(v) is int}
    assert codes == set(GENERATOR._EXIT_CODES)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in LINK.findall(text_of(page)):
        if not re.match(r"https?://|#", target):
            path = (page.parent / target.partition("#")[0]).resolve()
            assert path.exists(), f"{name_of(page)} links to {target}"


def test_every_page_is_in_the_table_of_contents():
    listed = {(DOCS / t).resolve() for t in LINK.findall(text_of(DOCS / "index.md"))}
    missing = [name_of(p) for p in DOCS.rglob("*.md") if p.resolve() not in listed]
    assert missing == ["docs/index.md"]


def test_pictures_are_small_and_shown_on_a_page():
    shown = {(p.parent / t).resolve() for p in PAGES for t in LINK.findall(text_of(p))}
    for picture in sorted((DOCS / "images").iterdir()):
        if picture.suffix in (".png", ".jpg"):
            assert picture.stat().st_size < 250_000
            assert picture.resolve() in shown, f"{picture.name} is on no page"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_compile(page):
    for language, code in BLOCK.findall(text_of(page)):
        if language == "python":
            compile(re.sub(r"^    (?=Format\()", "", code), name_of(page), "exec")


def commands_in(page):
    """Arguments of every layerscope command on an indented line of the page."""
    for line in text_of(page).splitlines():
        words = (
            shlex.split(line, comments=True) if re.match(r" {4}(layer|scripts/run)", line) else []
        )
        if not words:
            continue
        own = words[0] == "layerscope" or (len(words) > 1 and words[1] in COMMANDS)
        yield words[1:] if own else (["run", *words[1:]] if len(words) > 1 else ["demo"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_have_the_options_that_they_show(page):
    for arguments in commands_in(page):
        command, rest = get_command(app), arguments
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(arguments[0], list(rest)).close()


def test_the_page_test_sees_commands():
    found = [c for page in PAGES for c in commands_in(page)]
    assert len(found) > 20
    assert {c[0] for c in found} >= {"run", "calibrate", "contrast", "synth", "train"}


def test_the_start_script_knows_every_command():
    """It takes any other word for an image of `run`."""
    words = set(re.findall(r"[a-z]+", text_of(ROOT / "scripts" / "run").split('case "$1" in')[1]))
    assert set(COMMANDS) <= words
