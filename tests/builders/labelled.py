"""Small labelled data sets that several tests write and read."""

import numpy as np

from layerscope.core.examples import DataSet, Example, Instance


def ellipse(height, width):
    y, x = np.mgrid[:height, :width]
    y, x = (y - height / 2 + 0.5) / (height / 2), (x - width / 2 + 0.5) / (width / 2)
    return y**2 + x**2 <= 1


def holed(height, width):
    mask = ellipse(height, width)
    mask[height // 3 : height // 2, width // 3 : width // 2] = False
    return mask


def parted(height, width):
    mask = ellipse(height, width)
    mask[:, width // 2] = False
    return mask


def instance(number, top, left, mask, **more):
    return Instance(number, (top, left, top + mask.shape[0], left + mask.shape[1]), mask, **more)


def labelled_set(*, boxes=False):
    """Three images of two groups, one empty; objects with a hole, of two parts, at the border."""
    rng = np.random.default_rng(5)

    def image(shape):
        return rng.integers(0, 256, shape, dtype=np.uint8)

    objects = [
        instance(1, 2, 3, ellipse(12, 15)),
        instance(2, 20, 5, holed(13, 17)),
        instance(1, 3, 30, parted(11, 12)),
        instance(2, 0, 51, ellipse(9, 13)),
    ]
    if boxes:
        objects.append(Instance(1, (33, 30, 45, 44), None))
    examples = (
        Example.from_arrays("a b", image((48, 64, 3)), objects, group="s1"),
        Example.from_arrays("empty.1", image((30, 40, 3)), [], group="s2"),
        Example.from_arrays("grey", image((40, 70)), objects[:1], group="s2"),
    )
    return DataSet(examples, ("background", "zeta", "älpha & <b>"))
