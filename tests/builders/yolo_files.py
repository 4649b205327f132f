"""ONNX files in the layout in which YOLO networks with masks are exported, with a fixed answer."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def answer_of(boxes, classes, masks, n_classes, score=0.9, places=64):
    """Perfect answer: boxes (k, 4) top, left, bottom, right of the input; masks (k, h, w) 0 to 1.

    Each object has a prototype of its own.
    """
    flat = np.zeros((4 + n_classes + 32, places), np.float32)
    top, left, bottom, right = np.asarray(boxes, float).T
    k = len(boxes)
    flat[:4, :k] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    flat[4 + np.asarray(classes), np.arange(k)] = score
    flat[4 + n_classes + np.arange(k), np.arange(k)] = 1
    prototypes = np.full((32, *masks.shape[1:]), -6, np.float32)
    prototypes[:k] = 12 * masks - 6
    return flat, prototypes


def write_export(path, flat, prototypes, names, shape, extra=None):
    """Write a graph that takes an image of `shape` and gives that answer whatever it sees."""
    constants = [
        numpy_helper.from_array(flat[None], "flat"),
        numpy_helper.from_array(prototypes[None], "maps"),
        numpy_helper.from_array(np.zeros((), np.float32), "zero"),
        numpy_helper.from_array(np.array([0, 1, 2, 3], np.int64), "axes"),
    ]
    nodes = [
        helper.make_node("ReduceMax", ["images", "axes"], ["top"], keepdims=0),
        helper.make_node("Mul", ["top", "zero"], ["nothing"]),
        helper.make_node("Add", ["flat", "nothing"], ["output0"]),
        helper.make_node("Add", ["maps", "nothing"], ["output1"]),
    ]

    def info(name, sizes):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)

    graph = helper.make_graph(
        nodes, "export", [info("images", [1, 3, *shape])],
        [info("output0", [1, *flat.shape]), info("output1", [1, *prototypes.shape])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    told = {"names": repr(names), "stride": "32", "imgsz": str(list(shape)), **(extra or {})}
    for key, value in told.items():
        if value:
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path
