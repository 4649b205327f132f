"""How good a network of objects is on images held out: figures, threshold, honest scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray
from layerscope.measure.reliability import score_diagram
from layerscope.measure.scores_objects import Pair, object_figures, right_objects
from layerscope.models.yolo import calibrated
from layerscope.models.yolo_decode import Picking

_FEWEST_RIGHT = 5


def judge(
    pairs: Sequence[Pair], n_classes: int
) -> tuple[float, tuple[float, float], dict[str, Any]]:
    """Threshold, calibration and figures from what was found on images held out.

    Returns
    -------
    cut : float
        Raw score of the best F1; the usual one where nothing can be told.
    calibration : (float, float)
        See `models.yolo.calibrated`.
    metrics : dict
    """
    usual = Picking().least
    if not any(len(marked) for _, marked in pairs):
        return usual, (1.0, 0.0), {}
    score = np.concatenate([f.score for f, _ in pairs])
    right = np.concatenate([right_objects(f, m) for f, m in pairs])
    marked = sum(len(m) for _, m in pairs)
    metrics: dict[str, Any] = {k: _short(v) for k, v in object_figures(pairs, n_classes).items()}
    metrics |= {"held_out_images": len(pairs), "held_out_objects": marked}
    if min(right.sum(), (~right).sum()) < _FEWEST_RIGHT:
        return usual, (1.0, 0.0), metrics
    cut = best_cut(score, right, marked)
    kept = score >= cut
    hits = int(right[kept].sum())
    metrics |= {"precision": _short(hits / kept.sum()), "recall": _short(hits / marked)}
    calibration = fit_calibration(score, right)
    image = np.repeat(np.arange(len(pairs)), [len(f) for f, _ in pairs])
    fair = held_out_calibration(score, right, image)
    raw, honest = _error(score, right), _error(fair, right)
    if honest >= raw:  # of few objects none can be learned: the scores stay as they are
        calibration, honest = (1.0, 0.0), raw
    metrics |= {"ece_raw": _short(raw), "ece": _short(honest)}
    return cut, calibration, metrics


def best_cut(score: FloatArray, right: npt.NDArray[np.bool_], marked: int) -> float:
    """Score from which on objects give the best F1."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(right[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + marked)
    return float(np.clip(np.floor(1e4 * score[order][int(f1.argmax())]) / 1e4, 0.01, 0.99))


def fit_calibration(score: FloatArray, right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and shift of the logit that make scores probabilities, by Newton's method.

    Platt (1999), with his targets that leave no probability at 0 or 1; the slope stays positive.
    """
    inside = np.clip(score, 1e-6, 1 - 1e-6)
    x = np.column_stack([np.log(inside / (1 - inside)), np.ones(len(score))])
    hits, n = float(right.sum()), len(right)
    wanted = np.where(right, (hits + 1) / (hits + 2), 1 / (n - hits + 2))
    weights = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (p - wanted) + 1e-3 * (weights - (1.0, 0.0))
        curve = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        weights = weights - np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    return max(float(weights[0]), 0.05), float(weights[1])


def held_out_calibration(
    score: FloatArray, right: npt.NDArray[np.bool_], image: npt.NDArray[np.int64]
) -> FloatArray:
    """Scores calibrated by the images of the other parity, so that none judges itself."""
    out = score.copy()
    for part in (0, 1):
        here = image % 2 == part
        if 0 < right[~here].sum() < (~here).sum():
            out[here] = calibrated(score[here], fit_calibration(score[~here], right[~here]))
    return out


def lines_of(metrics: dict[str, Any]) -> list[str]:
    """Say how good the objects of held-out images were."""
    if not metrics:
        return ["nothing was held out: no scores, and scores of objects are not calibrated"]
    lines = [
        f"held out: mask AP50 {metrics['mask_ap50']:.3f}, AP50-90 {metrics['mask_ap50_90']:.3f}; "
        f"box AP50 {metrics['box_ap50']:.3f}, AP50-90 {metrics['box_ap50_90']:.3f}"
    ]
    if "precision" in metrics:
        lines.append(
            f"at the chosen score: precision {metrics['precision']:.3f}, recall "
            f"{metrics['recall']:.3f}; calibration error {metrics['ece_raw']:.3f} -> "
            f"{metrics['ece']:.3f}"
        )
    else:
        lines.append("too few right or wrong answers held out: scores are not calibrated")
    return lines


def _error(score: FloatArray, right: npt.NDArray[np.bool_]) -> float:
    return float(score_diagram(score, right).calibration_error)


def _short(value: float) -> float:
    return round(float(value), 4)
