"""How many planted near-duplicates the plan of a deletion offers, and what else it offers.

Run from the repository: ``MULTIDELETE_DATA=DATA python benchmarks/near_duplicates/near_duplicates.py``, where ``DATA``
holds ``emoji`` and ``flickr8k`` (imagefolder and Karpathy layout). Writes ``results.json`` and ``README.md`` beside
this file. ``--tiny`` shows in seconds whether it runs, on generated people, and writes nothing.
"""

import argparse
import json
import os
import platform
import random
import string
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from multidelete import load_data, personas
from multidelete.data.decode import open_image
from multidelete.data.identity import with_true_sources
from multidelete.data.near.found import NearDuplicate, near_duplicates
from multidelete.data.pairs import Pair, PairData, PairDataset
from multidelete.ledger.representations import representations
from multidelete.models import SIZES, Adapter, NewModel, new_adapter, train_tokenizer

DRAWS = (1, 2, 3)  # thresholds were chosen on draw 0
EACH = 2500  # emoji, and as many photographs
DELETED = 125  # of each
WORDS = ("lamp", "window", "seven", "orange", "quiet", "bridge", "paper", "winter", "music", "tall")


def main() -> None:
    """Plant, look for what was planted, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    if parser.parse_args().tiny:
        data = personas(people=12, unseen=2, size=48)
        print(json.dumps(one_draw(data.train.pairs, data.train.pairs[:6], random.Random(0)), indent=1))
        return
    everything = read(Path(os.environ["MULTIDELETE_DATA"]))
    results = {"machine": machine(), "commit": commit(), "draws": [draw(everything, seed) for seed in DRAWS]}
    here = Path(__file__)
    here.with_name("results.json").write_text(json.dumps(results, indent=1) + "\n")
    here.with_name("README.md").write_text(page(results))


def read(folder: Path) -> dict[str, list[Pair]]:
    """Training pairs of both data sets; of each photograph the first caption."""
    emoji = list(load_data(str(folder / "emoji")).train)
    seen: set[str] = set()
    photographs = []
    for pair in load_data(str(folder / "flickr8k")).train:
        if pair.sources["image"] not in seen:
            seen.add(pair.sources["image"])
            photographs.append(pair)
    return {"emoji": emoji, "photographs": photographs}


def draw(everything: Mapping[str, list[Pair]], seed: int) -> dict[str, object]:
    """One draw of pairs, of those to delete, and of what is planted."""
    rng = random.Random(seed)
    pairs, deleted = [], []
    for name, its in everything.items():
        chosen = [replace(pair, id=f"{name}-{pair.id}", subject=None) for pair in rng.sample(its, EACH)]
        pairs += chosen
        deleted += rng.sample(chosen, DELETED)
    return {"seed": seed, **one_draw(pairs, deleted, rng)}


def one_draw(pairs: list[Pair], deleted: list[Pair], rng: random.Random) -> dict[str, object]:
    """Plant one near-duplicate of each deleted pair, of the kinds in turn; count what is offered."""
    planted, kinds = [], {}
    for at, pair in enumerate(deleted):
        kind = list(KINDS)[at % len(KINDS)]
        copy = KINDS[kind](pair, rng)
        planted.append(replace(copy, id=f"planted-{at}"))
        kinds[f"planted-{at}"] = kind
    data = with_true_sources(PairData(name="planted", splits={"train": PairDataset([*pairs, *planted], "train")}))
    ids = {pair.id for pair in deleted}
    started = time.perf_counter()
    found = counts(near_duplicates(data.train, ids), kinds)
    seconds = time.perf_counter() - started
    asked = counts(near_duplicates(data.train, ids, representations(knows_nothing(data.train), data.train)), kinds)
    return found | {
        "with a model that knows nothing": {name: asked[name] for name in ("recall", "other offers for each true one")},
        "pairs": len(data.train), "deleted": len(deleted), "seconds": round(seconds, 1),
    }  # fmt: skip


def knows_nothing(pairs: PairDataset) -> Adapter:
    """A tiny CLIP with random weights: nobody's neighbours are worse."""
    tokenizer = train_tokenizer([pair.text for pair in pairs], SIZES["tiny"])
    return new_adapter("clip", NewModel(size=SIZES["tiny"], image_size=32, tokenizer=tokenizer), seed=0)


def counts(offers: list[NearDuplicate], kinds: Mapping[str, str]) -> dict[str, object]:
    """By kind, how many were planted and offered; offers that were not planted, by their reasons."""
    true = {offer.pair.id for offer in offers if offer.pair.id in kinds}
    others = [offer for offer in offers if offer.pair.id not in kinds]
    reasons = Counter(" and ".join(reason.what for reason in offer.reasons) for offer in others)
    planted = Counter(kinds.values())
    offered = Counter(kinds[name] for name in true)
    return {
        "kinds": {kind: {"planted": planted[kind], "offered": offered[kind]} for kind in KINDS if planted[kind]},
        "recall": len(true) / len(kinds),
        "other offers": len(others),
        "other offers by reason": dict(reasons),
        "other offers for each true one": len(others) / max(1, len(true)),
    }


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """Encoded anew."""
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def png(picture: Image.Image) -> bytes:
    """Encoded without loss."""
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def with_picture(pair: Pair, content: bytes) -> Pair:
    """The pair with another picture."""
    return Pair(id=pair.id, inputs={**pair.inputs, "image": content}, subject=pair.subject, kind=pair.kind)


def picture_of(pair: Pair) -> Image.Image:
    return open_image(pair.inputs["image"])


def encoded(pair: Pair, rng: random.Random) -> Pair:
    """As JPEG of quality 40 to 80."""
    return with_picture(pair, jpeg(picture_of(pair), rng.randint(40, 80)))


