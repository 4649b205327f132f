"""Synthetic pictures of partly grown films as the world of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from layerscope.errors import InputError
from layerscope.experiments.labelled import Labelled
from layerscope.experiments.study import Effort
from layerscope.training.coverage_scenes import synthetic_films

_ROLES = {"target": 0, "test": 1}


@dataclass(frozen=True)
class FilmWorld:
    """Levelled scans shown as grey pictures, with exact masks; every picture is its own film.

    They are clear enough to be labelled by a threshold, as those of the study were. Coverage is
    spread evenly from 2 to 98 %. Short sides are three quarters, one and one and a half
    times those of the effort, so that whole pictures come in several sizes and scales.
    """

    material: str = "WSe2, MoS2, WS2"
    substrate: str = "sapphire, SiO2"

    @property
    def classes(self) -> tuple[str, ...]:
        """See `World`."""
        return ("substrate", "film")

    @property
    def ranges(self) -> None:
        """See `World`."""
        return None

    @property
    def sources(self) -> tuple[str, ...]:
        """See `World`."""
        return ()

    def target(self, seed: int, effort: Effort) -> Labelled:
        """See `World`."""
        return _drawn(effort.target_images, seed, "target", effort)

    def test(self, seed: int, effort: Effort) -> Labelled:
        """See `World`."""
        return _drawn(effort.test_images, seed, "test", effort)

    def source(self, seed: int, kind: str, effort: Effort) -> Labelled:
        """See `World`."""
        raise InputError(f"source {kind}: a study of films has none")

    def facts(self) -> Mapping[str, object]:
        """See `World`."""
        return {"images": "synthetic", **vars(self)}


@lru_cache(maxsize=2)
def _drawn(number: int, seed: int, role: str, effort: Effort) -> Labelled:
    sides = tuple(round(share * effort.side_px) for share in (0.75, 1.0, 1.5))
    # Seeds of `layerscope train coverage` are small: no film of a study is one of those.
    films = synthetic_films(
        number, 1_000_003 * (seed + 1) + _ROLES[role], sides_px=sides, clear=True
    )
    return Labelled(
        tuple(e.read_image() for e in films.examples), tuple(e.label_map() for e in films.examples)
    )
