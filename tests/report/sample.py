"""A synthetic run of plausible size, from which the report's tests build pages."""

from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from PIL import Image

from multidelete.audits.judgement import ScoreRow, State
from multidelete.audits.measure import Measure
from multidelete.audits.result import Figure
from multidelete.audits.verdict import Verdict
from multidelete.report.build import Example, Match
from multidelete.report.charts import ChartData
from multidelete.report.embedding_map import Embeddings

MODELS = ("original", "unlearned", "retrained")
RECALL = {"original": 0.738, "unlearned": 0.013, "retrained": 0.0}
KEPT = {"original": 0.744, "unlearned": 0.66, "retrained": 0.75}
MEMBERSHIP = {"original": 0.951, "unlearned": 0.571, "retrained": 0.538}


class Arguments(TypedDict):
    """Everything that build_report takes, without the folder and the switch."""

    run: dict[str, object]
    figures: list[Figure]
    verdict: Verdict
    charts: ChartData
    examples: list[Example]


def arguments(models: tuple[str, ...] = MODELS) -> Arguments:
    """A finished run of forgetting four people, with these models only."""
    recall = _figures("forgetting", "recall@1 image to text", "forget", RECALL, models, n=80)
    kept = _figures("forgetting", "recall@1 image to text", "retain sample", KEPT, models, n=80)
    attack = _figures("membership", "AUC", "forget", MEMBERSHIP, models, n=160)
    cost = {
        m: Figure(audit="cost", measure=Measure("wall seconds"), model=m, value=s)
        for m, s in SECONDS.items()
        if m in models
    }
    absent = Figure(
        audit="relearning",
        measure=Measure("pairs needed"),
        model="unlearned",
        absent="needs at least 20 forget pairs, there are 8",
    )
    rows = [
        _row("forgetting", recall, 0.013, "within 0.05 of 0.000 (the retrained model)", "met"),
        _row("membership", attack, 0.033, "within 0.10 of 0.538 (the retrained model)", "unclear"),
        _row("retain", kept, -0.084, "at most 0.03 below 0.744 (the original)", "missed"),
        ScoreRow(criterion="test", note="there are no test pairs"),
    ]
    if "retrained" not in models:
        rows = [
            replace(row, state="absent", retrained=None, target="an AUC of 0.5", gap=None, low=None, high=None)
            for row in rows
        ]
    return {
        "run": {
            "model": "clip-tiny (1.5 M parameters)",
            "method": "multidelete",
            "date": "2025-03-14",
            "request": {"unit": "subject", "subjects": 4, "pairs": 16},
            "counts": {"forget": 16, "retain": 1584, "held-out": 800},
            "seeds": [0],
            "digests": {"original": "sha256 " + 60 * "a", "unlearned": "sha256 " + 60 * "b"},
            "versions": {"multidelete": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
            "settings": {"passes": 20, "weights": {"decoupling": 1.0, "unimodal": 0.1}, "learning_rate": 3e-4},
        },
        "figures": [*recall.values(), *kept.values(), *attack.values(), *cost.values(), absent],
        "verdict": Verdict(
            outcome="damaged",
            headline="Damaged: the model has lost what it should have kept",
            sentences=[
                "Of 4 people to be forgotten the original finds 4, the unlearned model 0.",
                "Retain lies 0.084 below its yardstick, 95 % interval -0.120 to -0.041.",
                "Not measured: test, since there are no test pairs.",
                "What it cost: 19.0 s; recall@1 on retain pairs 0.744 before, 0.660 after.",
            ],
            rows=rows,
            steps=["Do not use this model."],
        ),
        "charts": chart_data(models),
        "examples": [example(number, models) for number in range(4)],
    }


SECONDS = {"unlearned": 19.0, "retrained": 105.2}


def _figures(
    audit: str, figure: str, split: str, values: dict[str, float], models: tuple[str, ...], n: int
) -> dict[str, Figure]:
    made = {}
    for model in models:
        value = values[model]
        half = 1.96 * float(np.sqrt(max(value * (1 - value), 0.01) / n))
        made[model] = Figure(
            audit=audit,
            measure=Measure(figure),
            model=model,
            split=split,
            value=value,
            low=max(0.0, value - half),
            high=min(1.0, value + half),
            n=n,
            note="gallery: 360 captions of training people",
        )
    return made


def _row(criterion: str, by_model: dict[str, Figure], gap: float, target: str, state: State) -> ScoreRow:
    return ScoreRow(
        criterion=criterion,
        original=by_model.get("original"),
        unlearned=by_model.get("unlearned"),
        retrained=by_model.get("retrained"),
        target=target,
        gap=gap,
        low=gap - 0.036,
        high=gap + 0.043,
        state=state,
        note="",
    )


def chart_data(models: tuple[str, ...] = MODELS, pairs: int = 80, seed: int = 0) -> ChartData:
    """Scores, attacks and embeddings that look like a good deletion."""
    rng = np.random.default_rng(seed)
    forget_mean = {"original": 0.62, "unlearned": 0.17, "retrained": 0.15}
    scores = {
        model: {
            "forget": rng.normal(forget_mean[model], 0.1, pairs),
            "retain": rng.normal(0.62, 0.1, 4 * pairs),
            "holdout": rng.normal(0.14, 0.12, 3 * pairs),
        }
        for model in models
    }
    return ChartData(
        scores=scores,
        members={model: splits["forget"] for model, splits in scores.items()},
        nonmembers={model: splits["holdout"] for model, splits in scores.items()},
        embeddings={model: embeddings(model, rng) for model in models},
        seconds={model: wall_s for model, wall_s in SECONDS.items() if model in models},
        gallery=360,
    )


def embeddings(model: str, rng: np.random.Generator, dimensions: int = 16) -> Embeddings:
    """Pairs around ten centres; in all models but the original, forget texts lie anywhere."""
    fixed = np.random.default_rng(7)
    centres = fixed.normal(size=(10, dimensions)) * np.linspace(1.6, 0.2, dimensions)
    retain, forget = (centres[fixed.integers(10, size=n)] + 0.3 * fixed.normal(size=(n, dimensions)) for n in (90, 24))

    def near(points_ND: np.ndarray) -> np.ndarray:
        return points_ND + 0.2 * rng.normal(size=points_ND.shape)

    turn = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0] if model == "retrained" else np.eye(dimensions)
    texts = forget if model == "original" else rng.permutation(forget)
    return Embeddings(
        forget_image=near(forget) @ turn,
        forget_text=near(texts) @ turn,
        retain_image=near(retain) @ turn,
        retain_text=near(retain) @ turn,
    )


def example(number: int, models: tuple[str, ...] = MODELS) -> Example:
    """A forget pair that only the original finds."""
    caption = f"Zorvan{number} Quellby, clockmaker from Umberly"
    kept = [Match(f"Mirel Tand{place}, nurse of Skarnhem", 0.41 - place / 20, False, False) for place in range(3)]
    other = Match(f"Zorvan{(number + 1) % 4} Quellby, clockmaker from Umberly", 0.33, False, True)
    return Example(
        id=f"forget-{number}-view0",
        subject=f"Zorvan{number} Quellby",
        image=Image.new("RGB", (120, 150), (60 * number, 120, 160)),
        caption=caption,
        matches={m: [Match(caption, 0.71, True, True), other, kept[0]] if m == "original" else kept for m in models},
        rank={model: 1.0 if model == "original" else 140.5 + number for model in models},
    )


def page(folder: Path, built: Path) -> str:
    """The text of a built page, which must lie where it was asked for."""
    assert built == folder / "report.html"
    return built.read_text(encoding="utf-8")
