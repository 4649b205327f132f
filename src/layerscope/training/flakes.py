"""Teach a pretrained flake network what is wanted, from a handful of labelled images.

`layerscope train flakes`: a network that finds every crystal learns to prefer, say, the thin ones.
A judge learns that from few images in seconds and leaves outlines alone; from many images the
network's outlines are taught too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import CropMasks
from layerscope.errors import InputError, UnknownName
from layerscope.measure.scores_overlap import mask_iou
from layerscope.models.card import ModelCard, TrainingSet
from layerscope.models.file import Model
from layerscope.models.flake_maps import FlakeModel
from layerscope.models.instances import Decoding
from layerscope.models.judge import JUDGE_KEY, Judge
from layerscope.models.shipped import open_model
from layerscope.ops.normalisation import as_unit, normalise
from layerscope.tasks.flakes import find_flakes
from layerscope.tasks.joined_flakes import join_detections
from layerscope.tasks.learned_flakes import decoding_of, find_flakes_learned
from layerscope.training.export import copy_model, export_model
from layerscope.training.flake_judge import Marked, fit_judge
from layerscope.training.flake_patches import MILD
from layerscope.training.flake_targets import depth_of
from layerscope.training.loop import FitSettings, Fitted, Progress
from layerscope.training.networks import build
from layerscope.training.networks.flake import MAPS, FlakeNetwork
from layerscope.training.networks.network import Network
from layerscope.training.pretrain import fit_flakes
from layerscope.training.scenes import Scene
from layerscope.training.seen import fingerprints
from layerscope.training.weights import load_weights

Labels = npt.NDArray[np.uint16]

GEOMETRIES = ("auto", "keep", "learn")
MANY = 20


@dataclass(frozen=True)
class FlakeSettings:
    """How to fine-tune.

    Attributes
    ----------
    base : str
        Name of a shipped model or path of a model file to start from; its weights lie beside it.
    geometry : str
        ``keep`` the outlines that the base draws, ``learn`` others, or ``auto``: learn from
        `MANY` images on. Taught by 3 images the network alone fell from AP 0.16 to 0.08 on
        graphene in another light; with its outlines kept the judge raises it to 0.42.
    minutes : float
        Wall time, at most; 0: no limit.
    steps, batch, side_px : int
        Steps at most, patches per step and their side.
    learning_rate : float
        A tenth of that of pretraining.
    seed : int
    """

    base: str = "flake-n"
    geometry: str = "auto"
    minutes: float = 5.0
    steps: int = 400
    batch: int = 8
    side_px: int = 256
    learning_rate: float = 3e-4
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse another word for the geometry."""
        if self.geometry not in GEOMETRIES:
            raise UnknownName.of("geometry", self.geometry, GEOMETRIES)


def take_examples(data: DataSet, few: int, seed: int = 0) -> DataSet:
    """Choose `few` of the examples, of as many specimens as there are; all if `few` is 0.

    Raises
    ------
    InputError
        If there are fewer.
    """
    if not 0 <= few <= len(data):
        raise InputError(f"{few} images asked for: there are {len(data)} labelled ones")
    order = np.random.default_rng([seed, 47]).permutation(len(data)).tolist()
    met: dict[str, int] = {}
    turn: dict[int, int] = {}
    for i in order:
        turn[i] = met[data.groups[i]] = met.get(data.groups[i], -1) + 1
    chosen = sorted(order, key=lambda i: turn[i])[: few or len(data)]
    return data.take(sorted(chosen))


