"""A folder of small pictures with answers that can be seen, for tests of categories."""

import cv2
import numpy as np

from layerscope.core.categories import Question, Questionnaire

SIZE = 64
ASKED = Questionnaire(
    "test",
    "Bars and blobs",
    (
        Question("shape", "Bars or blobs?", ("bars", "blobs", "both")),
        Question("dots", "Dots?", ("no", "yes", "NA"), magnification=(10_000, 1e6)),
    ),
)


def picture(rng, bars, dots, shape=(SIZE, SIZE)):
    image = np.full(shape, 150, np.float32)
    for _ in range(4):
        y, x = (int(v) for v in rng.integers(10, min(shape) - 10, 2))
        if bars:
            cv2.line(image, (x - 8, y - 8), (x + 8, y + 8), 70, 2)
        else:
            cv2.circle(image, (x, y), 7, 90, -1)
    for _ in range(25 if dots else 0):
        y, x = (int(v) for v in rng.integers(3, min(shape) - 3, 2))
        image[y : y + 2, x : x + 2] = 10
    return np.clip(image + rng.normal(0, 6, shape), 0, 255).astype(np.uint8)


def write_folder(root, number=48, seed=0):
    """Images at two magnifications, three per specimen, and ``labels.csv``; one cell is wrong."""
    rng = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    rows = ["image,specimen,shape,dots"]
    for i in range(number):
        bars, dots, times = i % 2 == 0, rng.random() < 0.5, 2000 if i % 4 == 3 else 50_000
        name = f"im{i:02d}_{times}X.png"
        cv2.imwrite(str(root / "images" / name), picture(rng, bars, dots))
        shape = "round" if i == 5 else "bars" if bars else "blobs"
        rows.append(f"{name},s{i // 3},{shape},{'' if i == 7 else 'yes' if dots else 'no'}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root
