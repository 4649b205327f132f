"""Options in groups: what typer sees of a dataclass, and what comes back."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from layerscope.cli.groups import ScaleOptions, grouped
from layerscope.errors import InputError


@dataclass(frozen=True)
class Inner:
    deep: Annotated[bool, typer.Option("--deep")] = False


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: Annotated[str, typer.Argument()]
    inner: Inner
    size: Annotated[int, typer.Option("-s", "--size")] = 3


@dataclass(frozen=True)
class Again:
    size: int = 1


def test_fields_are_options_and_come_back_as_they_were_given():
    seen, app = [], typer.Typer()

    @app.command()
    @grouped
    def command(outer: Outer, last: int = 7) -> None:
        """Say it."""
        seen.append((outer, last))

    runner = CliRunner()
    assert runner.invoke(app, ["a", "-s", "5", "--deep"]).exit_code == 0
    assert runner.invoke(app, ["b", "--last", "1"]).exit_code == 0
    assert runner.invoke(app, ["--deep"]).exit_code == 2  # the argument is missing
    a = Outer(name="a", inner=Inner(deep=True), size=5)
    assert seen == [(a, 7), (Outer(name="b", inner=Inner(), size=3), 1)]
    assert "Say it." in runner.invoke(app, ["--help"]).output


def test_two_groups_cannot_share_a_name():
    with pytest.raises(ValueError, match="size"):

        @grouped
        def command(outer: Outer, again: Again) -> None: ...


def test_a_table_of_magnifications_is_refused_where_nothing_would_look_into_it(tmp_path):
    table = tmp_path / "table.toml"
    table.write_text('[magnifications]\n"50x" = "0.1um"\n')
    assert ScaleOptions(pixel_size="0.2um", magnification_table=table).told() == "0.2um"
    with pytest.raises(InputError, match="--objective, or --pixel-size"):
        ScaleOptions(magnification_table=table).told()
