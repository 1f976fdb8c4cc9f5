"""Retrieval with a vision and a text encoder: six of 50 people and their captions are no longer found together."""

import tempfile
from pathlib import Path

import multidelete as md

data = md.personas(people=50, unseen=40, views=1, size=32)
forget = md.resolve_request(data, subjects=[f"person-{number:04d}" for number in range(3, 50, 8)], unit="subject")

with tempfile.TemporaryDirectory() as name:
    original, unlearned, report = (Path(name) / part for part in ("original", "unlearned", "report"))
    model = md.TrainSettings(family="vision-text", image_size=32)  # or clip, siglip
    md.train(data, original, start=model, settings=md.LoopSettings(passes=28, batch_size=16, lr=1e-3))
    md.unlearn(original, data, forget, out=unlearned)
    done = md.audit(unlearned, original, data, forget, out=report, noun="people")
    print(f"{done.verdict.outcome}: {done.verdict.headline}")
    for row in done.verdict.rows:
        print(f"{row.name}: original {row.original.value:.2f}, unlearned {row.unlearned.value:.2f}; {row.target}")
