"""Projects of ilastik: label blocks, features, the forest; and what comes back of our own."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ilastik_files import project_with_forest, scene

from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated import read_dataset
from layerscope.labelling.ilastik import (
    FeatureChoice,
    IlastikProject,
    TreeArrays,
    VigraForest,
    all_features,
    classify,
    encode_nodes,
    feature_columns,
    read_project,
    write_project,
)
from layerscope.ops.pixel_features import feature_names, pixel_features

LEAF = 0x40000000


def share_slowly(topology, parameters, x):
    """Shares of one row by the definition: node by node, in the two arrays themselves."""
    at = 2
    while topology[at] != LEAF:
        assert topology[at] == 0
        _, p, left, right, column = topology[at : at + 5]
        at = left if float(x[column]) < parameters[p + 1] else right
    p = topology[at + 1]
    return np.array(parameters[p + 1 : p + 1 + topology[1]])


def probabilities_slowly(forest, rows):
    out = []
    for x in rows:
        total = sum(
            share_slowly(t.topology.tolist(), t.parameters.tolist(), x) for t in forest.trees
        )
        out.append(total / total.sum())
    return np.array(out)


def random_tree(rng, features=5, classes=3, depth=5):
    """Topology and parameters by hand, children before and after their parents."""
    topology, parameters = [features, classes], []

    def grow(level):
        at = len(topology)
        p = len(parameters)
        if level == 0 or rng.random() < 0.2:
            topology.extend([LEAF, p])
            parameters.extend([rng.random(), *rng.dirichlet(np.ones(classes))])
            return at
        topology.extend([0, p, 0, 0, int(rng.integers(features))])
        parameters.extend([1.0, float(rng.normal())])
        for side in rng.permutation([2, 3]).tolist():
            topology[at + side] = grow(level - 1)
        return at

    grow(depth)
    return TreeArrays(np.array(topology, np.int32), np.array(parameters))


def random_forest(seed, trees=4, **kind):
    rng = np.random.default_rng(seed)
    return VigraForest(tuple(random_tree(rng, **kind) for _ in range(trees)), (1, 2, 3))


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 6))
def test_a_decoded_forest_equals_its_definition(seed, depth):
    forest = random_forest(seed, depth=depth)
    rows = np.random.default_rng(seed + 1).normal(size=(40, 5)).astype(np.float32)
    rows[0, :] = np.float32(forest.trees[0].nodes.threshold[0])  # equal is not below: right
    expected = probabilities_slowly(forest, rows)
    assert np.abs(forest.probabilities(rows) - expected).max() < 1e-6


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_nodes_encode_to_the_tree_they_came_from(seed):
    tree = random_tree(np.random.default_rng(seed))
    again = encode_nodes(tree.nodes, tree.features).nodes
    for name in ("column", "threshold", "left", "right", "shares"):
        assert (getattr(again, name) == getattr(tree.nodes, name)).all()


def test_a_forest_of_another_program_says_the_same_as_it_does_there():
    project, trained = project_with_forest()
    image, _, disc = scene(1)
    found = classify(project, image)
    rows = pixel_features(image.astype(np.float32)).reshape(49, -1).T
    expected = trained.predict_proba(rows).reshape(48, 60, 2)
    assert np.abs(found - expected).max() < 1e-6
    assert ((found[..., 1] > 0.5) == disc).mean() > 0.95


def test_a_project_comes_back_exactly(tmp_path):
    project, _ = project_with_forest()
    write_project(tmp_path / "p.ilp", project)
    again = read_project(tmp_path / "p.ilp")
    assert (again.classes, again.colours, again.version) == (
        project.classes, project.colours, "1.4.0",
    )  # fmt: skip
    one, other = project.images[0], again.images[0]
    assert (one.name, one.path, one.axes, one.shape) == (
        other.name, other.path, other.axes, other.shape,
    )  # fmt: skip
    assert (one.labels == other.labels).all()
    assert again.features.filters == project.features.filters
    assert again.features.sigmas_px == project.features.sigmas_px
    assert (again.features.chosen == project.features.chosen).all()
    assert again.forest.labels == project.forest.labels
    for a, b in zip(again.forest.trees, project.forest.trees, strict=True):
        assert (a.topology == b.topology).all()
        assert (a.parameters == b.parameters).all()
    assert (again.notes, again.skipped) == ((), ())
    write_project(tmp_path / "q.ilp", again)
    assert (tmp_path / "p.ilp").read_bytes() == (tmp_path / "q.ilp").read_bytes()


def test_the_order_of_features_is_that_of_ilastik():
    """Filter, then scale, then channel, then eigenvalue."""
    names = np.array(feature_names(2))
    chosen = np.zeros((6, 7), bool)
    chosen[[0, 4, 5], [3, 1, 6]] = True
    choice = FeatureChoice(all_features().filters, all_features().sigmas_px, chosen)
    assert names[feature_columns(choice, 2)].tolist() == [
        "c0 gaussian 1.6", "c1 gaussian 1.6", "c0 tensor 0.7/1", "c0 tensor 0.7/2",
        "c1 tensor 0.7/1", "c1 tensor 0.7/2", "c0 hessian 10/1", "c0 hessian 10/2",
        "c1 hessian 10/1", "c1 hessian 10/2",
    ]  # fmt: skip
    assert len(feature_columns(all_features(), 1)) == 49


def by_hand(path, *, version=b"1.4.0", axes="yxc", blocks=(), shape=(20, 30, 1)):
    """A project made with h5py alone, with what ilastik pickles in it."""
    from layerscope.io.ilastik.axes import format_axistags

    with h5py.File(path, "w") as file:
        file["ilastikVersion"] = version
        info = file.create_group("Input Data/infos/lane0000/Raw Data")
        info["filePath"], info["nickname"] = b"somewhere/a.png", b"a"
        info["axistags"], info["shape"] = format_axistags(axes).encode(), shape
        work = file.create_group("PixelClassification")
        work["LabelNames"] = np.array([b"carbon", b"flake"])
        work["ClassifierFactory"] = np.void(b"cos\nsystem\n(S'false'\ntR.")
        for i, (values, where, keys) in enumerate(blocks):
            block = work.create_dataset(f"LabelSets/labels000/block{i:04d}", data=values)
            block.attrs["blockSlice"] = where
            if keys:
                block.attrs["axistags"] = format_axistags(keys)
    return path


def test_blocks_are_put_where_they_belong(tmp_path):
    one, two = np.full((3, 4, 1), 1, np.uint8), np.full((2, 5, 1), 2, np.uint8)
    path = by_hand(
        tmp_path / "p.ilp",
        blocks=[(one, "[2:5,6:10,0:1]", None), (two, "[10:12,20:25,0:1]", "yxc")],
    )
    project = read_project(path)
    expected = np.zeros((20, 30), np.uint8)
    expected[2:5, 6:10], expected[10:12, 20:25] = 1, 2
    assert (project.images[0].labels == expected).all()
    assert project.skipped == ("/PixelClassification/ClassifierFactory",)
    assert project.forest is None


def test_blocks_of_one_version_have_their_own_order_of_axes(tmp_path):
    block = np.zeros((1, 4, 3, 1, 1), np.uint8)  # txyzc: four wide, three high
    block[0, 0, :, 0, 0] = 2
    path = by_hand(
        tmp_path / "p.ilp", version=b"1.3.3post1", blocks=[(block, "[0:1,6:10,2:5,0:1,0:1]", None)]
    )
    labels = read_project(path).images[0].labels
    assert labels.shape == (20, 30)
    assert (labels[2:5, 6] == 2).all()
    assert labels.sum() == 6


@pytest.mark.parametrize(
    "where", ["[2:5,6:11,0:1]", "[-1:2,6:10,0:1]", "[18:21,6:10,0:1]", "x", ""]
)
def test_a_block_beyond_its_image_is_noted(tmp_path, where):
    path = by_hand(tmp_path / "p.ilp", blocks=[(np.ones((3, 4, 1), np.uint8), where, None)])
    project = read_project(path)
    assert project.images == ()
    assert "left out" in project.notes[0]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda t, p: t.__setitem__(4, 9999), "no node"),
        (lambda t, p: t.__setitem__(4, 2), "two ways"),
        (lambda t, p: t.__setitem__(6, 77), "feature 77"),
        (lambda t, p: t.__setitem__(2, 1), "no node"),
        (lambda t, p: t.__setitem__(3, 10**6), "parameters"),
        (lambda t, p: p.__setitem__(1, np.nan), "not finite"),
        (lambda t, p: p.__setitem__(slice(None), -1.0), "shares"),
    ],
)
def test_damaged_trees_are_refused_and_never_loop(spoil, why):
    leaf = [LEAF, 2]
    topology = np.array([5, 2, 0, 0, 7, 9, 1, *leaf, LEAF, 5], np.int32)
    parameters = np.array([1.0, 0.5, 1.0, 0.2, 0.8, 1.0, 0.9, 0.1])
    good = TreeArrays(topology.copy(), parameters.copy())
    assert good.nodes.shares.sum() == 2
    spoil(topology, parameters)
    with pytest.raises(UnreadableFile, match=why):
        TreeArrays(topology, parameters).nodes  # noqa: B018


def test_what_does_not_fit_is_refused_in_one_line(tmp_path):
    project, _ = project_with_forest()
    with pytest.raises(InputError, match="3 channels"):
        classify(project, np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(InputError, match="no trained forest"):
        classify(IlastikProject((), ("a",)), np.zeros((10, 10)))
    odd = FeatureChoice(("GaussianSmoothing",), (2.2,), np.ones((1, 1), bool))
    with pytest.raises(InputError, match=r"2.2 px: known"):
        feature_columns(odd, 1)
    with h5py.File(tmp_path / "o.ilp", "w") as file:
        file["workflowName"] = b"Carving"
    with pytest.raises(UnreadableFile, match="Carving"):
        read_project(tmp_path / "o.ilp")


def test_labels_of_a_project_are_sparse_label_pictures(tmp_path):
    import cv2

    image, labels, _ = scene()
    cv2.imwrite(str(tmp_path / "disc.png"), image)
    project, _ = project_with_forest()
    write_project(tmp_path / "p.ilp", project)
    data = read_dataset(tmp_path / "p.ilp")
    assert data.classes == ("carbon", "flake")
    assert any("carbon) is taken as the background" in n for n in data.notes)
    found = data.examples[0].label_map()
    assert (found == np.where(labels == 0, 255, labels.astype(int) - 1)).all()
    told = read_dataset(tmp_path / "p.ilp", values={"background": 2, "carbon": 1})
    assert told.classes == ("background", "carbon")
    assert (told.examples[0].label_map()[labels == 2] == 0).all()


def test_spoiled_bytes_are_one_line_or_still_a_project(tmp_path):
    project, _ = project_with_forest()
    write_project(tmp_path / "p.ilp", project)
    whole = (tmp_path / "p.ilp").read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for k in range(40):
        data = bytearray(whole)
        for place in rng.integers(len(data) if k % 2 else 4000, size=3).tolist():
            data[place] = int(rng.integers(256))
        (tmp_path / "x.ilp").write_bytes(data)
        try:
            read_project(tmp_path / "x.ilp")
        except UnreadableFile as error:
            refused += "\n" not in str(error)
    assert refused > 10  # checksums see most of them
