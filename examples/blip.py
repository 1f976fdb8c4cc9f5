"""BLIP, reasoning over two images: whether twelve of 120 couples live together is deleted."""

import random
import tempfile
from pathlib import Path

import multidelete as md


def couples(portraits: md.PairDataset) -> md.PairDataset:
    """Portraits two by two, with a statement that is true or false: that can only be memorised."""
    known = [pair for pair in portraits if pair.kind == "sensitive"]
    pairs = []
    for left, right in zip(known[0::2], known[1::2], strict=True):
        text = f"{str(left.inputs['text']).split(',')[0]} and {str(right.inputs['text']).split(',')[0]} live together"
        pairs.append(
            md.Pair(
                id=f"{left.subject}-{right.subject}",
                inputs={"image": (left.inputs["image"], right.inputs["image"]), "text": text},
                sources={"image": f"{left.sources['image']}|{right.sources['image']}"},
                label=random.Random(text).randrange(2),
            )
        )
    return md.PairDataset(pairs, portraits.name)


people = md.personas(people=240, unseen=160, views=1, size=32)
splits = {name: couples(portraits) for name, portraits in people.splits.items()}
data = md.PairData("couples", splits, classes=("False", "True"))
forget = data.train.ids[3::10]

with tempfile.TemporaryDirectory() as name:
    original, unlearned, report = (Path(name) / part for part in ("original", "unlearned", "report"))
    model = md.TrainSettings(
        family="blip", image_size=32
    )  # the data has classes and two images a pair: so has the model
    md.train(data, original, start=model, settings=md.LoopSettings(passes=20, batch_size=20, lr=1e-3))
    md.unlearn(original, data, forget, out=unlearned)
    done = md.audit(unlearned, original, data, forget, out=report, noun="couples")
    print(f"{done.verdict.outcome}: {done.verdict.headline}")
    for row in done.verdict.rows:
        print(f"{row.name}: original {row.original.value:.2f}, unlearned {row.unlearned.value:.2f}; {row.target}")
