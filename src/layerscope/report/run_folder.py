"""The folder that a run of any task leaves behind, written image by image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from layerscope.core.columns import Column
from layerscope.core.run import TaskResult, TaskRun
from layerscope.io.atomic import write_bytes
from layerscope.io.tables import table_records, write_table
from layerscope.report.gallery import Gallery
from layerscope.report.panels import Rgb, encode_png
from layerscope.report.run_files import FileStems, json_bytes, make_folder, write_pages
from layerscope.report.values import Section, Skipped

if TYPE_CHECKING:
    import pandas as pd

Result = TypeVar("Result", bound=TaskResult)
Run = TypeVar("Run", bound=TaskRun)
Kept = TypeVar("Kept")


class RunTable(NamedTuple):
    """A table of a run: ``name.csv`` and ``name.parquet``."""

    name: str
    table: pd.DataFrame
    columns: Sequence[Column]


class RunFolder(ABC, Generic[Result, Run, Kept]):
    """Writes a run's folder: given as its ``on_result``, called with every image; then `finish`.

    Of each image only what the report shows is kept, and of that the most urgent. A task says what
    its folder holds in the methods below.

    Parameters
    ----------
    folder : path
        Made if missing; files of an earlier run in it are replaced.

    Raises
    ------
    CannotWrite
        If it cannot be made.
    """

    inside: ClassVar[tuple[str, ...]] = ()
    """Folders in it."""
    title: ClassVar[str]
    """Of the report."""
    listed: ClassVar[tuple[str, ...]] = ()
    """Tables that ``run.json`` holds, beside the images."""

    def __init__(self, folder: str | Path):
        self._target = make_folder(folder, *self.inside)
        self._gallery: Gallery[Kept] = Gallery()
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._stems = FileStems()

    @abstractmethod
    def rank(self, result: Result) -> int:
        """Where the image stands in the report: the lowest comes first."""

    @abstractmethod
    def look(self, result: Result) -> Kept:
        """Return what the report keeps of an image."""

    @abstractmethod
    def tables(self, run: Run) -> Iterable[RunTable]:
        """Return the tables of a run."""

    @abstractmethod
    def sections(self, run: Run, shown: Sequence[Kept]) -> Sequence[Section | Skipped]:
        """Return what the report says."""

    def write_image(self, result: Result, stem: str) -> Mapping[str, Any]:
        """Write the files of one image, and return what ``run.json`` says of it."""
        return {}

    def write_more(self, run: Run) -> None:
        """Write what is no table and no report."""

    def asked(self, run: Run) -> Mapping[str, Any]:
        """Return what else ``run.json`` says of what the run was asked."""
        return {}

    def __call__(self, result: Result) -> None:
        """Write the files of one image.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        self._facts[result.name] = self.write_image(result, self._stems.of(result.name))
        self._gallery.offer(self.rank(result), result.name, lambda: self.look(result))

    def finish(self, run: Run, *, report: bool = True) -> Path:
        """Write tables, ``run.json`` and, unless it is not wanted, the report; return the folder.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        for name, table, columns in self.tables(run):
            write_table(table, self._target / f"{name}.csv")
            units = {c.name: c.unit for c in columns}
            write_table(table, self._target / f"{name}.parquet", units=units)
        self.write_more(run)
        write_bytes(self._target / "run.json", json_bytes(self._document(run)))
        if report:
            sections = self.sections(run, self._gallery.shown)
            version = str(run.provenance.get("version", ""))
            write_pages(self._target, self.heading(run), sections, version=version)
        return self._target

    def heading(self, run: Run) -> str:
        """Title of the report of this run."""
        return self.title

    def _document(self, run: Run) -> dict[str, Any]:
        rows = table_records(run.images)
        return {
            "provenance": run.provenance,
            "parameters": run.parameters,
            **self.asked(run),
            "images": [{**row, **self._facts.get(str(row["image"]), {})} for row in rows],
            **{name: table_records(getattr(run, name)) for name in self.listed},
            "failures": [{"path": f.path, "reason": f.reason} for f in run.failures],
        }

    def _write_picture(self, place: str, stem: str, picture: Rgb) -> None:
        write_bytes(self._target / place / f"{stem}.png", encode_png(picture))
