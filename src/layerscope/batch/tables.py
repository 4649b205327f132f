"""From finished parts to the tables of a scan: images, objects, sites; written piece by piece."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope import __version__
from layerscope.batch.conclusions import Setups
from layerscope.batch.ledger import Entry
from layerscope.batch.parts import Failed, part_path, read_found, read_part
from layerscope.batch.plan import ALGORITHM, Input, Plan
from layerscope.batch.progress import Progress
from layerscope.batch.seal import digest, seal, unseal
from layerscope.batch.wafer import find_sites, outline_reader, read_affine
from layerscope.batch.work import ROW, Desk
from layerscope.core.scan import IMAGE_COLUMNS, SITE_COLUMNS, ScanResult, Status
from layerscope.finding import Found
from layerscope.io.atomic import write_bytes
from layerscope.io.sources import printable
from layerscope.io.tables import TableWriter, write_table
from layerscope.measure import glossary

if TYPE_CHECKING:
    import pandas as pd

TABLES = (
    "images.csv", "images.parquet", "objects.csv", "objects.parquet", "sites.csv", "sites.parquet",
    "failures.csv", "stage.json",
)  # fmt: skip
RECORD, _REPORTED = "result.json", ".reported"
CHANGED = "not what was written; 'layerscope scan' or 'merge' makes it again"


def publish(
    plan: Plan,
    found: Mapping[int, Entry],
    measured: Mapping[int, Entry],
    setups: Setups,
    progress: Progress,
    *,
    report: bool = True,
) -> ScanResult:
    """Write tables, sites and report; files that are right already are left as they are.

    Parameters
    ----------
    plan : Plan
    found, measured : mapping of int to Entry
        Finished parts of every chunk.
    setups : Setups
    progress : Progress
    report : bool
    """
    import pandas as pd

    shas = [[e[c].part_sha256 for c in sorted(e)] for e in (found, measured)]
    places = [[i.name, i.path, i.position and repr(i.position)] for i in plan.inputs]
    key = digest([__version__, ALGORITHM, shas, setups.numbers, places])
    if not _is_published(plan.folder, key):
        progress.begin("tables", len(plan.inputs))
        images = _images(plan, setups)
        _write_objects(plan)
        write_table(images, plan.folder / "images.csv")
        write_table(images, plan.folder / "images.parquet", units=_units())
        failed = images[images["reason"] != ""][["image", "path", "status", "reason"]]
        write_table(failed, plan.folder / "failures.csv")
        objects = pd.read_parquet(plan.folder / "objects.parquet")
        sites, _ = find_sites(plan, objects)
        write_table(sites, plan.folder / "sites.csv")
        write_table(sites, plan.folder / "sites.parquet", units=_units())
        _record(plan.folder, key)
    result = load_scan(plan.folder)
    if report and not _has_report(plan.folder, key):
        from layerscope.report.scan import write_scan_report

        progress.begin("report", len(plan.inputs))
        write_scan_report(result, plan.folder, outlines=outline_reader(plan))
        write_bytes(plan.folder / _REPORTED, key.encode())
    progress.begin("done", len(plan.inputs), len(plan.inputs))
    return result


def load_scan(folder: str | Path) -> ScanResult:
    """Read the result of a finished scan.

    Raises
    ------
    InputError
        If the folder holds no scan, or one that is not finished.
    """
    import pandas as pd

    from layerscope.errors import InputError

    desk = Desk(Path(folder))
    where = desk.folder
    known = published_files(where)
    if not known:
        raise InputError(
            f"{where}: the scan is not finished; 'layerscope status' says how far it is"
        )
    for name in ("images.parquet", "objects.parquet", "sites.parquet", "stage.json"):
        if _sha256(where / name) != known.get(name):
            raise InputError(f"{where / name}: {CHANGED}")
    settings = desk.plan.settings
    affine, notes = read_affine(where)
    return ScanResult(
        images=pd.read_parquet(where / "images.parquet"),
        objects=pd.read_parquet(where / "objects.parquet"),
        sites=pd.read_parquet(where / "sites.parquet"),
        calibration=None if settings.head else desk.calibration,
        affine=affine,
        parameters=settings.as_json(),
        provenance={"version": __version__, "survey": list(desk.survey.notes), "stage": notes},
    )


def published_files(folder: Path) -> dict[str, str]:
    """SHA-256 by name of the files that the last complete result consists of; empty without one."""
    return _recorded(folder)[1]


def _recorded(folder: Path) -> tuple[str, dict[str, str]]:
    try:
        record = unseal((folder / RECORD).read_bytes())
        return record["key"], record["files"]
    except (OSError, ValueError, KeyError):
        return "", {}


def _is_published(folder: Path, key: str) -> bool:
    known, files = _recorded(folder)
    return known == key and all(_sha256(folder / n) == s for n, s in files.items())


def _has_report(folder: Path, key: str) -> bool:
    try:
        return (folder / _REPORTED).read_text() == key and (folder / "report.html").exists()
    except (OSError, ValueError):
        return False


def _record(folder: Path, key: str) -> None:
    files = {name: _sha256(folder / name) for name in TABLES}
    text = seal({"key": key, "files": files}, indent=1)
    write_bytes(folder / RECORD, (text + "\n").encode())


def _sha256(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _units() -> dict[str, str]:
    table = glossary()
    units = dict(zip(table["column"], table["unit"], strict=True))
    return units | {c.name: c.unit for c in (*SITE_COLUMNS, *IMAGE_COLUMNS)}


def _images(plan: Plan, setups: Setups) -> pd.DataFrame:
    import pandas as pd

    rows = [row for chunk in range(plan.n_chunks) for row in _image_rows(plan, chunk, setups)]
    columns = {c.name: [r.get(c.name) for r in rows] for c in IMAGE_COLUMNS}
    kinds = {c.name: c.dtype for c in IMAGE_COLUMNS}
    return pd.DataFrame({n: pd.Series(v, dtype=kinds[n]) for n, v in columns.items()})


def _image_rows(plan: Plan, chunk: int, setups: Setups) -> Iterator[dict[str, Any]]:
    found = read_found(part_path(plan.folder, "find", chunk), masks=False)
    finished = {i["number"]: i for i in _finished(plan.folder, chunk)}
    for item, row in zip(plan.chunk(chunk), found, strict=True):
        own = _place(item) | {
            "image": item.name,
            "path": printable(item.path),
            "sha256": "",
            "notes": "",
        }
        if isinstance(row, Failed):
            unknown = {"pixel_size_source": ""}
            yield own | unknown | {"status": str(row.status), "reason": row.reason}
        else:
            yield own | _image_row(row, finished[item.number], setups.numbers[item.number])


def _image_row(row: Found, finished: Mapping[str, Any], setup: int) -> dict[str, Any]:
    size = row.pixel_size
    background = dict(zip("rgb", row.background.level.tolist(), strict=True))
    return {
        "status": str(Status.OK if finished["regions"] else Status.EMPTY),
        "reason": "",
        "sha256": row.sha256,
        "height_px": row.shape[0],
        "width_px": row.shape[1],
        "pixel_size_um": size.um if size else None,
        "pixel_size_source": size.source if size else "",
        "setup": setup,
        **{f"background_{c}": v for c, v in background.items()},
        "noise": float(row.background.noise.mean()),
        "regions": finished["regions"],
        "notes": "; ".join(finished["notes"]),
    }


def _place(item: Input) -> dict[str, float | None]:
    at = item.position
    if at is None:
        return {}
    return {"stage_x_um": at.x_um, "stage_y_um": at.y_um, "stage_z_um": at.z_um}


def _finished(folder: Path, chunk: int) -> list[dict[str, Any]]:
    metadata = read_part(part_path(folder, "measure", chunk)).schema.metadata or {}
    images: list[dict[str, Any]] = json.loads(metadata[b"images"])
    return images


def _write_objects(plan: Plan) -> None:
    """Both forms in one pass, a chunk at a time: memory does not grow with the scan."""
    units = _units()
    with (
        TableWriter(plan.folder / "objects.csv") as text,
        TableWriter(plan.folder / "objects.parquet", units=units) as binary,
    ):
        for frame in _object_frames(plan):
            text.append(frame)
            binary.append(frame)


def _object_frames(plan: Plan) -> Iterator[pd.DataFrame]:
    """Frames of the objects table in order; at least one, so that its columns are there."""
    from layerscope.core.results import Detections
    from layerscope.measure import measure

    some = False
    for chunk in range(plan.n_chunks):
        table = read_part(part_path(plan.folder, "measure", chunk))
        if table.num_rows:
            some = True
            yield table.drop_columns([ROW]).to_pandas()
    if not some:
        yield measure(Detections.empty((1, 1)), pixel_size=None)
