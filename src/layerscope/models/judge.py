"""Which regions are of the kind that a person marked: a small forest over colour and size.

Whatever finds a region, its outline stays; the judge only says how wanted it is. A handful of
marked images is enough for that, where it is far too little to teach a network another outline.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from layerscope.core.results import Detections, Flag, FloatArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.models.trees import Trees
from layerscope.models.trees_file import forest_graph, read_forests

JUDGE_KEY = "layerscope.judge"
"""Where in the ONNX metadata of a flake model its judge is."""

_DARKEST = 0.02
FEATURES = ("log_contrast_red", "log_contrast_green", "log_contrast_blue", "log_area_px")


@dataclass(frozen=True, eq=False)
class Judge:
    """Trees that tell marked regions from others.

    Attributes
    ----------
    trees : Trees
        Over `FEATURES`; two classes, the second is *marked*.
    least : float
        A region of less probability gets the flag ``unlike_marked``; 0 to 1.
    """

    trees: Trees
    least: float

    def __post_init__(self) -> None:
        if self.trees.features != len(FEATURES) or self.trees.classes != 2:
            raise InputError(
                f"a judge over {self.trees.features} features and {self.trees.classes} classes;"
                f" expected {len(FEATURES)} and 2"
            )
        if not 0 <= self.least <= 1:
            raise InputError(f"least probability {self.least}: expected 0 to 1")

    def judged(self, found: Detections) -> Detections:
        """Regions with the probability of being wanted as their score, unwanted ones flagged."""
        if not len(found):
            return found
        wanted = np.clip(self.trees.probabilities(region_features(found))[:, 1], 0, 1)
        flags = np.where(wanted < self.least, int(Flag.UNLIKE_MARKED), 0)
        return replace(found, score=wanted, flags=found.flags | flags)

    def to_text(self) -> str:
        """Trees and threshold as one line of ASCII; the same judge, the same text."""
        graph = base64.b64encode(forest_graph([self.trees])).decode()
        return json.dumps({"features": FEATURES, "least": self.least, "trees": graph})

    @classmethod
    def from_text(cls, text: str) -> Judge:
        """Read what `to_text` wrote.

        Raises
        ------
        UnreadableFile
            If it is damaged or over other features.
        """
        try:
            said = json.loads(text)
            if tuple(said["features"]) != FEATURES:
                raise ValueError(f"over {', '.join(map(str, said['features']))}")
            (trees,) = read_forests(base64.b64decode(said["trees"], validate=True))
            return cls(trees, float(said["least"]))
        except (KeyError, TypeError, ValueError, binascii.Error, InputError) as reason:
            raise UnreadableFile(f"the judge of this model cannot be used: {reason}") from None


def region_features(found: Detections) -> npt.NDArray[np.float32]:
    """Colour and size of regions: `FEATURES`, (n, 4).

    The contrast is against the bare substrate beside, so that light and camera fall out; on marked
    graphene colour and area rank better than with the finder's own score (AP 0.42 against 0.34).
    """
    bare: FloatArray = np.maximum(found.signal.background, 1e-3)
    contrast = np.log(np.maximum(found.signal.level / bare, _DARKEST))
    area = np.log(np.maximum(found.masks.area_px, 1))
    return np.column_stack([contrast, area]).astype(np.float32)
