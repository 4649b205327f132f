"""Look after a run folder: how far it is, whether it is still right, what to try again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from layerscope.batch.ledger import Entry, all_entries, release_images
from layerscope.batch.lock import RunLock
from layerscope.batch.parts import part_path
from layerscope.batch.plan import Plan
from layerscope.batch.progress import read_progress
from layerscope.batch.tables import CHANGED, RECORD, published_files
from layerscope.core.scan import Status
from layerscope.errors import InputError


def scan_status(folder: str | Path) -> dict[str, Any]:
    """Report how far a scan is, from its ledger; safe to ask while it runs.

    Returns
    -------
    dict
        Counts of images in all, looked at, waiting, failed and by status; of regions and chunks;
        whether it is running or finished; and the last snapshot of its driver, or None.
    """
    plan = Plan.load(folder)
    found = _latest(plan, "find")
    by_status = Counter(i.status for e in found.values() for i in e.images)
    looked_at = sum(by_status.values())
    progress = read_progress(plan.folder)
    return {
        "images": len(plan.inputs),
        "looked_at": looked_at,
        "waiting": len(plan.inputs) - looked_at,
        "by_status": dict(sorted(by_status.items())),
        "failed": sum(n for s, n in by_status.items() if Status(s).failed),
        "regions": sum(e.regions for e in found.values()),
        "chunks_measured": len(_latest(plan, "measure")),
        "chunks": plan.n_chunks,
        "running": RunLock(plan.folder).is_held(),
        "finished": looked_at == len(plan.inputs) and bool(published_files(plan.folder)),
        "progress": asdict(progress) if progress else None,
    }


def _latest(plan: Plan, stage: str) -> dict[int, Entry]:
    """One entry per chunk whose part is there; the driver's, who merges, before those of shards."""
    out = {}
    for (own, chunk), entries in all_entries(plan.folder).items():
        if own == stage and part_path(plan.folder, own, chunk).exists():
            out[chunk] = entries[0]
    return out


@dataclass(frozen=True)
class Verification:
    """What a check of all bytes found; every tuple is one line per fault."""

    parts: int
    images: int
    damaged: tuple[str, ...]
    changed: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether parts, tables and images are what they were."""
        return not (self.damaged or self.changed or self.missing)


def verify_scan(folder: str | Path) -> Verification:
    """Read every part, table and image again and compare with the hashes of the ledger.

    Nothing else detects a bit that flipped in a JPEG: decoders take most of them for pixels.

    Raises
    ------
    InputError
        If the folder holds no scan.
    """
    plan = Plan.load(folder)
    entries = all_entries(plan.folder)
    finished = (plan.folder / RECORD).exists()
    every = [(s, c) for s in ("find", "measure") for c in range(plan.n_chunks)]
    parts = [place for place in every if finished or place in entries]
    damaged, changed, missing, images = _damaged_tables(plan.folder), [], [], 0
    for stage, chunk in parts:
        path = part_path(plan.folder, stage, chunk)
        sha256 = _sha256(path)
        entry = next((e for e in entries.get((stage, chunk), ()) if e.part_sha256 == sha256), None)
        if entry is None:
            damaged.append(f"{path}: {CHANGED}")
            continue
        for item, image in zip(plan.chunk(chunk), entry.images, strict=False):
            images += bool(image.sha256)
            now = _sha256(Path(item.path)) if image.sha256 else ""
            if now is None:
                missing.append(f"{item.path}: no longer there")
            elif now != image.sha256:
                changed.append(f"{item.path}: not the bytes that were analysed")
    return Verification(len(parts), images, tuple(damaged), tuple(changed), tuple(missing))


def _damaged_tables(folder: Path) -> list[str]:
    """Faults of a finished scan's tables; none of a scan that is not finished."""
    known = published_files(folder)
    if not known and (folder / RECORD).exists():
        return [f"{folder / RECORD}: {CHANGED}"]
    return [f"{folder / n}: {CHANGED}" for n, s in known.items() if _sha256(folder / n) != s]


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def retry_scan(folder: str | Path, statuses: Collection[str]) -> int:
    """Forget the outcome of failed images, so that the next `scan` looks at them again.

    Parameters
    ----------
    folder : path
    statuses : collection of str
        Which ones, e.g. ``{"failed_timeout"}``; empty: all that failed.

    Returns
    -------
    int
        Images that will be looked at again.

    Raises
    ------
    InputError
        If a status is unknown or no failure, or a driver is at work.
    """
    known = {str(s) for s in Status if s.failed}
    unknown = sorted(set(statuses) - known)
    if unknown:
        raise InputError(f"status {unknown[0]!r}: expected one of {', '.join(sorted(known))}")
    plan, wanted = Plan.load(folder), set(statuses) or known
    with RunLock(plan.folder):
        numbers = set()
        for chunk, entry in _latest(plan, "find").items():
            own = {i.number for i in entry.images if i.status in wanted}
            if own:
                part_path(plan.folder, "find", chunk).unlink()
            numbers |= own
        release_images(plan.folder, numbers)
    return len(numbers)
