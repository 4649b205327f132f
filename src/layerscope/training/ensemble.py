"""How sure networks are: several trained apart in one file, or one network's own dropout.

`Ensemble` is what ``layerscope train phases --members 3`` writes. Monte-Carlo dropout lives in
torch and not in the model file: the dropout of ONNX Runtime draws from a global state that no input
sets, so that the same image would give another answer each time; and masks that are drawn once and
stored are members that never were trained apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from layerscope.errors import InputError
from layerscope.training.networks.network import Network

_SMALLEST = 1e-12  # of a variance: the root of zero has no slope


class Ensemble(Network):
    """Networks of one kind, trained apart, that answer together.

    Lakshminarayanan, Pritzel and Blundell, NeurIPS 2017 (arXiv 1612.01474), without adversarial
    training.

    Parameters
    ----------
    members : sequence of Network
        Two or more, with the same channels, outputs and stride.
    apart : bool
        Each output is a class by itself, not one class per pixel.
    """

    def __init__(self, members: Sequence[Network], *, apart: bool = False):
        if len(members) < 2:
            raise InputError(f"an ensemble of {len(members)}: expected 2 networks or more")
        first = members[0]
        super().__init__(first.channels, first.outputs, first.stride)
        self.name = first.name
        self.origin = first.origin
        self.members = nn.ModuleList(members)
        self.apart = apart

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the mean probability, and the spread, both (N, K, H, W).

        The softmax of the first is the mean of the members' softmaxes, of classes apart the sigmoid
        that of their sigmoids. The second is the standard deviation of the members' probabilities
        around it.
        """
        if self.apart:
            raw = torch.stack([member(images) for member in self.members])
            yes, no = (logsigmoid(sign * raw).logsumexp(0) for sign in (1, -1))
            far = raw.sigmoid() - (yes - no).sigmoid()
            return yes - no, far.square().mean(0).clamp_min(_SMALLEST).sqrt()
        told = torch.stack([member(images).log_softmax(1) for member in self.members])
        logits = told.logsumexp(0) - math.log(len(self.members))
        return logits, (told.exp() - logits.exp()).square().mean(0).clamp_min(_SMALLEST).sqrt()


_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def mc_dropout(
    network: nn.Module, images: Tensor, *, draws: int = 20, seed: int = 0, softmax: bool = True
) -> tuple[Tensor, Tensor]:
    """Mean and spread of a network's answers with its dropout left on.

    Parameters
    ----------
    network : Module
        With dropout layers; left as it was.
    images : Tensor, (N, C, H, W)
        Normalised.
    draws : int
        Answers, 2 or more.
    seed : int
        The same seed gives the same numbers.
    softmax : bool
        One class per pixel; False: independent maps.

    Returns
    -------
    mean, spread : Tensor, (N, K, H, W)
        Of the probabilities; spread is their standard deviation.

    Raises
    ------
    InputError
        If the network has no dropout that is on, or `draws` is below 2.

    Notes
    -----
    Gal and Ghahramani, ICML 2016 (arXiv 1506.02142). Batch norm stays as in prediction.
    """
    layers = [m for m in network.modules() if isinstance(m, _DROPOUT) and m.p > 0]
    if not layers or draws < 2:
        raise InputError(
            "MC dropout needs a network with dropout and 2 draws or more; without dropout train"
            " several seeds and read their files as an ensemble"
        )
    before = {module: module.training for module in network.modules()}
    network.eval()
    for layer in layers:
        layer.train()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            answers = torch.stack([_probability(network(images), softmax) for _ in range(draws)])
    finally:
        for module, training in before.items():
            module.training = training
    return answers.mean(0), answers.std(0, correction=0)


def _probability(logits: Tensor, softmax: bool) -> Tensor:
    return logits.softmax(1) if softmax else logits.sigmoid()
