"""Mask2Former: labels per pixel, objects, and the loss of its article."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from layerscope.errors import InputError  # noqa: E402
from layerscope.training.networks import build  # noqa: E402
from layerscope.training.networks.network import count_parameters  # noqa: E402
from layerscope.training.weights import load_weights  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network():
    return build("mask2former-n", channels=1, outputs=3)


def test_the_full_network_has_the_size_of_the_article():
    """Swin-T: 47 million parameters (Table 1 of arXiv:2112.01527)."""
    with torch.device("meta"):
        full = build("mask2former", channels=3, outputs=80)
    assert count_parameters(full) / 1e6 == pytest.approx(47.4, abs=0.3)


def test_logits_are_the_share_of_each_class_in_the_proposals(network):
    x = torch.rand(1, 1, 64, 64)
    network.eval()
    with torch.inference_mode():
        classes, masks = network._propose(x)
        share = network(x).softmax(1)
    scores = sum(classes[0, q, :3, None, None] * masks[0, q] for q in range(classes.shape[1]))[None]
    scores = torch.nn.functional.interpolate(scores, size=(64, 64), mode="bilinear")
    assert torch.allclose(share, scores / scores.sum(1, keepdim=True), atol=1e-4)


def test_the_loss_of_the_article_falls():
    image = torch.zeros(1, 1, 64, 64)
    image[..., 20:50, 10:40] = 1.0
    truth = torch.cat((1 - image[0], image[0]))
    network = build("mask2former-n", channels=1, outputs=2, seed=2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # the loss looks at random points of the masks
        for _ in range(10):
            optimiser.zero_grad()
            loss = network.matching_loss(image, [truth], [torch.tensor([0, 1])])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            losses.append(float(loss.detach()))
    assert min(losses[-3:]) < 0.8 * losses[0]


def test_objects_are_the_proposals_that_are_sure_of_class_and_mask(network, monkeypatch):
    masks = torch.zeros(1, 5, 16, 16)
    masks[0, 0, 2:8, 2:8] = 0.95  # an object
    masks[0, 1, 10:, :6] = 0.99  # another, of another class
    masks[0, 2, :, 8:] = 1.0  # background
    masks[0, 3, :4, 8:] = 0.6  # unsure of its mask
    masks[0, 4, 4:, 8:] = 0.9  # nothing
    classes = torch.tensor(
        [[[0.1, 0.8, 0.1, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0.7, 0, 0.3], [0, 0.1, 0, 0.9]]]
    )
    monkeypatch.setattr(network, "_propose", lambda x: (classes, masks))
    found = network.find(torch.zeros(1, 1, 64, 64), least=0.5)[0]
    assert [f.class_index for f in found] == [2, 1]
    assert found[0].score == pytest.approx(0.97, abs=0.04)
    assert found[1].mask.shape == (64, 64)
    assert found[1].mask[12:28, 12:28].all()
    assert found[1].mask.sum() == pytest.approx(24 * 24, rel=0.1)


def test_weights_of_the_library_load_by_its_own_names(network, tmp_path):
    torch.save(network.model.state_dict(), tmp_path / "hub.pth")
    other = build("mask2former-n", channels=1, outputs=3, seed=9)
    report = load_weights(other, tmp_path / "hub.pth")
    assert (report.part, report.missing) == ("model", ())


def test_a_loss_of_other_numbers_of_images_is_refused(network):
    with pytest.raises(InputError, match="2 images"):
        network.matching_loss(torch.zeros(2, 1, 64, 64), [torch.zeros(1, 64, 64)], [])
