"""Model files made without torch: graphs that onnx.helper writes, with a card."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from layerscope.models.card import ModelCard
from layerscope.models.file import CARD_KEY


def card(**fields):
    known = {"name": "tiny", "task": "phases", "output": "classes", "classes": ("bare", "film")}
    return ModelCard(**{**known, "channels": 1, "margin_px": 9, "stride": 4, **fields})


def weights(channels=1, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "down": rng.normal(0, 1, (4, channels, 4, 4)).astype(np.float32),
        "wide": rng.normal(0, 0.5, (4, 4, 3, 3)).astype(np.float32),
        "head": rng.normal(0, 2, (outputs, 4, 1, 1)).astype(np.float32),
    }


def graph(channels=1, outputs=2, seed=0, pooled=False, scale=4, spread=False):
    """Stride 4 down, 3 x 3 there, bilinear up: reach 9 px. `pooled` adds the mean of the image.

    `spread` gives a second output, from 0 to 1.
    """
    constants = [numpy_helper.from_array(v, k) for k, v in weights(channels, outputs, seed).items()]
    scales = np.array([1, 1, scale, scale], np.float32)
    constants.append(numpy_helper.from_array(scales, "scales"))
    nodes = [
        helper.make_node("Conv", ["image", "down"], ["a"], strides=[4, 4]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "wide"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
    ]
    last = "d"
    if pooled:
        nodes += [
            helper.make_node("GlobalAveragePool", ["d"], ["p"]),
            helper.make_node("Sub", ["d", "p"], ["e"]),
        ]
        last = "e"
    nodes += [
        helper.make_node("Conv", [last, "head"], ["f"]),
        helper.make_node("Resize", ["f", "", "scales"], ["maps"], mode="linear"),
    ]
    one = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, "h", "w"])
    told = ["maps", "spread"] if spread else ["maps"]
    if spread:
        nodes.append(helper.make_node("Sigmoid", ["maps"], ["spread"]))
    out = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", outputs, "H", "W"])
        for name in told
    ]
    made = helper.make_graph(nodes, "tiny", [one], out, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def write(path, made=None, said=None, **fields):
    """Write a model file; `said` replaces the text of the card, None leaves it as `card` makes."""
    made = graph() if made is None else made
    text = card(**fields).to_json() if said is None else said
    if text:
        entry = made.metadata_props.add()
        entry.key, entry.value = CARD_KEY, text
    Path(path).write_bytes(made.SerializeToString())
    return Path(path)
