"""The sections of the report, in their order."""

from __future__ import annotations

from collections.abc import Mapping

from layerscope.core.micrograph import Micrograph
from layerscope.core.run import RunResult
from layerscope.errors import LayerscopeError
from layerscope.registry import Registry
from layerscope.report.pictures import Pictures
from layerscope.report.values import Section, Skipped

_OWN = {
    "summary": "layerscope.report.sections:summary",
    "best_flakes": "layerscope.report.sections:best_flakes",
    "distributions": "layerscope.report.sections:distributions",
    "contrast_cloud": "layerscope.report.physics_sections:contrast_cloud",
    "calibration": "layerscope.report.physics_sections:calibration",
    "reliability": "layerscope.report.physics_sections:reliability",
    "images": "layerscope.report.record_sections:images",
    "failures": "layerscope.report.record_sections:failures",
    "record": "layerscope.report.record_sections:record",
    "glossary": "layerscope.report.record_sections:glossary",
}
SECTIONS = Registry("section", _OWN)
"""``section(run, pictures) -> Section | Skipped`` by name; outside packages add theirs through the
entry-point group ``layerscope.sections`` and stand after the layers and before the images."""


def build_sections(
    run: RunResult, micrographs: Mapping[str, Micrograph] | None = None
) -> tuple[Section | Skipped, ...]:
    """Every section of the report of `run`.

    Parameters
    ----------
    run : RunResult
    micrographs : mapping of str to Micrograph, optional
        Images in memory, by name; others are read again from their path.

    Returns
    -------
    tuple of Section or Skipped
        A section that has nothing to show, or whose input is missing, says so in one line.
    """
    pictures = Pictures(run.images, micrographs)
    own = list(_OWN)
    outside = sorted(name for name in SECTIONS if name not in _OWN)
    split = own.index("images")
    return tuple(_build(n, run, pictures) for n in (*own[:split], *outside, *own[split:]))


def _build(name: str, run: RunResult, pictures: Pictures) -> Section | Skipped:
    try:
        part: Section | Skipped = SECTIONS[name](run, pictures)
    except LayerscopeError as error:
        return Skipped(name.replace("_", " ").capitalize(), str(error))
    return part
