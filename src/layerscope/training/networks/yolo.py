"""YOLOv8 and YOLO11 with masks, through ultralytics where the user has installed it.

ultralytics is licensed AGPL-3.0: whoever distributes a program with it, or offers one over a
network, owes its source under that licence or needs another licence from its owner. Nothing here
imports it before `YoloFinder` is made, and layerscope does not depend on it. It trains by its own
loop on a data set in its own format (`io.annotated` writes ``yolo_seg``); it is no entry of
`NETWORKS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError, MissingExtra, UnknownName, UnreadableFile
from layerscope.training.networks.network import FoundMask
from layerscope.training.weights import read_state

YOLO = {
    f"yolo/{version}{size}": f"yolo{version}{size}-seg.yaml"
    for version in ("v8", "11")
    for size in ("n", "s", "m")
}
"""Name -> configuration of ultralytics."""


class YoloFinder:
    """A YOLO network with masks.

    Parameters
    ----------
    name : str
        One of `YOLO`.
    weights : path, optional
        File of tensors that `save` wrote. The files that ultralytics itself writes are pickles,
        which could run code, and are refused.

    Raises
    ------
    UnknownName
        No such network.
    MissingExtra
        ultralytics is not installed.
    UnreadableFile
        Weights that are of another network or could run code.
    """

    def __init__(self, name: str, weights: str | Path | None = None):
        if name not in YOLO:
            raise UnknownName.of("yolo network", name, YOLO)
        self.name = name
        self._yolo = _ultralytics().YOLO(YOLO[name])
        self.origin = "starts from scratch"
        if weights is not None:
            self._load(Path(weights))

    def train(
        self,
        data: str | Path,
        folder: str | Path,
        *,
        epochs: int = 100,
        image_px: int = 640,
        batch: int = 8,
        seed: int = 0,
    ) -> None:
        """Train on a data set in the format of ultralytics; its files go to `folder`.

        Parameters
        ----------
        data : path
            ``data.yaml`` of the data set.
        folder : path
            Where ultralytics keeps curves and checkpoints.
        epochs, image_px, batch, seed : int
        """
        data, folder = Path(data), Path(folder)
        if not data.is_file():
            raise UnreadableFile(f"{data}: no such file; the data.yaml of a data set was expected")
        self._yolo.train(
            data=str(data), epochs=epochs, imgsz=image_px, batch=batch, seed=seed,
            deterministic=True, workers=0, plots=False, verbose=False,
            project=str(folder.parent), name=folder.name, exist_ok=True,
        )  # fmt: skip
        self.origin = f"{self.name}, trained by ultralytics on {data.parent.name}"

    def find(
        self, image: NDArray[np.uint8], least: float = 0.25, image_px: int = 640
    ) -> list[FoundMask]:
        """Objects in an image (H, W, 3) RGB, best first; classes count from 1."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(
                f"an image of {image.shape} {image.dtype}; yolo takes (H, W, 3) uint8 RGB"
            )
        answer = self._yolo.predict(
            np.ascontiguousarray(image[..., ::-1]),  # it reads arrays as BGR
            conf=least, imgsz=image_px, retina_masks=True, verbose=False,
        )[0]  # fmt: skip
        if answer.masks is None:
            return []
        found = [
            FoundMask(int(index) + 1, float(score), mask > 0.5)
            for index, score, mask in zip(
                answer.boxes.cls.tolist(),
                answer.boxes.conf.tolist(),
                answer.masks.data,
                strict=True,
            )
        ]
        return sorted(found, key=lambda f: -f.score)

    def save(self, path: str | Path) -> None:
        """Write the weights as tensors, a .safetensors file."""
        from safetensors.torch import save_file

        state = self._yolo.model.state_dict()
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in state.items()}, path)

    def _load(self, path: Path) -> None:
        state, ours = read_state(path), self._yolo.model.state_dict()
        fitting = {k: v for k, v in state.items() if k in ours and v.shape == ours[k].shape}
        if len(fitting) < 0.9 * len(ours):
            raise UnreadableFile(
                f"{path}: {len(fitting)} of {len(ours)} entries match {self.name}; "
                "choose the file of this network"
            )
        self._yolo.model.load_state_dict(fitting, strict=False)
        self.origin = f"{self.name} from {path.name}, {len(fitting)} of {len(ours)} entries"


def _ultralytics() -> Any:
    try:
        import ultralytics
    except ImportError:
        raise MissingExtra(
            "yolo needs ultralytics, which layerscope does not install because its licence is "
            "AGPL-3.0: pip install ultralytics if that suits you"
        ) from None
    return ultralytics


__all__ = ["YOLO", "YoloFinder"]
