"""Segment Anything from a folder of weights: a tiny random network, the whole path."""

import json

import numpy as np
import pytest
from tests.builders.particle_scenes import dark_discs

from layerscope.errors import UnreadableFile

pytest.importorskip("torch")
pytest.importorskip("transformers")


PROMPT = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
DECODER = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16,
    "iou_head_hidden_dim": 16, "iou_head_depth": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    from transformers import Sam2Config, Sam2Model

    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1,
        "image_size": [64, 64], "blocks_per_stage": [1, 2, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 2, 4, 2], "global_attention_blocks": [4],
        "window_positional_embedding_background_size": [2, 2],
    }  # fmt: skip
    vision = {
        "model_type": "sam2_vision_model", "backbone_config": backbone, "fpn_hidden_size": 16,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }  # fmt: skip
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=PROMPT, mask_decoder_config=DECODER
    )
    folder = tmp_path_factory.mktemp("sam2")
    Sam2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    import torch
    from transformers import SamConfig, SamModel

    config = SamConfig(
        vision_config={
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16,
            "output_channels": 16, "image_size": 64, "patch_size": 16, "window_size": 2,
            "global_attn_indexes": [0], "num_pos_feats": 8,
        },
        prompt_encoder_config=PROMPT | {"image_embedding_size": 4},
        mask_decoder_config=DECODER,
    )  # fmt: skip
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sam")
    SamModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("version", ["weights", "second"])
def test_everything_that_passes_is_a_mask_of_the_picture(version, request):
    from layerscope.training.sam import SamSettings, open_sam

    weights = request.getfixturevalue(version)
    image, _ = dark_discs(number=3, shape=(90, 120))
    loose = SamSettings(points_per_side=3, least_iou=0, least_stability=0, offset=0)
    # A random network expects any overlap; below 0 nothing is left out.
    proposer = open_sam(weights, loose)
    masks, score = proposer.propose(image)
    assert masks.shape == image.shape
    assert (np.diff(score) <= 0).all()
    assert ((score >= 0) & (score <= 1)).all()
    strict = open_sam(weights, SamSettings(points_per_side=3, least_iou=1.0, least_stability=1.0))
    assert len(strict.propose(image)[0]) <= len(masks)


def test_a_known_network_gives_its_masks_at_the_size_of_the_picture(weights):
    """The decoder's answer is replaced by a disc under each point: geometry must come out right."""
    import torch

    from layerscope.training.sam import SamSettings, open_sam

    class Answer:
        def __init__(self, points):
            rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
            at = points[0, :, 0] / 4 - 0.5  # 64 px of the square are 16 of the mask
            away = (rows - at[:, 1, None, None]) ** 2 + (columns - at[:, 0, None, None]) ** 2
            self.pred_masks = (20 * (2.25 - away))[None, :, None].expand(-1, -1, 3, -1, -1)
            self.iou_scores = torch.full((1, len(at), 3), 0.95)

    proposer = open_sam(weights, SamSettings(points_per_side=2, least_stability=0.5))
    proposer._model = type("Fixed", (), {
        "get_image_embeddings": lambda self, pixels: None,
        "__call__": lambda self, image_embeddings, input_points, **_: Answer(input_points),
    })()  # fmt: skip
    image, _ = dark_discs(number=3, shape=(128, 256))
    masks, score = proposer.propose(image)
    assert score.tolist() == pytest.approx([0.95] * 4)  # three equal masks of a point are one
    middle = sorted(map(tuple, ((masks.boxes[:, :2] + masks.boxes[:, 2:]) / 2).round(-1).tolist()))
    assert middle == [(30, 60), (30, 190), (100, 60), (100, 190)]


@pytest.mark.parametrize("content", ["{}", "no json", json.dumps({"model_type": "bert"})])
def test_a_folder_that_is_no_sam_is_refused(tmp_path, content):
    from layerscope.training.sam import open_sam

    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UnreadableFile, match="SAM"):
        open_sam(tmp_path)
    with pytest.raises(UnreadableFile, match="SAM"):
        open_sam(tmp_path / "nothing")


def test_weights_that_are_missing_are_said_so(weights, tmp_path):
    from layerscope.training.sam import open_sam

    (tmp_path / "config.json").write_text((weights / "config.json").read_text())
    with pytest.raises(UnreadableFile, match="weights of SamModel"):
        open_sam(tmp_path)
