"""The record of a scan: failures, parameters, versions and hashes."""

from __future__ import annotations

import hashlib

import numpy as np

from layerscope.core.scan import STATUS_MEANING, Status
from layerscope.report.columns import words
from layerscope.report.record_tables import value_tables
from layerscope.report.scan_facts import Scan
from layerscope.report.scan_numbers import share_bounds
from layerscope.report.scan_text import counted, whole
from layerscope.report.values import Section, Table

MAX_HASHES = 200
"""Images up to which each hash is listed; above, one hash stands for the list."""
PRINTED_FAILURES = 50


def failures(scan: Scan) -> Section:
    """Count every status, and name each image that failed with its reason."""
    n = len(scan.images)
    status = np.array(words(scan.images, "status"), dtype=object)
    rows = []
    for name, meaning in STATUS_MEANING.items():
        count = int((status == name).sum())
        if count or not name.failed:
            share = share_bounds(count, n)
            text = "–" if not n else f"{100 * share.value:.2f} %"
            rows.append((str(name), whole(count), text, meaning))
    rows.append(("all", whole(n), "100 %" if n else "–", "inputs"))
    caption = "Every input has one status. Counts of all inputs: they have no interval."
    statuses = Table(("status", "images", "share", "meaning"), tuple(rows), caption, code=(0,),
                     numeric=(1, 2), widths=(1.6, 0.9, 0.9, 5))  # fmt: skip
    if not scan.failed.any():
        return Section("Failures", ("Every input could be analysed.",), tables=(statuses,))
    return Section("Failures", tables=(statuses, _failed_table(scan)))


def _failed_table(scan: Scan) -> Table:
    table = scan.images[scan.failed]
    cells = zip(words(table, "image"), words(table, "status"), words(table, "reason"), strict=True)
    rows = tuple(
        (name, status, _short(name, reason) or STATUS_MEANING[Status(status)])
        for name, status, reason in cells
    )
    return Table(
        ("image", "status", "reason"), rows, f"{counted(len(rows), 'image')} not analysed",
        code=(1,), widths=(2.2, 1.5, 5), folded=len(rows) > PRINTED_FAILURES,
        printed=PRINTED_FAILURES,
    )  # fmt: skip


def _short(name: str, reason: str) -> str:
    """Reason in one line, without the name that stands beside it."""
    return " ".join(reason.split()).removeprefix(f"{name}: ")


def record(scan: Scan) -> Section:
    """Give parameters, versions and hashes: what is needed to repeat the scan."""
    result = scan.result
    tables = (*value_tables(result.parameters, result.provenance), _hash_table(scan))
    return Section("Parameters, versions, hashes", tables=tables)


def _hash_table(scan: Scan) -> Table:
    names, hashes = words(scan.images, "image"), words(scan.images, "sha256")
    lines = "".join(f"{h}  {n}\n" for n, h in sorted(zip(names, hashes, strict=True)))
    rows = [(f"all {len(names)} lines “hash, two spaces, name”, sorted by name",
             hashlib.sha256(lines.encode()).hexdigest())]  # fmt: skip
    if len(names) <= MAX_HASHES:
        rows += [(n, h or "not read") for n, h in zip(names, hashes, strict=True)]
    caption = "Inputs" if len(names) <= MAX_HASHES else "Inputs; each hash is in the images table"
    return Table(("image", "SHA-256"), tuple(rows), caption, code=(1,), widths=(2, 5))
