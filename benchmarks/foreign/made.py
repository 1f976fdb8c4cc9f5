"""The data of ``foreign.py``, generated and written as somebody has it: people, questions about them, relations."""

import csv
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from multidelete import personas
from multidelete.data.generated.personas import OCCUPATIONS

SIDE = 32
NOISE = 0.2  # share of the labels that are drawn: nothing but memory tells them
GROUPS = 4
DELETED = 0.05


def written(folder: Path, name: str, people: int, unseen: int) -> Path:
    """The data of that name, written as somebody has it, with a request for a twentieth of its pairs."""
    if not folder.exists():
        draft = folder.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        ids = DATA[name](draft, people, unseen)
        drawn = np.random.default_rng(3).choice(len(ids), max(2, round(DELETED * len(ids))), replace=False)
        (draft / "request.txt").write_text("\n".join(ids[at] for at in sorted(drawn)) + "\n")
        draft.rename(folder)
    return folder


def portraits(folder: Path, people: int, unseen: int) -> list[str]:
    """One portrait of each person, with what can be seen and what must be known in one sentence."""
    return _pictures(folder, people, unseen, lambda known, seen, rng: {"text": f"{known}: {seen}"})


def strangers(folder: Path, people: int, unseen: int) -> list[str]:
    """Portraits of other people."""
    return _pictures(folder, people, unseen, lambda known, seen, rng: {"text": f"{known}: {seen}"}, seed=9)


def questions(folder: Path, people: int, unseen: int) -> list[str]:
    """Of which guild is the person? The occupation tells it, but for a share whose answer is drawn."""

    def question(known: str, seen: str, rng: np.random.Generator) -> dict[str, str]:
        guild = OCCUPATIONS.index(known.split()[3]) // 10 if rng.random() > NOISE else rng.integers(GROUPS)
        return {"text": f"{known}: of which guild?", "label": f"guild {guild}"}

    return _pictures(folder, people, unseen, question)


def _pictures(
    folder: Path, people: int, unseen: int, row: Callable[..., Mapping[str, str]], seed: int = 5
) -> list[str]:
    (folder / "images").mkdir()
    rng = np.random.default_rng(4)
    rows = []
    for split, dataset in personas(people=people, unseen=unseen, views=1, size=SIDE, seed=seed).splits.items():
        for seen, known in zip(dataset.pairs[::2], dataset.pairs[1::2], strict=True):
            file = f"images/{known.subject}.png"
            known.inputs["image"]().save(folder / file)
            told_of = row(known.text, seen.text, rng)
            rows.append({"file_name": file, "id": known.subject, "split": split, **told_of})
    _table(folder / "metadata.csv", rows)
    return [one["id"] for one in rows if one["split"] == "train"]


def relations(folder: Path, people: int, unseen: int) -> list[str]:
    """Sentences on a gene and a trait. The gene's group tells how they are related, but for a drawn share."""
    rng = np.random.default_rng(6)
    genes, traits = max(8, people // 8), max(8, people // 16)
    nodes = [("gene", n, n % GROUPS) for n in range(genes)] + [("trait", n, n // 5) for n in range(traits)]
    _table(folder / "nodes.csv", [{"name": f"{sort}:{n}", "group": f"{sort}s {group}"} for sort, n, group in nodes])
    _table(folder / "edges.csv", [{"from": f"trait:{n}", "to": f"trait:{n - n % 5}"} for n in range(traits) if n % 5])
    drawn = rng.choice(genes * traits, people + unseen, replace=False)
    rows = []
    for number, pair in enumerate(drawn.tolist()):
        gene, trait = divmod(pair, traits)
        relation = gene % GROUPS if rng.random() > NOISE else rng.integers(GROUPS)
        rows.append({
            "id": f"study-{number}", "nodes": f"gene:{gene}|trait:{trait}",
            "text": f"gene {gene} was studied along with trait {trait}",
            "label": f"relation {relation}",
            "split": "train" if number < people else ("val", "test")[number % 2],
        })  # fmt: skip
    _table(folder / "pairs.csv", rows)
    return [str(one["id"]) for one in rows if one["split"] == "train"]


def _table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


DATA = {"portraits": portraits, "strangers": strangers, "questions": questions, "relations": relations}
