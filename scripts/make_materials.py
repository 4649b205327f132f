"""Make src/layerscope/physics/data/materials/*.toml from refractiveindex.info tables (CC0).

    python scripts/make_materials.py ../shared/data/optical/refractive_index

Optical constants are resampled to 380..780 nm in steps of 10 nm: finer than any camera channel,
coarse enough to read in a diff.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np

OUT = Path(__file__).parents[1] / "src/layerscope/physics/data/materials"
GRID_NM = np.arange(380, 781, 10)

# name: (table, layer thickness nm or None, source of the thickness, aliases, remark)
CRYSTALS = {
    "graphene": (
        "C/Weber",
        0.335,
        "graphite c/2, 10.1103/PhysRev.100.544",
        ["graphite", "Gr", "FLG"],
        "",
    ),
    "hBN": (
        "BN/Grudinin-o",
        0.333,
        "c/2, R. S. Pease, Acta Cryst. 5, 356 (1952)",
        ["BN", "h-BN"],
        "k is below 1e-3 in the visible and is set to zero",
    ),
    "MoS2": ("MoS2/Munkhbat-o", 0.615, "c/2, 10.1080/00018736900101307", [], ""),
    "WS2": ("WS2/Munkhbat-o", 0.618, "c/2, 10.1080/00018736900101307", [], ""),
    "MoSe2": ("MoSe2/Munkhbat-o", 0.647, "c/2, 10.1080/00018736900101307", [], ""),
    "WSe2": ("WSe2/Munkhbat-o", 0.649, "c/2, 10.1080/00018736900101307", [], ""),
    "WTe2": (
        "WTe2/Munkhbat-alpha",
        0.704,
        "c/2, B. E. Brown, Acta Cryst. 20, 268 (1966)",
        [],
        "alpha axis; the in-plane anisotropy is neglected",
    ),
    "MoTe2": ("MoTe2/Munkhbat-o", 0.698, "c/2, 10.1080/00018736900101307", [], "2H phase"),
    "NbSe2": ("NbSe2/Munkhbat-o", 0.627, "c/2, 10.1080/00018736900101307", [], "2H phase"),
    "TaS2": ("TaS2/Munkhbat-o", 0.604, "c/2, 10.1080/00018736900101307", [], "2H phase"),
    "PtSe2": (
        "PtSe2/Ermolaev",
        0.508,
        "c, 10.1080/00018736900101307",
        [],
        "bulk constants: the monolayer is a semiconductor and absorbs less",
    ),
    "ReS2": (
        "ReS2/Munkhbat-alpha",
        0.614,
        "10.1038/ncomms4252",
        [],
        "alpha axis; the in-plane anisotropy is neglected",
    ),
    "SnS2": ("SnS2/Ermolaev", 0.590, "c, 10.1080/00018736900101307", [], ""),
    "Bi2Te3": (
        "Bi2Te3/Ermolaev",
        1.016,
        "c/3 (quintuple layer), 10.1016/0022-3697(63)90207-5",
        [],
        "table starts at 450 nm; held constant below",
    ),
    "Bi2Se3": (
        "Bi2Se3/Ermolaev",
        0.955,
        "c/3 (quintuple layer), 10.1016/0022-3697(63)90207-5",
        [],
        "",
    ),
    "GaSe": (
        "GaSe/Kato-o",
        0.798,
        "c/2, A. Kuhn et al., Phys. Status Solidi A 31, 469 (1975)",
        [],
        "dispersion formula extrapolated below 800 nm, held below 430 nm; weak absorption "
        "neglected: thicknesses are approximate",
    ),
    "In2Se3": (
        "In2Se3/Zotev",
        0.959,
        "c/3 (quintuple layer, alpha phase), S. Popovic et al., J. Appl. Cryst. 12, 416 (1979)",
        [],
        "alpha phase",
    ),
}
MEDIA = {
    "SiO2": ("SiO2/Malitson", ["silica", "glass", "quartz", "oxide"], ""),
    "Si": ("Si/Green-2008", ["silicon"], ""),
    "Al2O3": ("Al2O3/Malitson-o", ["sapphire", "alumina"], ""),
    "Si3N4": ("Si3N4/Philipp", ["SiN", "silicon nitride"], ""),
    "Au": ("Au/Johnson", ["gold"], ""),
}


def read_index(path: Path) -> tuple[np.ndarray, np.ndarray, str, str]:
    """n, k on the grid, DOI and short reference of one refractiveindex.info file."""
    text = path.read_text()
    reference = " ".join(
        re.sub(
            r"<[^>]+>|REFERENCES: \||^\s*\d\)",
            "",
            text.split("COMMENTS")[0].split("REFERENCES")[1],
            flags=re.M,
        ).split()
    )
    reference = reference.lstrip(": |")
    doi = re.search(r"doi\.org/([^\"<> ]+)", text)
    wave_um = GRID_NM / 1000
    if formula := re.search(r"type: formula (\d)\n(?:.*\n)*?.*coefficients: (.*)", text):
        n = disperse(int(formula[1]), [float(c) for c in formula[2].split()], wave_um)
        k = np.zeros_like(n)
    else:
        rows = re.findall(r"^\s+([\d.eE+-]+)\s+([\d.eE+-]+)(?:\s+([\d.eE+-]+))?\s*$", text, re.M)
        table = np.array([[float(c or 0) for c in row] for row in rows])
        n = np.interp(wave_um, table[:, 0], table[:, 1])
        k = np.interp(wave_um, table[:, 0], table[:, 2])
    return n, k, doi[1] if doi else "", reference[:160]


def disperse(kind: int, c: list[float], wave_um: np.ndarray) -> np.ndarray:
    """refractiveindex.info dispersion formulas 1 (Sellmeier), 2 (Sellmeier-2) and 4."""
    square = wave_um**2
    if kind in (1, 2):
        power = 2 if kind == 1 else 1
        terms = zip(c[1::2], c[2::2], strict=True)
        return np.sqrt(1 + c[0] + sum(b * square / (square - d**power) for b, d in terms))
    wave_um = np.maximum(wave_um, 0.43)  # next to the pole of the only formula-4 table (GaSe)
    terms = [(c[i], c[i + 1], c[i + 2], c[i + 3]) for i in range(1, len(c) - 3, 4)]
    return np.sqrt(c[0] + sum(a * wave_um**b / (wave_um**2 - d**e) for a, b, d, e in terms))


def write(name: str, kind: str, n: np.ndarray, k: np.ndarray, fields: dict[str, object]) -> None:
    """One material as TOML."""
    lines = [f'name = "{name}"', f'kind = "{kind}"']
    lines += [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in fields.items()
        if value not in ("", None, [])
    ]
    lines += ["", "[index]", "wavelength_nm = { start = 380, step = 10 }"]
    for label, column in (("n", n), ("k", k)):
        if label == "n" or np.any(column > 0):
            values = [f"{v:.4f}" if v >= 0.01 else f"{v:.2e}" for v in column]
            rows = [", ".join(values[i : i + 9]) for i in range(0, len(values), 9)]
            lines.append(f"{label} = [\n    " + ",\n    ".join(rows) + ",\n]")
    (OUT / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(tables: Path) -> None:
    """All materials."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, (table, layer_nm, source, aliases, remark) in CRYSTALS.items():
        n, k, doi, reference = read_index(tables / f"{table}.yml")
        write(
            name,
            "crystal",
            n,
            k,
            {
                "aliases": aliases,
                "layer_nm": layer_nm,
                "layer_source": source,
                "doi": doi,
                "reference": reference,
                "remark": remark,
            },
        )
    for name, (table, aliases, remark) in MEDIA.items():
        n, k, doi, reference = read_index(tables / f"{table}.yml")
        write(
            name,
            "medium",
            n,
            k,
            {"aliases": aliases, "doi": doi, "reference": reference, "remark": remark},
        )
    square = (GRID_NM / 1000.0) ** 2
    n = np.sqrt(1 + 1.0093 * square / (square - 0.013185))
    write(
        "PDMS",
        "medium",
        n,
        np.zeros_like(n),
        {
            "aliases": ["Sylgard", "polydimethylsiloxane"],
            "doi": "10.1016/j.sna.2009.01.026",
            "reference": "F. Schneider et al. Process and material properties of "
            "polydimethylsiloxane "
            "(PDMS) for Optical MEMS. Sens. Actuators A 151, 95-99 (2009)",
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
