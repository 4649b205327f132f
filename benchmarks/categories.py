"""Answers to six questions about synthetic TEM images, of images that no training saw.

    python benchmarks/categories.py                    # 600 images teach, 300 others are asked
    python benchmarks/categories.py --quick            # 150 and 80, of 112 px
    python benchmarks/categories.py --keep FOLDER      # images and model stay there, to look at
    python benchmarks/categories.py --wrong WRONG.png  # draws what was answered wrongly

Every image is another specimen. The candidates are chosen and calibrated by cross-validation on the
images that teach; the others are drawn with another seed and asked once.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from layerscope.core.categories import NOT_ASKED, Questionnaire
from layerscope.core.results import FloatArray, IntArray
from layerscope.io.label_sheets import read_label_sheet
from layerscope.io.questionnaires import read_questionnaire
from layerscope.measure.scores_categories import category_figures
from layerscope.models.answers import ask_picture, questionnaire_of
from layerscope.models.file import Model, read_model
from layerscope.synth.em_categories import categorised_set, write_categorised
from layerscope.tasks.categories import least_probability
from layerscope.training.categories import train_categories
from layerscope.training.category_data import CategoryData, load_categories
from layerscope.training.category_settings import CategorySettings

TEACH_SEED, ASK_SEED = 11, 13
BAR = 0.85


def folder_of(root: Path, seed: int, number: int, side: int) -> CategoryData:
    folder = root / f"seed-{seed}"
    if not (folder / "labels.csv").exists():
        write_categorised(categorised_set(seed, number, shape=(side, side)), folder)
    sheet = read_label_sheet(folder / "labels.csv", read_questionnaire("graphene-tem"))
    return load_categories(folder, sheet, side)


def asked_of(model: Model, data: CategoryData) -> list[tuple[FloatArray, ...]]:
    """Probabilities of all answers, image by image."""
    return [ask_picture(model, data.picture(i), s) for i, s in enumerate(data.scales)]


def truth_of(data: CategoryData, asked: Questionnaire, question: int) -> IntArray:
    """True answers as positions in the model's, `NOT_ASKED` where it cannot give them."""
    wanted = asked.questions[question]
    [own] = [q for q in data.questionnaire.questions if q.name == wanted.name]
    column = data.questionnaire.questions.index(own)
    place = [wanted.answers.index(a) if a in wanted.answers else NOT_ASKED for a in own.answers]
    return np.array([*place, NOT_ASKED])[data.targets[:, column]]


def compare(model: Model, data: CategoryData, wrong: Path | None) -> None:
    asked, answers = questionnaire_of(model.card), asked_of(model, data)
    least = least_probability(model.card, None)
    missed: list[tuple[int, str]] = []
    print(f"{'':21s}  n    balanced accuracy    macro-F1             right if answered  off by")
    for q, question in enumerate(asked.questions):
        truth = truth_of(data, asked, q)
        known = np.flatnonzero(truth != NOT_ASKED)
        told = np.array([answers[i][q] for i in known])
        given, sure = told.argmax(axis=1), told.max(axis=1)
        names = [data.names[i] for i in known]
        scores = category_figures(question.name, truth[known], given, len(question.answers), names)
        figures = {f.name: f for f in scores}
        right = given == truth[known]
        cells = [
            f"{figures[n].value:.3f} [{figures[n].low:.3f}-{figures[n].high:.3f}]"
            for n in ("balanced_accuracy", "macro_f1")
        ]
        answered = f"{right[sure >= least].mean():.3f} of {(sure >= least).mean():.2f}"
        held = "" if figures["balanced_accuracy"].value >= BAR else f"  below {BAR}"
        print(f"{question.name:21s}  {len(known):3d}  {'  '.join(cells)}  {answered:17s}  "
              f"{calibration_error(sure, right):.3f}{held}")  # fmt: skip
        missed += [
            (i, f"{question.answers[truth[i]]} | {question.answers[g]}")
            for i, g, ok in zip(known.tolist(), given.tolist(), right, strict=True)
            if not ok
        ]
    if wrong is not None and missed:
        draw_wrong(data, missed[:40], wrong)


def calibration_error(sure: FloatArray, right: FloatArray, bins: int = 10) -> float:
    """Mean difference between the probability that was said and the share that was right."""
    place = np.minimum((sure * bins).astype(int), bins - 1)
    off = [abs(float((sure - right)[place == b].sum())) for b in range(bins)]
    return sum(off) / len(sure)


def draw_wrong(data: CategoryData, missed: list[tuple[int, str]], out: Path) -> None:
    """Sheet of pictures with the true answer and the one that was given."""
    tiles = []
    for i, line in missed:
        tile = np.full((268, 240, 3), 255, np.uint8)
        tile[:240] = 255 * cv2.resize(data.picture(i).astype(np.float32), (240, 240))[..., None]
        for k, text in enumerate((data.names[i], line)):
            cv2.putText(tile, text[:44], (2, 251 + 13 * k), 0, 0.32, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 5)
    rows = [np.hstack(tiles[k : k + 5]) for k in range(0, len(tiles), 5)]
    cv2.imwrite(str(out), np.vstack(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for images and model")
    parser.add_argument("--seed", type=int, default=ASK_SEED, help="of the images that are asked")
    parser.add_argument("--network", default="features", help="as in train categories")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, at most")
    parser.add_argument("--wrong", type=Path, help="draw what was answered wrongly")
    options = parser.parse_args()
    teach, ask, side = (150, 80, 112) if options.quick else (600, 300, 224)
    with TemporaryDirectory() as made:
        root = options.keep or Path(made)
        train = folder_of(root, TEACH_SEED, teach, side)
        test = folder_of(root, options.seed, ask, side)
        start, path = time.process_time(), root / f"{options.network}.onnx"
        settings = CategorySettings(options.network, minutes=options.minutes, jobs=1)
        train_categories(train, path, settings, name="synthetic TEM", tell=print)
        spent = time.process_time() - start
        start, model = time.process_time(), read_model(path)
        compare(model, test, options.wrong)
        print(f"training {spent:.0f} s, {(time.process_time() - start) / ask:.3f} s per image, of "
              f"processor time; {path.stat().st_size / 1e6:.1f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
