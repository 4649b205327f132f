"""A project of ilastik with a forest that another program trained."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from layerscope.labelling.ilastik import (
    IlastikProject,
    Nodes,
    ProjectImage,
    VigraForest,
    all_features,
    encode_nodes,
)
from layerscope.ops.pixel_features import pixel_features


def vigra_of(trained, features):
    """Trees of scikit-learn, whose left is "at most", in VIGRA's arrays, whose left is "below"."""
    trees = []
    for one in trained.estimators_:
        t = one.tree_
        inner = t.children_left >= 0
        own = np.arange(t.node_count)
        # Values are float32: at most t is below the next float32 after the last one up to t.
        near = t.threshold.astype(np.float32)
        near = np.where(near > t.threshold, np.nextafter(near, np.float32(-np.inf)), near)
        above = np.nextafter(near.astype(np.float32), np.float32(np.inf)).astype(float)
        nodes = Nodes(
            np.where(inner, t.feature, -1).astype(np.int32), np.where(inner, above, 0.0),
            np.where(inner, t.children_left, own).astype(np.int32),
            np.where(inner, t.children_right, own).astype(np.int32),
            t.value[:, 0] * ~inner[:, None],
        )  # fmt: skip
        trees.append(encode_nodes(nodes, features))
    return VigraForest(tuple(trees), (1, 2))


def scene(seed=0):
    """A bright disc on a dark plane, and a few strokes on both."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :60]
    disc = (y - 24) ** 2 + (x - 30) ** 2 < 15**2
    image = np.clip(90 + 60 * disc + rng.normal(0, 12, disc.shape), 0, 255).astype(np.uint8)
    labels = np.zeros(disc.shape, np.uint8)
    labels[3:6, 4:40], labels[20:23, 25:36] = 1, 2
    return image, labels, disc


def project_with_forest():
    image, labels, _ = scene()
    rows = pixel_features(image.astype(np.float32))[:, labels > 0].T
    trained = RandomForestClassifier(12, random_state=0).fit(rows, labels[labels > 0])
    forest = vigra_of(trained, rows.shape[1])
    one = ProjectImage("disc", "disc.png", "yxc", (48, 60, 1), labels)
    return IlastikProject((one,), ("carbon", "flake"), ((9, 8, 7), (1, 2, 3)), all_features(),
                          forest, "1.4.0"), trained  # fmt: skip
