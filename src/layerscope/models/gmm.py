"""Head `gmm`: one Gaussian per layer number in contrast space.

The recipe of Uslu et al., Mach. Learn.: Sci. Technol. 5, 015027 (2024), with the layer taken from
the label; the published one sorts components by falling red contrast, which fails wherever a
contrast is positive or does not grow with thickness (hBN, thick flakes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from layerscope.core.results import FloatArray, LayerPosterior
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
from layerscope.models.samples import Samples, class_sd, describe

GATE = 5.0
"""Distance in standard deviations beyond which the published recipe gives no class."""

Method = Literal["em", "supervised"]

_NOISE_START = 0.05
_NOISE_MOST = 0.5
_NOISE_LEAST = 20
_RIDGE = 1e-8
_EM_STEPS = 60


@dataclass(frozen=True)
class Gaussians:
    """The classes in contrast space.

    Attributes
    ----------
    labels : tuple of int
        Layer number per class, ascending; 0, if there, is bare substrate.
    prior : ndarray, (K,)
    mean : ndarray, (K, 3)
        Contrast R, G, B.
    covariance : ndarray, (K, 3, 3)
    """

    labels: tuple[int, ...]
    prior: FloatArray
    mean: FloatArray
    covariance: FloatArray

    def score(self, contrast: FloatArray, contrast_se: FloatArray) -> ClassScores:
        """Mahalanobis distances, with each region's own error added to the class covariance."""
        error = np.einsum("ni,ij->nij", contrast_se**2, np.eye(3))
        total = self.covariance + error[:, None]
        away = contrast[:, None] - self.mean
        distance2 = np.einsum("nki,nki->nk", away, np.linalg.solve(total, away[..., None])[..., 0])
        return ClassScores(distance2, 0.5 * np.log(np.linalg.det(total)))


