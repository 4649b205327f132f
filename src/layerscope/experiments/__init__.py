"""Studies of the published questions, one command each: ``layerscope experiment NAME``.

A study trains small networks, once per seed and arm, and compares the arms seed by seed. An
outside package adds one with an entry point in the group ``layerscope.experiments`` that names a
`Study`.
"""

from __future__ import annotations

from layerscope.registry import Registry

_HERE = "layerscope.experiments."

EXPERIMENTS = Registry(
    "experiment",
    {
        "transfer": _HERE + "transfer:TRANSFER",
        "size": _HERE + "size:SIZE",
        "few-shot": _HERE + "few_shot:FEW_SHOT",
        "noise": _HERE + "noise:NOISE",
        "adaptation": _HERE + "adaptation:ADAPTATION",
        "wse2": _HERE + "wse2:WSE2",
        "tmd": _HERE + "tmd:TMD",
    },
)
"""Name -> `study.Study`."""

__all__ = ["EXPERIMENTS"]