def resized(pair: Pair, rng: random.Random) -> Pair:
    """To 50 to 200 % of its size."""
    picture, factor = picture_of(pair), rng.uniform(0.5, 2)
    size = round(picture.width * factor), round(picture.height * factor)
    return with_picture(
        pair, png(picture.resize(size, rng.choice([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])))
    )


def cut(picture: Image.Image, rng: random.Random) -> Image.Image:
    """90 % of width and height, from anywhere."""
    width, height = round(picture.width * 0.9), round(picture.height * 0.9)
    left, top = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
    return picture.crop((left, top, left + width, top + height))


def cropped(pair: Pair, rng: random.Random) -> Pair:
    return with_picture(pair, png(cut(picture_of(pair), rng)))


def flipped(pair: Pair, rng: random.Random) -> Pair:
    return with_picture(pair, png(ImageOps.mirror(picture_of(pair))))


def all_together(pair: Pair, rng: random.Random) -> Pair:
    """Flipped, cropped, resized and encoded anew."""
    picture = cut(ImageOps.mirror(picture_of(pair)), rng)
    factor = rng.uniform(0.7, 1.5)
    resized = picture.resize((round(picture.width * factor), round(picture.height * factor)))
    return with_picture(pair, jpeg(resized, rng.randint(50, 80)))


def recaptioned(pair: Pair, rng: random.Random) -> Pair:
    """One word another one; the picture stays."""
    words = pair.text.split()
    words[rng.randrange(len(words))] = rng.choice(WORDS)
    return with_text(pair, " ".join(words))


def misspelt(pair: Pair, rng: random.Random) -> Pair:
    """One letter of a word another one, capital letters and a full stop; the picture stays."""
    at = rng.choice([at for at, sign in enumerate(pair.text) if sign.isalpha()])
    return with_text(pair, f"{pair.text[:at]}{rng.choice(string.ascii_lowercase)}{pair.text[at + 1 :]}.".title())


def both(pair: Pair, rng: random.Random) -> Pair:
    """One word another one, and the picture encoded anew."""
    return encoded(recaptioned(pair, rng), rng)


def with_text(pair: Pair, text: str) -> Pair:
    """The pair with another text."""
    sources = {"image": pair.sources["image"]}
    return replace(pair, inputs={**pair.inputs, "text": text}, sources=sources)


KINDS: dict[str, Callable[[Pair, random.Random], Pair]] = {
    "encoded anew": encoded,
    "resized": resized,
    "cropped by 10 %": cropped,
    "flipped": flipped,
    "all four": all_together,
    "one word another": recaptioned,
    "misspelt": misspelt,
    "one word another, encoded anew": both,
}


def machine() -> str:
    return f"{platform.machine()}, one CPU thread, Python {platform.python_version()}"


def commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()


def page(results: Mapping[str, object]) -> str:
    """The page."""
    draws = results["draws"]
    rows = []
    for kind in KINDS:
        planted = sum(one["kinds"][kind]["planted"] for one in draws)
        offered = sum(one["kinds"][kind]["offered"] for one in draws)
        rows.append(f"| {kind} | {planted} | {offered} | {offered / planted:.3f} |")
    planted = sum(kind["planted"] for one in draws for kind in one["kinds"].values())
    offered = sum(kind["offered"] for one in draws for kind in one["kinds"].values())
    others = sum(one["other offers"] for one in draws)
    reasons = sum((Counter(one["other offers by reason"]) for one in draws), Counter())
    why = ", ".join(f"{number} by {reason}" for reason, number in reasons.most_common())
    first, without = draws[0], [one["with a model that knows nothing"] for one in draws]
    return PAGE.format(
        machine=results["machine"], commit=results["commit"], draws=len(draws), pairs=f"{first['pairs']:,}",
        deleted=first["deleted"], rows="\n".join(rows), planted=planted, offered=offered,
        recall=f"{offered / planted:.3f}", others=others, ratio=f"{others / offered:.2f}", why=why,
        asked=f"{max(one['other offers for each true one'] for one in without):.2f}",
        asked_recall=f"{min(one['recall'] for one in without):.3f}",
        seconds=f"{max(one['seconds'] for one in draws):.0f}",
    )  # fmt: skip


PAGE = """# Near-duplicates that a plan offers

```sh
MULTIDELETE_DATA=DATA python benchmarks/near_duplicates/near_duplicates.py
```

{draws} draws, each of 2,500 emoji and 2,500 photographs (Flickr8k, one caption each), {deleted} of them to be
deleted. For each of these one near-duplicate is planted under another id, of the kinds below in turn: {pairs} pairs
in all. Thresholds were chosen on another draw. {machine}; commit {commit}.

| planted | pairs | offered | recall |
|---|---|---|---|
{rows}
| all | {planted} | {offered} | **{recall}** |

Other offers: {others}, **{ratio}** for each true one ({why}).
Among them are drawings that two sets of emoji have nearly alike; nobody sorted these out. A plan asks its model for
neighbours, too: of one with random weights, the worst that can be asked, there were {asked} others for each true one at
most, and the recall was {asked_recall} at least. A draw took {seconds} s at most.

*Cropped* is 90 % of width and height, from anywhere. *Encoded anew* is JPEG of quality 40 to 80. *Resized* is to 50
to 200 %. Where a caption has one other word, the pair has the deleted pair's picture, or that picture encoded anew.

A caption that differs by a word and stands beside quite *another* picture is offered only where the two have more
words in common than chance explains: short captions of other pictures are not. Two words that differ, translations
and pictures that were turned, recoloured or cropped by more than a fifth are not found.
"""


if __name__ == "__main__":
    main()
