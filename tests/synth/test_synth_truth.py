import csv

import cv2
import numpy as np
import pytest

from layerscope.core.results import CropMasks, Detections
from layerscope.errors import InputError
from layerscope.synth.optical import synth_flakes, synth_set
from layerscope.synth.truth import TRUTH_COLUMNS, match_truth, write_set

SHAPE = (200, 280)


@pytest.fixture(scope="module")
def image():
    return synth_flakes(4, shape=SHAPE, n_flakes=8)


class TestMatch:
    def test_truth_matches_itself_in_any_order(self, image):
        order = np.random.default_rng(0).permutation(len(image))
        found = match_truth(image.masks.take(order), image)
        np.testing.assert_array_equal(order[found], np.arange(len(image)))

    def test_agrees_with_dense_masks(self, image):
        from scipy import ndimage

        rng = np.random.default_rng(1)
        moved = []
        for i in range(len(image)):
            mask = ndimage.binary_erosion(image.masks.dense(i), iterations=int(rng.integers(3)))
            moved.append(mask if mask.any() else image.masks.dense(i))
        masks = CropMasks.from_dense(moved, SHAPE)
        found = match_truth(masks, image)
        for i in range(len(image)):
            true = image.masks.dense(i)
            iou = np.array([(true & m).sum() / (true | m).sum() for m in moved])
            assert found[i] == (iou.argmax() if iou.max() >= 0.5 else -1)

    def test_nothing_found(self, image):
        assert np.all(match_truth(Detections.empty(SHAPE), image) == -1)

    def test_empty_truth(self, image):
        bare = synth_flakes(1, shape=SHAPE, empty=True)
        assert match_truth(image.masks, bare).tolist() == []

    def test_refuses_other_shapes_and_thresholds(self, image):
        with pytest.raises(InputError, match="truth on"):
            match_truth(CropMasks.empty((10, 10)), image)
        with pytest.raises(InputError, match=r"0\.5 to 1"):
            match_truth(image.masks, image, iou=0.2)


class TestWrite:
    def test_round_trip(self, tmp_path):
        images = list(synth_set(2, 2, shape=SHAPE, n_flakes=5))
        paths = write_set(iter(images), tmp_path / "set")
        assert [p.name for p in paths] == ["synthetic_0000.jpg", "synthetic_0001.jpg"]
        with (tmp_path / "set" / "truth.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == TRUTH_COLUMNS
        for path, image in zip(paths, images, strict=True):
            mine = [r for r in rows if r["image"] == path.name]
            assert [int(r["n_layers"]) for r in mine] == image.n_layers.tolist()
            assert [int(r["area_px"]) for r in mine] == image.masks.area_px.tolist()
            mask_path = tmp_path / "set" / "masks" / f"{path.stem}.png"
            mask = cv2.imread(str(mask_path), cv2.IMREAD_UNCHANGED)
            assert mask.dtype == np.uint16
            np.testing.assert_array_equal(mask, image.labels)
            assert path.read_bytes() == image.encoded
            for row in mine:
                y, x = np.argwhere(mask == int(row["region_id"])).mean(axis=0)
                assert float(row["y_px"]) == pytest.approx(y, abs=0.01)
                assert float(row["x_px"]) == pytest.approx(x, abs=0.01)

    @pytest.mark.parametrize("camera", ["ccd_linear", "scientific_12bit"])
    def test_lossless_pixels_survive(self, tmp_path, camera):
        image = synth_flakes(2, shape=SHAPE, camera=camera, jpeg_quality=None)
        (path,) = write_set([image], tmp_path)
        read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
        np.testing.assert_array_equal(read, image.micrograph.data)

    def test_leaves_no_parts_and_repeats_itself(self, tmp_path):
        for name in ("a", "b"):
            write_set(synth_set(2, 1, shape=SHAPE), tmp_path / name)
        files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
        assert len(files) == 4
        for file in files:
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()

    def test_no_image_is_an_empty_table(self, tmp_path):
        assert write_set([], tmp_path) == []
        assert (tmp_path / "truth.csv").read_text() == ",".join(TRUTH_COLUMNS) + "\n"
