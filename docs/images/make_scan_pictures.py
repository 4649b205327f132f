"""Draw the pictures of docs/howto/scan_report.md from a scan of a synthetic chip.

    python docs/images/make_scan_pictures.py

Takes about a minute. Two of the 90 files are damaged on purpose.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from layerscope.batch.tables import load_scan
from layerscope.report import build_scan_sections
from layerscope.report.figures import to_png
from layerscope.synth.wafer import Raster, synth_scan, write_scan

HERE = Path(__file__).parent
RASTER = Raster(
    grid=(9, 10), shape=(480, 640), overlap=0.12, rotation_deg=1.5, flip=True, error_um=1.0
)


def main() -> None:
    """Both pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_scan(synth_scan(3, RASTER, n_flakes=260), folder / "chip")
        files[37].write_bytes(files[37].read_bytes()[:9000])
        files[58].write_bytes(b"<html>please log in</html>")
        command = [sys.executable, "-m", "layerscope", "scan", str(folder / "chip"), "-q",
                   "-m", "graphene", "-s", "SiO2(90nm)/Si", "--pixel-size", "0.3844um",
                   "--positions", str(folder / "chip" / "positions.csv"), "--no-report",
                   "-o", str(folder / "scan")]  # fmt: skip
        subprocess.run(command, check=False)  # exit code 3: some images failed
        sections = {p.title: p for p in build_scan_sections(load_scan(folder / "scan"))}
    save("scan_map.png", sections["Wafer map"].plots[0].figure)
    save("scan_sizes.png", sections["Yields"].plots[1].figure)


def save(name: str, figure: object) -> None:
    """Write a figure small enough for a page."""
    (HERE / name).write_bytes(to_png(figure, dpi=100))


if __name__ == "__main__":
    main()
