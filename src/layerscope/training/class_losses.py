"""Losses of classes that overlap, as a user writes them: ``flake=tversky:0.8:0.2``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerscope.errors import InputError
from layerscope.training.losses import LOSSES, SIGMOID, BceDice, ByClass, Loss, build_loss


def losses_of(wanted: Sequence[str], classes: Sequence[str]) -> Loss:
    """Loss of each class: cross-entropy and Dice, or what was asked for.

    Parameters
    ----------
    wanted : sequence of str
        ``CLASS=LOSS`` with a name of `losses.LOSSES` and its numbers in their order after colons:
        ``flake=tversky:0.8:0.2`` weighs false positives 0.8 and false negatives 0.2.
    classes : sequence of str

    Raises
    ------
    InputError
        If a class or loss is not known, or a number is none.
    """
    found = {}
    for text in wanted:
        name, equals, loss = text.partition("=")
        if not equals or name not in classes:
            raise InputError(f"loss {text!r}: expected CLASS=LOSS of {', '.join(classes)}")
        found[list(classes).index(name)] = _loss_of(loss)
    return ByClass(SIGMOID, found, BceDice(SIGMOID))


def _loss_of(text: str) -> Any:
    name, *numbers = text.split(":")
    order = [f for f in LOSSES[name].__dataclass_fields__ if f != "activation"]
    try:
        values = dict(zip(order, map(float, numbers), strict=False))
    except ValueError:
        raise InputError(f"loss {text!r}: expected numbers after the colons") from None
    if len(numbers) > len(order) or not hasattr(LOSSES[name], "per_class"):
        raise InputError(f"loss {text!r}: expected e.g. tversky:0.8:0.2, bce+dice or focal:2")
    return build_loss(name, activation=SIGMOID, **values)
