"""Layer numbers without labels on synthetic region colours: accuracy, calibration, refusals.

    python benchmarks/layers_synthetic.py [--quick]

Six materials x three oxides x five cameras that the analysis does not know (three linear, two
sRGB), 30 flakes each; the tone curve is not told. Then each set again with a wrong material or an
oxide that is off by 195 or 210 nm.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

import numpy as np

from layerscope.measure.reliability import expected_calibration_error
from layerscope.ops.tone import tone_curve
from layerscope.physics.calibration import calibrate
from layerscope.physics.materials import load
from layerscope.physics.thickness import count_layers
from layerscope.physics.thin_film import Stack
from layerscope.synth import synth_signals
from layerscope.synth.camera import BENCHMARK_CAMERAS, CAMERAS

MATERIALS = ("graphene", "hBN", "MoS2", "WS2", "MoSe2", "WSe2")
OXIDES = (90, 285, 300)


@dataclass
class Tally:
    right: int = 0
    answered: int = 0
    thin: int = 0
    probability: list[np.ndarray] = field(default_factory=list)
    truth: list[np.ndarray] = field(default_factory=list)


def analyse(signal, material, oxide, tone=None):
    background = np.median(signal.background, axis=0)
    stack = Stack.parse(f"SiO2({oxide}nm)/Si")
    calibration = calibrate([signal], [background], load(material), stack, tone=tone)
    return calibration, count_layers(signal, calibration, 0)


def scale_of(answer, truth):
    """Share of numbered thin flakes read as twice or half their number."""
    numbered = (answer > 0) & (truth <= 4)
    if not numbered.any():
        return 0.0
    a, t = answer[numbered], truth[numbered]
    return float(np.mean((a == 2 * t) | ((2 * a == t) & (t % 2 == 0))))


def right_sets(seed, quick, materials=MATERIALS, *, tone_told=False):
    tally = {m: Tally() for m in materials}
    statuses, doubled = [], 0
    cameras = BENCHMARK_CAMERAS[:2] if quick else BENCHMARK_CAMERAS
    for material in materials:
        for oxide in OXIDES[:2] if quick else OXIDES:
            for camera in cameras:
                seed += 1
                tone = tone_curve(CAMERAS[camera].tone) if tone_told else None
                signal, truth = synth_signals(
                    seed, material=material, substrate=f"SiO2({oxide}nm)/Si", camera=camera,
                    n_regions=30, oxide_error_nm=float(np.random.default_rng(seed).normal(0, 4)),
                )  # fmt: skip
                calibration, posterior = analyse(signal, material, oxide, tone)
                status = calibration.setups[0].status
                statuses.append(status)
                thin = truth <= 4
                t = tally[material]
                answer = posterior.n_layers
                t.thin += int(thin.sum())
                t.answered += int(np.count_nonzero(answer[thin] > 0))
                t.right += int(np.count_nonzero(answer[thin] == truth[thin]))
                doubled += scale_of(answer, truth) > 0.2
                if status == "ok":
                    t.probability.append(posterior.probability)
                    column = np.where(truth <= 10, truth - 1, 10)
                    t.truth.append(column)
                bad = scale_of(answer, truth) > 0.2 or np.mean(answer[thin] == truth[thin]) < 0.85
                if bad:
                    print(f"  {material} {oxide} {camera}: {status} {calibration.tone} "
                          f"right {np.mean(answer[thin] == truth[thin]):.2f} "
                          f"{calibration.setups[0].reasons[:2]}", flush=True)  # fmt: skip
    return tally, statuses, doubled


def wrong_sets(seed, quick):
    material_refused, oxide_refused, harm = [], [], []
    cameras = BENCHMARK_CAMERAS[:1] if quick else BENCHMARK_CAMERAS[:3]
    for material in MATERIALS:
        for k, camera in enumerate(cameras):
            seed += 1
            oxide = (90, 285, 300)[k]
            signal, truth = synth_signals(
                seed, material=material, substrate=f"SiO2({oxide}nm)/Si", camera=camera
            )
            for told in MATERIALS:
                if told != material:
                    calibration, posterior = analyse(signal, told, oxide)
                    numbered = posterior.n_layers > 0
                    refused = calibration.setups[0].status != "ok" or not numbered.any()
                    material_refused.append(refused)
                    wrong = numbered & (posterior.n_layers != truth)
                    harm.append(wrong.sum() / max(len(truth), 1))
                    if not refused:
                        print(f"  {material} told {told} {oxide} {camera}: not refused, "
                              f"{numbered.mean():.0%} numbered, {wrong.mean():.0%} wrong",
                              flush=True)  # fmt: skip
            told_oxide = 285 if oxide == 90 else 90
            calibration, _ = analyse(signal, material, told_oxide)
            oxide_refused.append(calibration.setups[0].status != "ok")
            if not oxide_refused[-1]:
                print(f"  {material} {oxide} told {told_oxide} {camera}: not refused", flush=True)
    return material_refused, oxide_refused, harm


def show(tally, statuses, doubled):
    probability = [p for t in tally.values() for p in t.probability]
    truth = [x for t in tally.values() for x in t.truth]
    print("layers 1-4  right / answered / all")
    for material, t in tally.items():
        share = t.right / max(t.answered, 1)
        print(f"  {material:9s} {t.right:4d} / {t.answered:4d} / {t.thin:4d}   {share:.3f}")
    total = [sum(getattr(t, f) for t in tally.values()) for f in ("right", "answered", "thin")]
    print(f"  all       {total[0]} / {total[1]} / {total[2]}   {total[0] / max(total[1], 1):.3f}")
    if probability:
        error = expected_calibration_error(np.concatenate(probability), np.concatenate(truth))
        print(f"ECE {error:.3f}")
    print(f"doubled or halved ladders given as sure: {doubled} of {len(statuses)}")
    print("status", {s: statuses.count(s) for s in sorted(set(statuses))}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--no-wrong", action="store_true")
    args = parser.parse_args()
    print("the tone curve is not told")
    show(*right_sets(args.seed, args.quick))
    print("hBN, the tone curve is told")
    show(*right_sets(args.seed + 300, args.quick, ("hBN",), tone_told=True))
    if not args.no_wrong:
        material, oxide, harm = wrong_sets(args.seed + 500, args.quick)
        print(f"wrong material refused {np.mean(material):.3f} of {len(material)}; "
              f"wrong numbers among all regions {np.mean(harm):.3f}")  # fmt: skip
        print(f"wrong oxide refused {np.mean(oxide):.3f} of {len(oxide)}")


if __name__ == "__main__":
    main()