def train_flakes(
    data: DataSet,
    out: str | os.PathLike[str],
    settings: FlakeSettings | None = None,
    *,
    progress: Callable[[Progress], None] = lambda told: None,
) -> ModelCard:
    """Fine-tune a flake network on labelled images and write it as one file.

    Parameters
    ----------
    data : DataSet
        With objects, or with a label map whose connected areas of one value are the objects.
    out : path
        Ends in ``.onnx``.
    settings : FlakeSettings, optional
    progress : callable
        Told after each step.

    Returns
    -------
    ModelCard

    Raises
    ------
    InputError
        If nothing is marked, the base is no flake network, or it is to keep outlines of which none
        is that of a marked flake.
    """
    wanted = settings or FlakeSettings()
    scenes, base = scenes_of(data), _base(wanted.base)
    if wanted.geometry == "keep" or (wanted.geometry == "auto" and len(data) < MANY):
        card, beside = _taught(data, wanted, base, base.card, 0)
        if not card.metrics["marked_found"]:
            raise InputError(
                f"{wanted.base} draws none of the marked outlines at an overlap of half; mark each"
                " terrace as far as its colour goes, or take --geometry learn"
            )
        return copy_model(base.path, card, out, beside)
    network = load_base(wanted.base)
    steps = fine_tune(network, scenes, wanted, progress=progress).steps
    live = Live(base.card, network.eval())
    card, beside = _taught(data, wanted, live, base.card, steps)
    network.half = True
    return export_model(network, card, out, half=True, beside=beside)


def _taught(
    data: DataSet, settings: FlakeSettings, live: Live | Model, base: ModelCard, steps: int
) -> tuple[ModelCard, dict[str, str]]:
    """Card of what was taught and, where regions can be told apart, the text of the judge."""
    share = choose_parting(live, data)
    card = _card(data, settings, base, steps, share)
    judge, figures = judge_of(replace(live, card=card), data, settings.seed)
    named = replace(card, metrics={**card.metrics, **figures})
    return named, {JUDGE_KEY: judge.to_text()} if judge else {}


def judge_of(
    live: FlakeModel, data: DataSet, seed: int = 0
) -> tuple[Judge | None, dict[str, float]]:
    """Fit a judge to the regions of the network, and to those of both finders together.

    See `flake_judge.fit_judge`. Held out together are specimens, or images of a single one.
    """
    images, groups = [], []
    names = data.groups if len(set(data.groups)) > 1 else tuple(map(str, range(len(data))))
    for example, group in zip(data.examples, names, strict=True):
        image, marks = _micrograph(example), _marked(example)
        learned, _ = find_flakes_learned(image, live)
        classical, _ = find_flakes(image)
        for found in (learned, join_detections(classical, learned)):
            images.append(Marked.of(found, *marks))
            groups.append(group)
    return fit_judge(images, groups, seed)


