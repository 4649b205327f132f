"""Entries of `NETWORKS`: how each network is made, and its line in the reference."""

from __future__ import annotations

from functools import partial

from layerscope.training.networks.flake import flake_network
from layerscope.training.networks.light import WIDTHS, LightNetwork
from layerscope.training.networks.network import Architecture


def _light(name: str) -> Architecture:
    return Architecture(
        partial(LightNetwork, width=WIDTHS[name]),
        "separable U-Net at half resolution, for computers without a GPU",
    )


def _flake(name: str) -> Architecture:
    return Architecture(
        partial(flake_network, name), "the flake finder's: foreground, boundary and depth"
    )


LIGHT_N = _light("light-n")
LIGHT_S = _light("light-s")
LIGHT_M = _light("light-m")
FLAKE_N = _flake("flake-n")
FLAKE_S = _flake("flake-s")
FLAKE_M = _flake("flake-m")
