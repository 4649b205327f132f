"""Evaluation from labelled images to figures, signs and the folder."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from layerscope.cli import main
from layerscope.core.evaluation import ALL, Answer, Figure, Objects
from layerscope.core.examples import IGNORE, DataSet, Example, Instance
from layerscope.core.results import CropMasks
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.rle import compress, run_lengths
from layerscope.report.evaluation_folder import EvaluationFolder, evaluation_json
from layerscope.report.evaluation_pictures import draw_errors, error_map
from layerscope.training.answers import Candidate, keep_classes, match_classes, open_candidate
from layerscope.training.evaluate import Examination, evaluate
from layerscope.training.signs import Evidence, failure_signs

SHAPE = (64, 96)


def _square(top, left, side=14, shift=0, class_index=1):
    box = (top + shift, left, top + shift + side, left + side)
    return Instance(class_index, box, np.ones((side, side), bool))


def _data(n=6):
    """Bright noise with two dark squares, each its own class."""
    examples = []
    for i in range(n):
        image = np.random.default_rng(i).integers(180, 200, (*SHAPE, 1), dtype=np.uint8)
        objects = (_square(5, 5 + 3 * i), _square(40, 60, class_index=2))
        for o in objects:
            top, left, bottom, right = o.box
            image[top:bottom, left:right] = 60
        examples.append(Example.from_arrays(f"image{i}", image, objects, group=f"flake{i}"))
    return DataSet(tuple(examples), ("background", "thin", "thick"))


def _candidate(change=lambda instance: instance, classes=("background", "thin", "thick")):
    def ask(example):
        given = [change(i) for i in example.instances or ()]
        marked = Objects.marked([g for g in given if g is not None], example.shape)
        score = np.linspace(0.9, 0.8, len(marked))
        return Answer(Objects.found(marked.masks, marked.class_index, score))

    return Candidate("copy", classes, ask)


def _value(evaluation, name, group=ALL):
    figure = evaluation.figure(name, group)
    assert figure is not None
    return figure.value


def test_the_labels_themselves_score_one_everywhere():
    result = evaluate(_candidate(), _data())
    for name in ("mask_ap50", "mask_ap50_95", "mask_ap50_90", "box_ap50_95", "pq", "object_f1",
                 "mean_iou", "accuracy", "object_class_accuracy"):  # fmt: skip
        assert _value(result, name) == pytest.approx(1), name
    assert _value(result, "fraction_rmse", "thin") == 0
    r2 = result.figure("fraction_r2", "thin")
    assert r2 is not None
    assert np.isnan(r2.value)
    assert "the same everywhere" in r2.note
    assert result.n_groups == 6


def test_coarse_masks_lose_the_strict_figures_and_a_sign_says_so():
    shifted = _candidate(lambda i: replace(i, box=(i.box[0] + 4, i.box[1], i.box[2] + 4, i.box[3])))
    result = evaluate(shifted, _data())
    assert _value(result, "mask_ap50") == pytest.approx(1)  # IoU 10 / 18
    assert _value(result, "mask_ap75") == 0
    assert _value(result, "mask_ap50_90") == pytest.approx(2 / 9)
    assert _value(result, "mask_ap50_95") == pytest.approx(2 / 10)
    assert _value(result, "sq") == pytest.approx(10 / 18)
    assert any("too coarse" in sign for sign in result.signs)


def test_a_class_taken_for_another_is_seen_in_every_place():
    result = evaluate(_candidate(lambda i: replace(i, class_index=1)), _data())
    assert _value(result, "object_class_accuracy") == pytest.approx(0.5)
    trivial = result.figure("object_class_accuracy")
    assert trivial is not None
    assert trivial.baseline == pytest.approx(0.5)
    assert _value(result, "iou", "thick") == 0
    assert any("of thick are taken for thin" in sign for sign in result.signs)
    assert _value(evaluate(_candidate(lambda i: replace(i, class_index=1)), _data(),
                           Examination(ignore_classes=True)), "pq") == pytest.approx(1)  # fmt: skip


def test_few_specimens_have_no_interval_and_many_have_one():
    missing = _candidate(lambda i: i if i.box[1] % 2 else None)
    few, many = evaluate(missing, _data(4)), evaluate(missing, _data(8))
    figure = few.figure("object_recall")
    assert figure is not None
    assert np.isnan(figure.low)
    assert "at least 5" in figure.note
    wide = many.figure("object_recall")
    assert wide is not None
    assert wide.low < wide.value < wide.high
    for figure in (*few.figures, *many.figures):
        assert np.isfinite(figure.low) or figure.note, figure


def test_the_order_of_examples_changes_no_byte():
    data = _data()
    candidate = _candidate(lambda i: i if i.box[1] % 2 else None)
    turned = replace(data, examples=data.examples[::-1])
    assert evaluation_json(evaluate(candidate, data)) == evaluation_json(
        evaluate(candidate, turned)
    )


def test_an_image_without_answer_is_a_failure_and_counts_nowhere():
    good = _candidate()

    def ask(example):
        if example.name == "image2":
            raise InputError("not in this run")
        return good.ask(example)

    result = evaluate(replace(good, ask=ask), _data())
    assert len(result.images) == 5
    assert [f.reason for f in result.failures] == ["not in this run"]

    def refuse(example):
        raise InputError("never")

    with pytest.raises(InputError, match="answers for none of 6 images: never"):
        evaluate(replace(good, ask=refuse), _data())


def test_pixels_nobody_labelled_count_neither_way():
    truth = np.zeros(SHAPE, np.uint8)
    truth[:20], truth[40:] = 1, IGNORE
    found = np.ones(SHAPE, np.uint8)
    data = DataSet(
        (Example.from_arrays("a", np.zeros((*SHAPE, 1), np.uint8), truth),), ("background", "film")
    )
    result = evaluate(Candidate("all film", data.classes, lambda e: Answer(labels=found)), data)
    assert _value(result, "accuracy") == pytest.approx(0.5)
    assert _value(result, "iou", "film") == pytest.approx(0.5)
    assert _value(result, "fraction_bias", "film") == pytest.approx(0.5)


def test_a_bare_fraction_is_judged_as_a_number():
    truth = np.zeros(SHAPE, np.uint8)
    truth[:16] = 1
    image = np.zeros((*SHAPE, 1), np.uint8)
    data = DataSet((Example.from_arrays("a", image, truth),), ("background", "film"))
    result = evaluate(Candidate("x", data.classes, lambda e: Answer(fraction=0.3)), data)
    assert _value(result, "fraction_mae", "film") == pytest.approx(0.05)


def test_classes_meet_by_name_then_by_order_then_as_one():
    match = match_classes(("bg", "Thin", "thick"), ("background", "thick", "thin", "tape"))
    assert match.classes == ("bg", "Thin", "thick", "tape")
    assert match.found[[0, 1, 2, 3, 255]].tolist() == [0, 2, 1, 3, 255]
    assert match_classes(("b", "flake"), ("b", "graphene")).found[1] == 1
    one = match_classes(("b", "flake"), ("b", "1L", "2L"))
    assert one.classes == ("background", "object")
    assert "all classes count as one" in one.notes[0]


def test_the_same_names_in_another_order_meet_by_name():
    match = match_classes(("film", "hole", "flake"), ("hole", "flake", "film"))
    assert match.classes == ("film", "hole", "flake")
    assert match.found[[0, 1, 2]].tolist() == [1, 2, 0]


def test_only_the_classes_asked_for_count():
    kept = keep_classes(_candidate(), ["thick"])
    found = kept.ask(_data(1).examples[0])
    assert kept.classes == ("background", "thick")
    assert found.objects is not None
    assert found.objects.class_index.tolist() == [1]
    with pytest.raises(InputError, match="no class 'tape'"):
        keep_classes(_candidate(), ["tape"])


def _evidence(**values):
    figures = {
        (n, ALL): Figure(n, ALL, *(v if isinstance(v, tuple) else (v,))) for n, v in values.items()
    }
    return Evidence(figures, (), {}, {}, 0, 100, float("nan"), float("nan"))


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (_evidence(object_precision=0.9, object_recall=0.5), "50% of the objects are missed"),
        (_evidence(object_precision=0.5, object_recall=0.9), "is no labelled object"),
        (_evidence(mask_ap_small=0.1, mask_ap_large=0.8), "higher magnification"),
        (_evidence(mask_ap50=(0.3, 0.1, 0.5, 0.2, "Otsu")), "not shown to be better than Otsu"),
        (replace(_evidence(), by_group={"a": 0.9, "b": 0.85, "c": 0.3}), "c (0.30)"),
        (replace(_evidence(mean_iou=0.5), card_metrics={"mean_iou": 0.8}), "Fine-tune"),
        (replace(_evidence(object_ece=0.3), sure=0.9, right=0.6), "more sure than right"),
        (replace(_evidence(), most_marked=340), "--max-detections 1000"),
    ],
)
def test_a_sign_is_stated_where_the_figures_show_it(evidence, said):
    assert [s for s in failure_signs(evidence) if said in s]


def test_good_figures_show_no_sign():
    good = _evidence(mask_ap50=(0.9, 0.85, 0.95, 0.1, "Otsu"), mask_ap50_90=0.75, box_ap50_90=0.8,
                     object_precision=0.9, object_recall=0.85, object_ece=0.04)  # fmt: skip
    assert failure_signs(replace(good, by_group={"a": 0.9, "b": 0.8, "c": 0.85})) == ()


def test_the_map_tells_five_kinds_apart():
    truth = np.array([[0, 1, 0, 1, 1, 255]], np.uint8)
    found = np.array([[0, 1, 1, 0, 2, 1]], np.uint8)
    assert error_map(truth, found).tolist() == [[0, 1, 2, 3, 4, 5]]
    with pytest.raises(InputError):
        error_map(truth, found[:, 1:])


def test_the_folder_holds_page_tables_and_one_map_per_image(tmp_path):
    first, second = EvaluationFolder(tmp_path / "a"), EvaluationFolder(tmp_path / "b")
    candidate = _candidate(lambda i: i if i.box[1] % 2 else None)
    result = evaluate(candidate, _data(), on_image=first)
    evaluate(candidate, _data(), on_image=second)
    one, other = first.finish(result), second.finish(result)
    names = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert len([n for n in names if n.suffix == ".png"]) == 6
    assert all((one / n).read_bytes() == (other / n).read_bytes() for n in names)
    page = (one / "evaluation.html").read_text()
    assert all(t in page for t in ("Signs of failure", "mask AP50-90", "trivial", "thick"))
    with open(one / "figures.csv", newline="") as file:
        rows = {(r["name"], r["group"]): r for r in csv.DictReader(file)}
    assert float(rows["object_recall", ""]["value"]) == pytest.approx(
        _value(result, "object_recall")
    )
    stored = json.loads((one / "evaluation.json").read_text())
    assert len(stored["figures"]) == len(result.figures)
    assert len(stored["image_classes"]) == 18


def test_the_map_shows_its_colours(tmp_path):
    seen = []
    evaluate(
        _candidate(lambda i: i if i.class_index == 1 else None), _data(1), on_image=seen.append
    )
    picture = draw_errors(seen[0], longest_px=960, title=("a",))
    assert picture is not None
    flat = {tuple(c) for c in picture.reshape(-1, 3).tolist()}
    assert {(86, 180, 233), (240, 228, 66)} <= flat  # right and missed
    assert (213, 94, 0) not in flat  # nothing false


def _write_data(folder, data):
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for example in data.examples:
        cv2.imwrite(str(folder / "images" / f"{example.name}.png"), example.read_image()[..., 0])
        cv2.imwrite(str(folder / "masks" / f"{example.name}.png"), example.label_map())


def test_a_run_of_the_finder_is_read_from_its_coco_file(tmp_path):
    crop = np.ones((14, 14), bool)
    counts = compress(run_lengths(crop, (5, 5), SHAPE))
    entry = {"id": 1, "image_id": 1, "category_id": 1, "score": 0.7, "iscrowd": 0,
             "segmentation": {"size": list(SHAPE), "counts": counts}}  # fmt: skip
    document = {
        "images": [{"id": 1, "file_name": "image0.png", "height": SHAPE[0], "width": SHAPE[1]}],
        "categories": [{"id": 1, "name": "thin"}],
        "annotations": [entry],
    }
    (tmp_path / "annotations.coco.json").write_text(json.dumps(document))
    result = evaluate(open_candidate(tmp_path), _data(2))
    assert _value(result, "mask_ap50", "thin") == pytest.approx(1)
    assert _value(result, "mask_ap50", "thick") == 0
    assert len(result.failures) == 1


def test_the_command_compares_a_run_of_phases(tmp_path, monkeypatch, capsys):
    data = _data(5)
    _write_data(tmp_path / "data", data)
    run = tmp_path / "run"
    (run / "classes").mkdir(parents=True)
    for example in data.examples:
        cv2.imwrite(str(run / "classes" / f"{example.name}.png"), example.label_map())
    (run / "run.json").write_text("{}")
    names = ("background", "class 1", "class 2")
    rows = [f"image0,{name},{value}" for value, name in enumerate(names)]
    (run / "areas.csv").write_text("\n".join(["image,class,value", *rows]) + "\n")
    monkeypatch.setattr(
        "sys.argv",
        ["layerscope", "evaluate", str(run), str(tmp_path / "data"), "-o", str(tmp_path / "out")],
    )
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    assert "mean IoU over classes 1.000" in capsys.readouterr().out
    assert (tmp_path / "out" / "evaluation.html").is_file()


def test_a_run_of_coverage_is_read_from_its_layer_pictures(tmp_path):
    truth = np.zeros(SHAPE, np.uint8)
    truth[:32] = 1
    found = truth.copy()
    found[:16, :], found[60:] = 2, 255
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), found)
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "images.csv").write_text("image,layers_max\na,2\nb,\n")
    candidate = open_candidate(tmp_path)
    assert candidate.classes == ("background", "1L", "2L")
    image = np.zeros((*SHAPE, 1), np.uint8)
    data = DataSet((Example.from_arrays("a", image, truth),), ("substrate", "film"))
    result = evaluate(candidate, data)
    assert _value(result, "accuracy") == 1  # both layers are film; 255 is not counted
    assert result.confusions[-1].count.sum() == 60 * SHAPE[1]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UnreadableFile, match="no run of layerscope"):
        open_candidate(tmp_path)


def test_boxes_without_masks_are_judged_as_boxes():
    data = _data(5)
    bare = [
        replace(e, instances=tuple(replace(i, mask=None) for i in e.instances or ()))
        for e in data.examples
    ]
    candidate = Candidate(
        "boxes",
        data.classes,
        lambda e: Answer(
            Objects.found(
                CropMasks(
                    np.array([i.box for i in e.instances]),
                    tuple(np.ones((14, 14), bool) for _ in e.instances),
                    SHAPE,
                ),
                np.array([i.class_index for i in e.instances]),
                np.array([0.9, 0.8]),
            )
        ),
    )
    result = evaluate(candidate, replace(data, examples=tuple(bare)))
    assert _value(result, "box_ap50_95") == pytest.approx(1)
    assert result.figure("mask_ap50") is None
    assert result.figure("mean_iou") is None