def fine_tune(
    network: FlakeNetwork,
    scenes: Sequence[Scene],
    settings: FlakeSettings,
    *,
    progress: Callable[[Progress], None] = lambda told: None,
) -> Fitted:
    """Train all layers but the norms at a small rate; `network` is changed in place."""
    network.keep_norms = True
    return fit_flakes(
        network,
        scenes,
        FitSettings(
            steps=settings.steps, minutes=settings.minutes, learning_rate=settings.learning_rate,
            warmup_steps=20, ema=0.98, validations=0, seed=settings.seed,
        ),
        MILD,
        batch=settings.batch,
        side_px=settings.side_px,
        progress=progress,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Live:
    """A network in memory, asked as a model file is; a `models.flake_maps.FlakeModel`.

    Attributes
    ----------
    card : ModelCard
    network : Network
        Ready to be asked: in `eval` mode.
    sha256 : str
    """

    card: ModelCard
    network: Network
    sha256: str = ""

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Ask the network."""
        import torch

        with torch.no_grad():
            answer: npt.NDArray[np.float32] = self.network(torch.from_numpy(batch)).numpy()
        return answer


def choose_parting(live: FlakeModel, data: DataSet) -> float:
    """Choose whether terraces are parted by plateaus of colour, by what fits the labels better.

    Some people mark every terrace, some the whole flake.

    Returns
    -------
    float
        `Decoding.plateau_share`: the usual, or 1 for no parting.
    """
    shares = (Decoding().plateau_share, 1.0)
    scores = [sum(_agreement(live, e, s) for e in data.examples) for s in shares]
    return shares[int(np.argmax(scores))]


def _agreement(live: FlakeModel, example: Example, share: float) -> float:
    """F1 of the regions at IoU 0.5 on one labelled image."""
    cuts = replace(decoding_of(live), plateau_share=share)
    found, _ = find_flakes_learned(_micrograph(example), live, decoding=cuts)
    marked = CropMasks.from_labels(_marked(example)[0])
    hits = np.count_nonzero(mask_iou(found.masks, marked).max(axis=1, initial=0) >= 0.5)
    return 2 * hits / max(len(found) + len(marked), 1)


def _micrograph(example: Example) -> Micrograph:
    pixels = example.read_image()
    white = 255.0 if pixels.dtype == np.uint8 else 1.0
    return Micrograph(pixels if pixels.shape[2] == 3 else pixels[..., 0], white_level=white)


def load_base(base: str) -> FlakeNetwork:
    """Flake network with the weights that lie beside the model file `base`.

    Raises
    ------
    InputError
        If the file is no flake network.
    """
    model = _base(base)
    network = build(model.card.network, channels=model.card.channels, outputs=len(MAPS))
    if not isinstance(network, FlakeNetwork):
        raise InputError(f"{model.path.name}: {model.card.network} is no flake network here")
    load_weights(network, model.path.with_suffix(".safetensors"), least=1.0)
    return network


def _base(name: str) -> Model:
    model = open_model(name)
    card = model.card
    if card.output != "instances" or not card.network.startswith("flake-"):
        raise InputError(
            f"{model.path.name}: network {card.network!r}, output {card.output}; expected a flake"
            " network"
        )
    return model


def scenes_of(data: DataSet) -> tuple[Scene, ...]:
    """Labelled images as scenes to draw patches from.

    Raises
    ------
    InputError
        If no object is marked in any of them.
    """
    scenes = tuple(scene_of(e) for e in data.examples)
    if not any(s.terraces.any() for s in scenes):
        raise InputError(f"{len(scenes)} images without one marked flake; mark some outlines")
    return scenes


def scene_of(example: Example) -> Scene:
    """Contrast of one labelled image and its terraces; objects without outline teach nothing."""
    image = as_unit(example.read_image())
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    terraces, ignored = _marked(example)
    contrast = normalise("contrast", image).astype(np.float16)
    return Scene(contrast, terraces, depth_of(CropMasks.from_labels(terraces)), ignored)


def _marked(example: Example) -> tuple[Labels, npt.NDArray[np.uint8]]:
    if example.instances is None:
        return _areas(example.label_map())
    terraces = np.zeros(example.shape, np.uint16)
    ignored = np.zeros(example.shape, np.uint8)
    # Where outlines overlap the smaller terrace lies on the larger one.
    ordered = sorted(example.instances, key=lambda i: -i.area_px)
    for number, instance in enumerate(ordered, start=1):
        top, left, bottom, right = instance.box
        where = (slice(top, bottom), slice(left, right))
        if instance.mask is None or instance.crowd:
            ignored[where] = 1
            continue
        mask = instance.mask[: terraces[where].shape[0], : terraces[where].shape[1]]
        terraces[where][mask] = number
    ignored[terraces > 0] = 0
    return terraces, ignored


def _areas(classes: npt.NDArray[np.uint8]) -> tuple[Labels, npt.NDArray[np.uint8]]:
    """Give each connected area of one class a number; what nobody labelled is ignored."""
    terraces = np.zeros(classes.shape, np.uint16)
    for value in np.unique(classes):
        if value in (0, IGNORE):
            continue
        _, area = cv2.connectedComponents((classes == value).astype(np.uint8), connectivity=4)
        here = area > 0
        terraces[here] = area[here] + terraces.max()
    return terraces, (classes == IGNORE).astype(np.uint8)


def _card(
    data: DataSet, settings: FlakeSettings, base: ModelCard, steps: int, plateau_share: float
) -> ModelCard:
    own = TrainingSet(
        "the user's images",
        images=len(data.examples),
        groups=len(set(data.groups)),
        seen=fingerprints(e.read_image() for e in data.examples),
    )
    return replace(
        base,
        name=f"{base.network} taught",
        trained_on=(*base.trained_on, own),
        metrics={k: v for k, v in base.metrics.items() if not steps},
        settings={**asdict(settings), "steps_taken": steps, "plateau_share": plateau_share},
    )
