"""Head `amm`: Gaussians in the embedding of a small spectral-normalised network.

The "arbitrary mixture model" of MaskTerial (Uslu et al., Digital Discovery 4, 3744 (2025),
10.1039/D5DD00156K): contrast -> `network.Network` -> one Gaussian per class in 16 dimensions, and a
gate on the distance to the nearest. Classes whose contrasts are no ellipsoids become ellipsoids.
Here it answers per region, with the region's own error carried through the network, and with
probabilities (`confidence`) rather than the nearest class alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from layerscope.core.results import FloatArray, IntArray, LayerPosterior
from layerscope.errors import InputError, UnreadableFile
from layerscope.models.confidence import ClassScores, Confidence, fit_confidence, hold_out, metrics
from layerscope.models.heads import (
    HeadCard,
    answer,
    class_prior,
    read_head,
    require_labels,
    unusable_gaussians,
    write_head,
)
from layerscope.models.network import N_BLOCKS, WIDTH, Network, Schedule, train_network
from layerscope.models.samples import Samples, class_sd, describe

GATE = 10.0
"""Distance in standard deviations beyond which the published recipe gives no class."""

_RIDGE = 1e-5  # published: keeps directions that a class does not use invertible
_DRAWS = 4000  # per class, for its mean and covariance in the embedding
_ROWS = 2048  # regions per block while scoring: 16 x 16 matrices of 5 classes stay under 25 MB


@dataclass(frozen=True)
class EmbeddedGaussians:
    """The classes in the embedding.

    Attributes
    ----------
    labels : tuple of int
        0 (bare substrate, always learned) and the layer numbers, ascending.
    prior : ndarray, (K,)
    network : Network
    mean, covariance : ndarray, (K, 16) and (K, 16, 16)
        Of each class in the embedding.
    spread : ndarray, (K, 3, 3)
        Covariance of each class in contrast.
    """

    labels: tuple[int, ...]
    prior: FloatArray
    network: Network
    mean: FloatArray
    covariance: FloatArray
    spread: FloatArray

    def score(self, contrast: FloatArray, contrast_se: FloatArray) -> ClassScores:
        """Distances in the embedding; volumes in contrast space."""
        blocks = [slice(i, i + _ROWS) for i in range(0, max(len(contrast), 1), _ROWS)]
        distance2 = np.concatenate([self._distance2(contrast[b], contrast_se[b]) for b in blocks])
        error = np.einsum("ni,ij->nij", contrast_se**2, np.eye(3))
        volume = 0.5 * np.log(np.linalg.det(self.spread + error[:, None]))
        return ClassScores(distance2, volume)

    def _distance2(self, contrast: FloatArray, contrast_se: FloatArray) -> FloatArray:
        away = self.network.embed(contrast)[:, None] - self.mean
        own = self.network.slope(contrast) * contrast_se[:, None, :]
        total = self.covariance + _RIDGE * np.eye(WIDTH) + (own @ own.transpose(0, 2, 1))[:, None]
        solved = np.linalg.solve(total, away[..., None])[..., 0]
        return np.asarray(np.einsum("nki,nki->nk", away, solved), float)


@dataclass(frozen=True)
class _Pool:
    """Training contrasts, class after class, and how much to blur each class."""

    contrast: FloatArray
    start: IntArray
    count: IntArray
    blur: FloatArray

    def draw(self, index: IntArray, rng: np.random.Generator) -> FloatArray:
        """One contrast (3,) per class index, with replacement, blurred."""
        at = self.start[index] + (rng.random(len(index)) * self.count[index]).astype(np.int64)
        noise = rng.standard_normal((len(index), 3)) * self.blur[index]
        return np.asarray(self.contrast[at] + noise, float)


@dataclass(frozen=True)
class AmmHead:
    """Gaussians in a learned embedding.

    Attributes
    ----------
    card : HeadCard
    gaussians : EmbeddedGaussians
    confidence : Confidence
    """

    card: HeadCard
    gaussians: EmbeddedGaussians
    confidence: Confidence

    name = "amm"

    @property
    def classes(self) -> tuple[int, ...]:
        """Layer numbers that the head knows, ascending."""
        return self.card.classes

    @classmethod
    def fit(
        cls,
        samples: Samples,
        *,
        schedule: Schedule | None = None,
        shrink_regions: float = 5.0,
        priors: Mapping[int, float] | None = None,
        description: Mapping[str, str] | None = None,
        seed: int = 0,
    ) -> Self:
        """Learn from labelled pixels or regions.

        Without substrate samples, class 0 is taken at contrast zero with the usual class width.

        Parameters
        ----------
        samples : Samples
        schedule : Schedule, optional
            Length of training; ``Schedule(spectral_norm=None)`` is the published ablation.
        shrink_regions : float, optional
            Weight, in regions, of the class width that is usual for such images: samples are
            blurred by its share, so that one labelled flake per class is enough.
        priors : mapping of int to float, optional
            How common each layer number is; equal unless given.
        description : mapping of str to str, optional
            Material, substrate, tone, licence ... for the card.
        seed : int, optional

        Raises
        ------
        InputError
            If there is no labelled sample.
        """
        require_labels(samples.layers)
        plan = schedule or Schedule()

        def build(part: Samples) -> EmbeddedGaussians:
            return _fit_gaussians(part, plan, shrink_regions, priors, seed)

        held_out = hold_out(build, samples)
        confidence = fit_confidence(held_out, Confidence(GATE))
        gaussians = build(samples)
        about = describe(samples, {**(description or {}), "seed": str(seed)})
        about |= {"schedule": asdict(plan)}
        known = tuple(k for k in gaussians.labels if k > 0)
        card = HeadCard(known, about, metrics(held_out, confidence), asdict(confidence))
        return cls(card, gaussians, confidence)

    def predict(
        self,
        contrast: FloatArray,
        contrast_se: FloatArray,
        *,
        max_layers: int = 10,
        layer_nm: float | None = None,
    ) -> LayerPosterior:
        """Posterior over layers.

        Parameters
        ----------
        contrast, contrast_se : ndarray, (n, 3)
            As `ops.tone.contrast` gives them; rows that are not finite get `UNKNOWN`.
        max_layers : int, optional
            Columns of the answer; classes above it count as thick.
        layer_nm : float, optional
            Thickness of one layer; without it no thickness is given.
        """
        return answer(
            self.gaussians,
            self.confidence,
            contrast,
            contrast_se,
            max_layers=max_layers,
            layer_nm=layer_nm,
        )

    def save(self, path: str | Path) -> None:
        """Write the head to one JSON file."""
        arrays = vars(self.gaussians) | vars(self.gaussians.network)
        write_head(path, self.name, self.card, {name: arrays[name] for name in _SHAPES})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a head that `save` wrote.

        Raises
        ------
        UnreadableFile
            If the file is missing, malformed or changed after it was written.
        """
        card, arrays = read_head(path, cls.name, _SHAPES)
        confidence = Confidence.from_thresholds(card.thresholds, path)
        labels = tuple(int(k) for k in arrays["labels"])
        network = Network(**{name: arrays[name] for name in Network.__dataclass_fields__})
        mean, covariance, spread = (arrays[n] for n in ("mean", "covariance", "spread"))
        ridge = _RIDGE * np.eye(WIDTH)
        wrong = unusable_gaussians(labels, mean, covariance + ridge)
        wrong = wrong or unusable_gaussians(labels, mean[:, :3], spread)
        if wrong or network.scale.min() <= 0:
            raise UnreadableFile(f"{path}: {wrong or 'a scale of the network is not positive'}")
        gaussians = EmbeddedGaussians(labels, arrays["prior"], network, mean, covariance, spread)
        return cls(card, gaussians, confidence)


