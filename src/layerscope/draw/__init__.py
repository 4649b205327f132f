"""Pictures of what was found: outlines, labels, legend and scale bar over the micrograph.

Each function takes an RGB image (H, W, 3) of 8 bits and returns a new one; they compose in any
order. The scientist's colours are never changed: nothing is brightened, balanced or filled.
"""

from layerscope.draw.labels import draw_labels, label_texts
from layerscope.draw.named import Named
from layerscope.draw.outlines import draw_outlines
from layerscope.draw.overlay import draw_card, draw_flakes, draw_plates, draw_title
from layerscope.draw.picture import to_rgb8
from layerscope.draw.scale_bar import draw_scale_bar, length_text, round_length_nm

__all__ = [
    "Named",
    "draw_card",
    "draw_flakes",
    "draw_labels",
    "draw_outlines",
    "draw_plates",
    "draw_scale_bar",
    "draw_title",
    "label_texts",
    "length_text",
    "round_length_nm",
    "to_rgb8",
]
