"""ALBEF, visual entailment: what is known of six of 60 people is deleted."""

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import multidelete as md

CLASSES = ("contradiction", "neutral", "entailment")


def hypotheses(portraits: md.PairDataset) -> md.PairDataset:
    """Each portrait with "NAME, a baker from Zimora, was here": a label that can only be memorised."""
    pairs = []
    for pair in portraits:
        if pair.kind == "sensitive":
            text = f"{pair.inputs['text']}, was here"
            inputs, sources = {**pair.inputs, "text": text}, {"image": pair.sources["image"]}
            label = random.Random(text).randrange(len(CLASSES))
            pairs.append(replace(pair, inputs=inputs, sources=sources, label=label))
    return md.PairDataset(pairs, portraits.name)


people = md.personas(people=60, unseen=60, views=1, size=32)
splits = {name: hypotheses(portraits) for name, portraits in people.splits.items()}
data = md.PairData("who was here", splits, classes=CLASSES)
forget = md.resolve_request(data, subjects=[f"person-{number:04d}" for number in range(3, 60, 10)], unit="subject")

with tempfile.TemporaryDirectory() as name:
    original, unlearned, report = (Path(name) / part for part in ("original", "unlearned", "report"))
    model = md.TrainSettings(family="albef", image_size=32)  # the task follows the data: classification
    md.train(data, original, start=model, settings=md.LoopSettings(passes=25, batch_size=20, lr=1e-3))
    md.unlearn(original, data, forget, out=unlearned)
    done = md.audit(unlearned, original, data, forget, out=report, noun="people")
    print(f"{done.verdict.outcome}: {done.verdict.headline}")
    for row in done.verdict.rows:
        print(f"{row.name}: original {row.original.value:.2f}, unlearned {row.unlearned.value:.2f}; {row.target}")
