"""Search for the sizes of a coverage model before it is trained: ``--tune 50``.

The study searched CNNsc and its MLPs by Bayesian optimisation; here a tree-structured Parzen
estimator does (Bergstra et al., NeurIPS 2011), which is as good with so few trials. Each trial
trains for a share of the time and is judged by the error on the pictures that training stops by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from layerscope.errors import MissingExtra
from layerscope.training.coverage_models import CoverageModel

if TYPE_CHECKING:
    from layerscope.training.coverage_settings import CoverageSettings, Parts

_SEARCH_SHARE = 0.5  # of the minutes
_TRIAL_EPOCHS = 20
_RATES = (2e-5, 2e-3)
_BATCHES = (4, 8, 16, 32)


def search(
    parts: Parts, settings: CoverageSettings, tell: Callable[[str], None]
) -> tuple[CoverageModel, dict[str, Any]]:
    """Try ``settings.tune`` choices; return the model with the best and its network's options.

    Raises
    ------
    MissingExtra
        Without optuna.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtra.of("--tune", "train") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=settings.seed)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    each = replace(
        settings,
        tune=0,
        minutes=_SEARCH_SHARE * settings.minutes / settings.tune,
        epochs=min(settings.epochs or _TRIAL_EPOCHS, _TRIAL_EPOCHS),
    )
    kept: dict[str, Any] = {}
    study.optimize(lambda trial: _try(trial, parts, each, kept), n_trials=settings.tune)
    model, options = _choice(study.best_trial, settings.published)
    tell(
        f"best of {settings.tune} trials: MAE {study.best_value:.3f} with {options}, learning rate "
        f"{model.learning_rate:.2g}, batch {model.batch}"
    )
    return model, options


def _choice(trial: Any, model: CoverageModel) -> tuple[CoverageModel, dict[str, Any]]:
    """Read a trial: as its sampler draws, or as it was drawn."""
    rate = trial.suggest_float("learning_rate", *_RATES, log=True)
    batch = trial.suggest_categorical("batch", _BATCHES)
    layers = tuple(
        trial.suggest_int(f"hidden_{i}", low, high, log=True)
        for i, (low, high) in enumerate(((32, 256), (16, 128)))
    )
    options: dict[str, Any] = {"hidden": layers}
    if model.network == "cnnsc":
        options["widths"] = tuple(
            trial.suggest_int(f"width_{i}", 4, high, log=True)
            for i, high in enumerate((48, 32, 16, 16))
        )
    return replace(model, learning_rate=rate, batch=batch), options


def _try(trial: Any, parts: Parts, settings: CoverageSettings, kept: dict[str, Any]) -> float:
    from layerscope.training.coverage_fit import make_network, make_task, run_task

    model, options = _choice(trial, settings.published)
    network = make_network(model, settings, options)
    task = make_task(network, model, parts, settings.seed, kept)
    fitted = run_task(task, model, settings)
    return float(fitted.history["valid_mae"].min()) if len(fitted.history) else float("inf")