_SHAPES: Mapping[str, tuple[int | str, ...]] = {
    "labels": ("K",),
    "prior": ("K",),
    "mean": ("K", WIDTH),
    "covariance": ("K", WIDTH, WIDTH),
    "spread": ("K", 3, 3),
    "centre": (3,),
    "scale": (3,),
    "first": (WIDTH, 3),
    "first_bias": (WIDTH,),
    "blocks": (N_BLOCKS, WIDTH, WIDTH),
    "block_biases": (N_BLOCKS, WIDTH),
}


def _fit_gaussians(
    samples: Samples,
    schedule: Schedule,
    shrink_regions: float,
    priors: Mapping[int, float] | None,
    seed: int,
) -> EmbeddedGaussians:
    labels = tuple(sorted({0, *(int(k) for k in np.unique(samples.layers))}))
    prior = class_prior(labels, priors)
    pool = _pool(samples, labels, shrink_regions)
    rng = np.random.default_rng(seed)
    classes = np.arange(len(labels))
    balanced = np.resize(classes, schedule.batch)
    seen = pool.draw(np.repeat(classes, _DRAWS), rng)
    centre, scale = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-4)
    network = train_network(
        lambda r: (pool.draw(balanced, r), balanced),
        len(labels),
        centre,
        scale,
        schedule=schedule,
        rng=rng,
    )
    drawn = [pool.draw(np.full(_DRAWS, k), rng) for k in classes]
    embedded = [network.embed(d) for d in drawn]
    mean = np.array([e.mean(axis=0) for e in embedded])
    covariance = np.array([np.cov(e.T) for e in embedded])
    spread = np.array([np.cov(d.T) + 1e-10 * np.eye(3) for d in drawn])
    return EmbeddedGaussians(labels, prior, network, mean, covariance, spread)


def _pool(samples: Samples, labels: tuple[int, ...], shrink_regions: float) -> _Pool:
    parts, blur = [], []
    for k in labels:
        mine = samples.contrast[samples.layers == k]
        n = samples.n_regions(k)
        if not len(mine):
            mine, share = np.zeros((1, 3)), 1.0
        elif shrink_regions > 0:
            share = shrink_regions / (shrink_regions + n) + 1 / n
        else:
            share = 0.0
        parts.append(mine)
        blur.append(np.sqrt(share) * class_sd(mine.mean(axis=0)))
    count = np.array([len(p) for p in parts])
    if shrink_regions <= 0 and count[np.array(labels) > 0].min() < 4:
        raise InputError("a class has under 4 samples: label more, or leave shrink_regions alone")
    return _Pool(np.concatenate(parts), np.cumsum(count) - count, count, np.array(blur))
