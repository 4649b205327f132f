"""The ten models of the published WSe2 coverage study, and ours: what each is, how it is trained.

Numbers are those of the study's code where code and text differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_REGRESSION_PX, _SEGMENTATION_PX = 224, 512
_PATCHES, _LARGE_PATCHES = 10, 5


@dataclass(frozen=True)
class CoverageModel:
    """One model and its training.

    Attributes
    ----------
    network : str
        Name in `training.networks`.
    description : str
    weights : str
        What the study started from: ``imagenet``, ``micronet`` or nothing.
    gives : str
        ``"number"``: coverage of a patch; ``"maps"``: film or not, per pixel.
    channels : int
    normalisation : str
    size_px : int
        Side of a patch.
    patches : int
        Valid patches per image.
    learning_rate : float
    batch, epochs : int
    loss : str
    loss_parameters : mapping
    goals : mapping of str to float
        Training ends when every figure is as low.
    patience : int
        Or after so many epochs without a gain.
    on_the_fly : bool
        Patches are turned and mirrored anew each time they are seen.
    frozen : bool
        The head alone learns, on features of copies that are turned and mirrored beforehand.
    sides_px : tuple of int, optional
        Whole pictures whose short side lies between are taken as they are; the others are brought
        to the nearer end. None: all are brought to `side_px`, as in the study.
    reads : str
        ``"picture"``, or ``"film"``: the channels of `tasks.coverage.channels`.
    """

    network: str
    description: str
    weights: str = ""
    gives: str = "number"
    channels: int = 3
    normalisation: str = "imagenet"
    size_px: int = _REGRESSION_PX
    patches: int = _PATCHES
    learning_rate: float = 2.25e-4
    batch: int = 8
    epochs: int = 5500
    loss: str = "mse"
    loss_parameters: Mapping[str, Any] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    patience: int = 0
    on_the_fly: bool = False
    frozen: bool = False
    sides_px: tuple[int, int] | None = None
    reads: str = "picture"

    @property
    def side_px(self) -> int:
        """Longest that the short side of a whole picture may be, where no pixel size says it.

        The study took 512 px for all. A patch of 512 px fits only when magnified then, so that
        those models saw no picture at the scale they were asked at; they get 768 here.
        """
        if self.sides_px is not None:
            return self.sides_px[1]
        if self.gives == "maps":
            return 3 * self.size_px // 2
        return round(self.size_px * _SEGMENTATION_PX / _REGRESSION_PX)

    @property
    def least_side_px(self) -> int:
        """Shortest that it may be."""
        return self.side_px if self.sides_px is None else self.sides_px[0]


def _scratch(description: str, train: float, valid: float, on_the_fly: bool) -> CoverageModel:
    return CoverageModel(
        "cnnsc", description, channels=1, normalisation="unit", on_the_fly=on_the_fly,
        goals={"train_mae": train, "valid_mae": valid},
    )  # fmt: skip


def _frozen(weights: str, description: str, goal: float) -> CoverageModel:
    return CoverageModel(
        "frozen/resnet18", description, weights, batch=16, epochs=3500, frozen=True,
        goals={"train_mae": goal},
    )  # fmt: skip


def _tuned(weights: str, description: str) -> CoverageModel:
    return CoverageModel(
        "regressor/resnet18", description, weights, learning_rate=2.25e-5, batch=32, epochs=4500,
        on_the_fly=True, goals={"train_mae": 0.033, "valid_mae": 0.020},
    )  # fmt: skip


def _segmenter(encoder: str, weights: str, description: str) -> CoverageModel:
    return CoverageModel(
        f"unet++/{encoder}", description, weights, "maps", size_px=_SEGMENTATION_PX,
        patches=_LARGE_PATCHES, learning_rate=1e-4, batch=6, epochs=500, loss="bce+dice",
        loss_parameters={"bce": 0.7, "dice": 0.3, "activation": "sigmoid"}, patience=30,
    )  # fmt: skip


COVERAGE_MODELS: Mapping[str, CoverageModel] = {
    "cnn-sc": _scratch("CNNsc: four convolutions, from scratch", 0.03, 0.023, True),
    "cnn-sc-star": _scratch("CNNsc*: the same without augmentation", 0.035, 0.06, False),
    "mlp-i": _frozen("imagenet", "MLP-I: three layers on ResNet-18 of ImageNet", 0.052),
    "mlp-m": _frozen("micronet", "MLP-M: three layers on ResNet-18 of MicroNet", 0.030),
    "cnn-i": _tuned("imagenet", "CNN-I: ResNet-18 of ImageNet, trained on"),
    "cnn-m": _tuned("micronet", "CNN-M: ResNet-18 of MicroNet, trained on"),
    "seg18-i": _segmenter("resnet18", "imagenet", "SEG18-I: U-Net++ on ResNet-18 of ImageNet"),
    "seg18-m": _segmenter("resnet18", "micronet", "SEG18-M: U-Net++ on ResNet-18 of MicroNet"),
    "seg50": _segmenter("se-resnext50", "micronet", "SEG50: U-Net++ on SE-ResNeXt-50"),
    "seg101": _segmenter("se-resnext101", "micronet", "SEG101: U-Net++ on SE-ResNeXt-101"),
    "robust": CoverageModel(
        "light-n", "ours: a light U-Net, scale and look drawn anew for every patch", "", "maps",
        channels=4, normalisation="unit", size_px=192, patches=0, learning_rate=4e-3,
        batch=4, epochs=0, loss="bce+dice", loss_parameters={"activation": "sigmoid"},
        on_the_fly=True, sides_px=(192, 384), reads="film",
    ),
}  # fmt: skip
"""Name for ``layerscope train coverage --model`` to model."""
