"""A forest of a project of ilastik on new images: CPU time, and the same answers as where it grew.

    python benchmarks/ilastik_forest.py [--quick]

Trees of scikit-learn, trained on scribbles of a synthetic TEM image, stand in for those of ilastik:
the arrays are the same. Compared are the probabilities of every pixel.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "builders"))

from ilastik_files import vigra_of
from sklearn.ensemble import RandomForestClassifier

from layerscope.labelling.ilastik import (
    IlastikProject,
    all_features,
    classify,
)
from layerscope.ops.pixel_features import pixel_features
from layerscope.synth.em import synth_em


def main() -> None:
    """Print one line per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="One small image, 20 trees.")
    quick = parser.parse_args().quick
    trees, sides = (20, (256,)) if quick else (100, (512, 1024))
    for side in sides:
        picture = synth_em(3, shape=(side, side), pixel_size_nm=4.0, support="holey")
        image = picture.micrograph.data.astype(np.float32)
        planes = pixel_features(image).reshape(49, -1).T
        labels = picture.label_map.ravel()
        few = np.random.default_rng(0).choice(len(labels), 600, replace=False)
        grown = RandomForestClassifier(trees, random_state=0).fit(planes[few], labels[few] > 0)
        project = IlastikProject((), ("ground", "other"), (), all_features(), vigra_of(grown, 49))
        began = time.process_time()
        found = classify(project, image)
        ours = time.process_time() - began
        began = time.process_time()
        expected = grown.predict_proba(pixel_features(image).reshape(49, -1).T)
        theirs = time.process_time() - began
        worst = np.abs(found.reshape(-1, 2) - expected).max()
        print(
            f"{side} x {side} px, {trees} trees: {ours:.1f} s CPU with features, scikit-learn "
            f"{theirs:.1f} s; largest difference of a probability {worst:.1e}"
        )


if __name__ == "__main__":
    main()
