"""What an assessor needs to know of each quantity: what it is, and what it matters for.

The relevance is that of the literature and of the rules cited (`REFERENCES`); nothing here is a
verdict on a sample.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """One descriptor of a sample.

    Attributes
    ----------
    key : str
        In the population table of a particles run, or made here.
    label : str
    group : str
        Which risk-relevant property it belongs to.
    definition : str
    relevance : str
        What it matters for, with its source.
    share : bool
        Shown in percent.
    whole : bool
        A count, shown without decimals.
    """

    key: str
    label: str
    group: str
    definition: str
    relevance: str
    share: bool = False
    whole: bool = False


_SIZE = (
    "Decides over inhalation, deposition and uptake by cells; one of three axes of the "
    "classification of graphene-based materials (Wick 2014; Sanchez 2012). Asked as number-based "
    "size distribution by REACH Annex VI 2.4.2."
)
_ASPECT = "Shape and aspect ratio are asked by REACH Annex VI 2.4.4."
_THICKNESS = (
    "Layers decide over bending stiffness, specific surface and, with the lateral size, over the "
    "aerodynamic diameter of a platelet (Schinwald 2012); second axis of Wick 2014."
)
_CRUMPLING = (
    "A crumpled sheet is stiffer and more compact than a flat one of the same area and meets "
    "cells with edges and folds (Sanchez 2012)."
)
_AGGREGATES = (
    "Aggregates settle, deposit and are taken up as larger bodies; the particles in them count "
    "as constituent particles (2022/C 229/01)."
)
_AMOUNT = "What all figures per particle rest on; says nothing of the dose of a sample."

SIZE, ASPECT, THICKNESS = "Lateral size", "Aspect", "Thickness"
CRUMPLING, AGGREGATES, AMOUNT = "Crumpling", "Aggregates", "Number and cover"
GROUPS = (SIZE, ASPECT, THICKNESS, CRUMPLING, AGGREGATES, AMOUNT)
"""Risk-relevant properties, in the order of the report."""

_LATERAL = "mean of the longest extent and the width across it, ISO/TS 21356-1"

QUANTITIES = (
    Quantity("lateral_size_median", "Lateral size, median", SIZE, _LATERAL, _SIZE),
    Quantity("lateral_size_lower_quartile", "Lateral size, lower quartile", SIZE, _LATERAL, _SIZE),
    Quantity("lateral_size_upper_quartile", "Lateral size, upper quartile", SIZE, _LATERAL, _SIZE),
    Quantity("lateral_size_mean", "Lateral size, mean", SIZE, _LATERAL, _SIZE),
    Quantity(
        "lognormal_sigma", "Width of the size distribution", SIZE,
        "standard deviation of the natural logarithm of the lateral size", _SIZE,
    ),
    Quantity(
        "below_100_nm", "Lateral size below 100 nm", SIZE,
        "share of whole particles whose lateral size is below 100 nm",
        "The particles whose longest dimensions are in the nanoscale. Thickness may be too, "
        "whatever this share is: a plate below 1 nm thick counts (2022/C 229/01).",
        share=True,
    ),
    Quantity(
        "lateral_aspect_median", "Length over width, median", ASPECT,
        "longest extent over the width across it, in the plane of the image", _ASPECT,
    ),
    Quantity(
        "circularity_median", "Circularity, median", ASPECT,
        "4 π area over the square of the perimeter: 1 for a disc", _ASPECT,
    ),
    Quantity(
        "share_thin", "Thin", THICKNESS,
        "share of particles through which more of the beam passes than through about ten layers",
        _THICKNESS, share=True,
    ),
    Quantity(
        "share_medium", "Medium thick", THICKNESS,
        "share of particles of about ten to a hundred layers by the beam that passes",
        _THICKNESS, share=True,
    ),
    Quantity(
        "share_thick", "Thick", THICKNESS,
        "share of particles of more than about a hundred layers by the beam that passes",
        _THICKNESS, share=True,
    ),
    Quantity(
        "share_unknown", "Thickness not certain", THICKNESS,
        "share of particles whose 95 % interval lies in more than one class", _THICKNESS,
        share=True,
    ),
    Quantity(
        "mass_thickness_median", "Mass thickness, median", THICKNESS,
        "- ln of the transmitted share of the beam: thickness in mean free paths", _THICKNESS,
    ),
    Quantity(
        "with_folds", "With folds", CRUMPLING,
        "share of whole particles with one long fold or more",
        _CRUMPLING, share=True,
    ),
    Quantity(
        "fold_share_median", "Folded area, median", CRUMPLING,
        "share of a particle's inside that lies under narrow dark ridges", _CRUMPLING, share=True,
    ),
    Quantity(
        "edge_dimension_median", "Edge complexity, median", CRUMPLING,
        "fractal dimension of the outline: 1 smooth, towards 2 rough at every scale", _CRUMPLING,
    ),
    Quantity(
        "solidity_median", "Solidity, median", CRUMPLING,
        "area over that of the convex hull: 1 for a convex outline", _CRUMPLING,
    ),
    Quantity(
        "aggregated_share", "In aggregates", AGGREGATES,
        "share of particles that touch another one in the image", _AGGREGATES, share=True,
    ),
    Quantity(
        "aggregates", "Aggregates", AGGREGATES, "groups of two or more particles that touch",
        _AGGREGATES, whole=True,
    ),
    Quantity("count", "Particles", AMOUNT, "every particle, those cut by a border too", _AMOUNT,
             whole=True),
    Quantity("count_at_border", "Cut by the border", AMOUNT, "their sizes are lower bounds",
             _AMOUNT, whole=True),
    Quantity("density", "Particles per area", AMOUNT, "corrected for the border", _AMOUNT),
    Quantity("coverage", "Covered", AMOUNT, "share of the imaged area under particles", _AMOUNT,
             share=True),
    Quantity(
        "porosity", "Holes of the support", AMOUNT,
        "share of the bare support that is a hole; holes are never counted as particles", _AMOUNT,
        share=True,
    ),
)  # fmt: skip
"""In the order of the table."""

OF_KEY = {q.key: q for q in QUANTITIES}

REFERENCES = (
    ("REACH Annex VI", "Regulation (EC) No 1907/2006 as amended by Commission Regulation (EU) "
     "2018/1881, nanoforms"),
    ("2022/C 229/01",
     "Commission Recommendation of 10 June 2022 on the definition of nanomaterial"),
    ("ISO/TS 21356-1", "Nanotechnologies: structural characterization of graphene, part 1: "
     "graphene from powders and dispersions (2021)"),
    ("Wick 2014", "P. Wick et al., Angew. Chem. Int. Ed. 53, 7714 (2014)"),
    ("Sanchez 2012", "V. C. Sanchez et al., Chem. Res. Toxicol. 25, 15 (2012)"),
    ("Schinwald 2012", "A. Schinwald et al., ACS Nano 6, 736 (2012)"),
)  # fmt: skip
"""How a source is cited, and what it is."""
