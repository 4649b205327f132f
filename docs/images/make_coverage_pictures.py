"""Draw the picture of docs/howto/coverage_report.md from a synthetic scan.

python docs/images/make_coverage_pictures.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from layerscope.report.columns import percent_text
from layerscope.report.coverage_pictures import draw_surface
from layerscope.report.panels import encode_png
from layerscope.surfaces import Question, run_coverage
from layerscope.synth.surface import synth_surface

HERE = Path(__file__).parent


def main() -> None:
    """Draw the overlay of one scan, small enough for a page."""
    scan = synth_surface(2, shape=(256, 256), coverage=0.45, pixel_size_nm=12.0).micrograph
    found = []
    run_coverage([replace(scan, name="Synthetic WSe₂")], Question("WSe2"), on_result=found.append)
    share = found[0].coverage
    text = f"coverage {percent_text(share.fraction, share.low, share.high)}, {share.method}"
    picture = draw_surface(found[0], longest_px=512, title=(found[0].name, text))
    (HERE / "coverage_overlay.png").write_bytes(encode_png(picture))


if __name__ == "__main__":
    main()