@dataclass(frozen=True)
class GmmHead:
    """One Gaussian per layer number.

    Attributes
    ----------
    card : HeadCard
    gaussians : Gaussians
    confidence : Confidence
    """

    card: HeadCard
    gaussians: Gaussians
    confidence: Confidence

    name = "gmm"

    @property
    def classes(self) -> tuple[int, ...]:
        """Layer numbers that the head knows, ascending."""
        return self.card.classes

    @classmethod
    def fit(
        cls,
        samples: Samples,
        *,
        method: Method = "em",
        shrink_regions: float = 5.0,
        priors: Mapping[int, float] | None = None,
        description: Mapping[str, str] | None = None,
    ) -> Self:
        """Learn from labelled pixels or regions.

        Parameters
        ----------
        samples : Samples
        method : {"em", "supervised"}, optional
            Mean and covariance with one broad noise component whose share per class is found by
            expectation maximisation, or plain mean and covariance.
        shrink_regions : float, optional
            Weight, in regions, of the class width that is usual for such images: what makes one
            labelled flake per class enough. 0 gives plain covariances.
        priors : mapping of int to float, optional
            How common each layer number is; equal unless given.
        description : mapping of str to str, optional
            Material, substrate, tone, licence ... for the card.

        Raises
        ------
        InputError
            If there is no labelled sample, or a class cannot have a covariance.
        """
        require_labels(samples.layers)

        def build(part: Samples) -> Gaussians:
            return _fit_gaussians(part, method, shrink_regions, priors)

        held_out = hold_out(build, samples)
        confidence = fit_confidence(held_out, Confidence(GATE))
        about = describe(samples, {**(description or {}), "method": method})
        return cls._from(build(samples), confidence, about, metrics(held_out, confidence))

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, Mapping[str, Any]],
        *,
        description: Mapping[str, str] | None = None,
    ) -> Self:
        """Build from a published table of means and covariances.

        Parameters
        ----------
        table : mapping
            ``{"1": {"contrast": {"b": ., "g": ., "r": .}, "covariance_matrix": 3 x 3 in the
            order b, g, r}, ...}``; contrast is I / I_substrate - 1.

        Raises
        ------
        InputError
            If the table is not like this.
        """
        try:
            rows = sorted((int(k), v["contrast"], v["covariance_matrix"]) for k, v in table.items())
            labels = tuple(k for k, _, _ in rows)
            mean = np.array([[float(c[x]) for x in "rgb"] for _, c, _ in rows])
            covariance = np.array([np.asarray(s, float)[::-1, ::-1] for _, _, s in rows])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(
                "contrast table: expected {layer: {contrast: {b, g, r}, covariance_matrix}}, "
                f"found otherwise ({error!r})"
            ) from None
        wrong = unusable_gaussians(labels, mean, covariance)
        if wrong or labels[0] < 1:
            raise InputError(f"contrast table: {wrong or 'layer numbers start at 1'}")
        gaussians = Gaussians(labels, np.full(len(labels), 1 / len(labels)), mean, covariance)
        about = {**(description or {}), "method": "published table"}
        return cls._from(gaussians, Confidence(GATE), about, {})

    @classmethod
    def _from(
        cls,
        gaussians: Gaussians,
        confidence: Confidence,
        training: Mapping[str, Any],
        figures: Mapping[str, Any],
    ) -> Self:
        known = tuple(k for k in gaussians.labels if k > 0)
        return cls(HeadCard(known, training, figures, asdict(confidence)), gaussians, confidence)

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
        write_head(path, self.name, self.card, vars(self.gaussians))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a head that `save` wrote.

        Raises
        ------
        UnreadableFile
            If the file is missing, malformed or changed after it was written.
        """
        shapes = {"labels": ("K",), "prior": ("K",), "mean": ("K", 3), "covariance": ("K", 3, 3)}
        card, arrays = read_head(path, cls.name, shapes)
        confidence = Confidence.from_thresholds(card.thresholds, path)
        labels = tuple(int(k) for k in arrays["labels"])
        wrong = unusable_gaussians(labels, arrays["mean"], arrays["covariance"])
        if wrong:
            raise UnreadableFile(f"{path}: {wrong}")
        del arrays["labels"]
        return cls(card, Gaussians(labels, **arrays), confidence)


def shrunk_covariance(
    covariance: FloatArray, mean: FloatArray, n_regions: int, shrink_regions: float
) -> FloatArray:
    """Covariance (3, 3) of a class of which `n_regions` regions were seen.

    The posterior mean of an inverse-Wishart prior worth `shrink_regions` regions, times
    1 + 1 / n for the uncertainty of the mean (Gelman et al., Bayesian Data Analysis, 3rd ed.,
    section 3.6); unchanged where `shrink_regions` is 0.
    """
    if shrink_regions <= 0:
        return covariance
    usual = np.diag(class_sd(mean) ** 2)
    mixed = (shrink_regions * usual + n_regions * covariance) / (shrink_regions + n_regions)
    return np.asarray(mixed * (1 + 1 / n_regions), float)


def _fit_gaussians(
    samples: Samples, method: Method, shrink: float, priors: Mapping[int, float] | None
) -> Gaussians:
    if method not in ("em", "supervised"):
        raise InputError(f"method {method!r}: expected 'em' or 'supervised'")
    labels = tuple(int(k) for k in np.unique(samples.layers))
    prior = class_prior(labels, priors)
    shares = _trust(samples, labels) if method == "em" else np.ones(len(samples))
    means, covariances = [], []
    for k in labels:
        mine = samples.layers == k
        mean, covariance = _moments(samples.contrast[mine], shares[mine])
        n = samples.n_regions(k)
        means.append(mean)
        covariances.append(shrunk_covariance(covariance, mean, n, shrink))
        if np.linalg.eigvalsh(covariances[-1])[0] <= 1e-12:
            raise InputError(
                f"{k} layers: {mine.sum()} samples are too few for a covariance; "
                "label more, or leave shrink_regions at its default"
            )
    return Gaussians(labels, prior, np.array(means), np.array(covariances))


def _trust(samples: Samples, labels: tuple[int, ...]) -> FloatArray:
    """Probability per sample that it is of its class and not noise.

    The noise is one Gaussian shared by all classes, four times as wide as all samples together;
    each class has its own share of it, at most half, so that no class can vanish into it. Classes
    with under 20 samples are believed whole.
    """
    x, trust = samples.contrast, np.ones(len(samples))
    centre, spread = _moments(x, trust)
    noise = _density(x, centre, 16 * spread + 1e-4 * np.eye(3))
    for k in labels:
        mine = np.flatnonzero(samples.layers == k)
        if len(mine) >= _NOISE_LEAST:
            trust[mine] = _trust_in_class(x[mine], noise[mine])
    return trust


def _trust_in_class(x: FloatArray, noise: FloatArray) -> FloatArray:
    """Iterate from a robust start: from a wide one, slipped labels never leave."""
    share, trust = _NOISE_START, _near_median(x)
    for _ in range(_EM_STEPS):
        mean, covariance = _moments(x, trust)
        own = (1 - share) * _density(x, mean, covariance + _RIDGE * np.eye(3))
        before, trust = trust, own / (own + share * noise)
        share = min(float(1 - trust.mean()), _NOISE_MOST)
        if np.abs(trust - before).max() < 1e-4:
            break
    return trust


def _near_median(x: FloatArray) -> FloatArray:
    """1 within four robust standard deviations of the median in every channel, else 0."""
    away = np.abs(x - np.median(x, axis=0))
    return np.asarray((away <= 4 * 1.4826 * np.median(away, axis=0) + 1e-9).all(axis=1), float)


def _moments(x: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted mean and unbiased covariance; zero covariance for a single sample."""
    total = weight.sum()
    mean = weight @ x / total
    scatter = np.einsum("n,ni,nj->ij", weight, x - mean, x - mean)
    return mean, scatter / max(total - 1, 1)


def _density(x: FloatArray, mean: FloatArray, covariance: FloatArray) -> FloatArray:
    away = x - mean
    distance2 = np.einsum("ni,ni->n", away, np.linalg.solve(covariance, away.T).T)
    volume = np.sqrt((2 * np.pi) ** 3 * np.linalg.det(covariance))
    return np.asarray(np.exp(-0.5 * distance2) / volume, float)
