"""For each row: train a model, forget with MultiDelete, retrain, and audit the three together.

    python benchmarks/paper_rows/rows.py [ROW ...]

A row is a file ``ROW.toml`` beside this one; without names all are run. The data lies in the folder that
MULTIDELETE_DATA names, else in ``../shared/data``. Models go to ``runs/paper_rows/ROW``, and what is there already is
not made again: a run that was cut off goes on where it stopped. Each audit is kept as ``ROW.json``, and ``results.md``
is made of those.
"""

import os
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

import multidelete
from multidelete import Figure, LoopSettings, PairData, PairDataset, TrainSettings
from multidelete.data.split import draw_request
from multidelete.methods import MultiDelete
from multidelete.models.families import get_family
from multidelete.models.fresh import Size, new_model, train_tokenizer
from multidelete.models.initial import classes_of, pictures_per_pair

HERE = Path(__file__).parent
RUNS = Path("runs/paper_rows")

Row = Mapping[str, dict]


def main() -> None:
    torch.backends.cuda.enable_flash_sdp(False)  # on CPUs too: its backward pass is slow for short sequences
    rows = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(HERE.glob("*.toml"))}
    for name in sys.argv[1:] or rows:
        run(name, rows[name])
    kept = [HERE / f"{name}.json" for name in rows if (HERE / f"{name}.json").exists()]
    (HERE / "results.md").write_text("\n".join(table(path) for path in kept), encoding="utf-8")
    print((HERE / "results.md").read_text(encoding="utf-8"))


def run(name: str, row: Row) -> None:
    """All models and the audit of a row that are not there yet."""
    data, folder = load(row), RUNS / name
    original = train(row, data, folder)
    forget = request(row, data, row["request"]["draw"])
    if not (folder / "retrained").exists():
        multidelete.unlearn(original, data, forget, method="retrain", out=folder / "retrained", resume=True)
    if not (folder / "unlearned").exists():
        method = MultiDelete(**row.get("method", {}))
        settings = {"precision": row["train"]["precision"]} | row.get("unlearn", {})
        multidelete.unlearn(
            original, data, forget, method=method, settings=settings, out=folder / "unlearned", resume=True
        )
    if not (HERE / f"{name}.json").exists():
        multidelete.audit(
            folder / "unlearned", original, data, forget, retrained=folder / "retrained", out=folder / "report",
            noun=row["request"]["noun"], overwrite=True,
        )  # fmt: skip
        shutil.copy(folder / "report" / "audit.json", HERE / f"{name}.json")


def load(row: Row) -> PairData:
    """The row's data; with a ``[subset]`` only the training pairs of the first images, and few pairs of each."""
    root = Path(os.environ.get("MULTIDELETE_DATA", "../shared/data"))
    data = multidelete.load_data(str(root / row["data"]["folder"]))
    subset = row.get("subset")
    if subset is None:
        return data
    most = {split: (subset["images"] if split == "train" else len(pairs)) for split, pairs in data.splits.items()}
    splits = {
        split: _first(pairs, most[split], subset.get("pairs_per_image", len(pairs)))
        for split, pairs in data.splits.items()
    }
    note = f"{len(splits['train'])} of {len(data.train)} training pairs: those of the first {subset['images']} images"
    return replace(data, splits=splits, notes=(*data.notes, note))


def _first(pairs: PairDataset, images: int, pairs_per_image: int) -> PairDataset:
    """The first pairs of the first images, in the data set's order."""
    found: Counter[str] = Counter()
    kept = []
    for pair in pairs:
        image = pair.sources["image"]
        if (image in found or len(found) < images) and found[image] < pairs_per_image:
            found[image] += 1
            kept.append(pair)
    return PairDataset(kept, pairs.name)


def train(row: Row, data: PairData, folder: Path) -> Path:
    """The original; of a size of the row's own where it has one."""
    original, model = folder / "original", TrainSettings(**row["model"])
    if not original.exists():
        if "size" in row:
            model = replace(model, start=str(new_start(row, data, folder / "start")))
        multidelete.train(data, original, model=model, settings=LoopSettings(**row["train"]), resume=True)
    return original


def new_start(row: Row, data: PairData, folder: Path) -> Path:
    """A folder with random weights of the row's size, as ``multidelete train`` makes those of the named sizes."""
    if not folder.exists():
        size, name = Size(**row["size"]), row["model"]["family"]
        tokenizer = train_tokenizer((str(pair.inputs["text"]) for pair in data.train), size)
        made = new_model(
            name, size, image_size=row["model"].get("image_size", 48), tokenizer=tokenizer, seed=0,
            task="classification", classes=classes_of(data), images=pictures_per_pair(data.train), graph=data.graph,
        )  # fmt: skip
        folder.mkdir(parents=True)
        get_family(name).adapter(*made).save(folder)
    return folder


def request(row: Row, data: PairData, draw: int) -> multidelete.Request:
    """What is to be forgotten: all pairs of the units that are drawn."""
    unit, fraction = row["request"]["unit"], row["request"]["fraction"]
    ids = draw_request(data.train, fraction=fraction, unit=unit, seed=draw)
    if unit == "node":  # the other node of a drawn node's pair was not drawn, and keeps its other pairs
        unit = "pair"
    return multidelete.resolve_request(data, ids=ids, unit=unit)


MODELS = ("original", "retrained", "unlearned")
COLUMNS = {  # audit, beginnings of the figure's name of which the first that there is counts, split
    "test": ("utility", ("accuracy", "recall@10 image to text"), "test"),
    "forget": ("forgetting", ("accuracy", "recall@1 image to text among"), "forget"),
    "separation AUC": ("separation", ("auc",), None),
    "membership AUC": ("membership", ("auc",), None),
    "first modality kept": ("unimodal", ("image 10-nearest", "graph 10-nearest"), "forget"),
    "second modality kept": ("unimodal", ("text 10-nearest",), "forget"),
}


def figure(figures: Sequence[Figure], model: str, column: str) -> Figure | None:
    """A model's figure of a column."""
    audit, names, split = COLUMNS[column]
    for name in names:
        for row in figures:
            known = row.audit == audit and row.model == model and row.value is not None and split in (None, row.split)
            if known and row.figure.startswith(name) and "difference" not in row.figure and " of " not in row.figure:
                return row
    return None


def table(path: Path) -> str:
    """One row's figures with their intervals, and its targets, as Markdown."""
    run_facts, figures = multidelete.read_audit(path)
    lines = [f"### {path.stem}", "", "| | " + " | ".join(COLUMNS) + " | seconds |", "|---|" + "---|" * 7]
    found = {model: {column: figure(figures, model, column) for column in COLUMNS} for model in MODELS}
    seconds = {model: run_facts[model]["cost"]["wall_s"] for model in MODELS}
    for model in MODELS:
        cells = [_cell(found[model][column]) for column in COLUMNS]
        lines.append(f"| {model} | " + " | ".join(cells) + f" | {seconds[model]:.0f} |")
    told = {m: found[m]["separation AUC"].value for m in MODELS}
    test_gap = found["unlearned"]["test"].value - found["retrained"]["test"].value
    to_retrained, to_original = (told["unlearned"] - told[model] for model in ("retrained", "original"))
    share = seconds["unlearned"] / seconds["retrained"]
    trained, wanted = (run_facts[model]["cost"]["pairs_backward"] for model in ("unlearned", "retrained"))
    targets = {
        f"test {test_gap:+.3f} of the retrained model's (within 0.01)": abs(test_gap) <= 0.01,
        f"separation {to_retrained:+.3f} of the retrained model's (0 or more)": to_retrained >= 0,
        f"separation {to_original:+.3f} of the original's (0.15 or more)": to_original >= 0.15,
        f"{share:.3f} of the time of retraining (0.1 or less), {trained / wanted:.3f} of its pairs": share <= 0.1,
    }
    lines += ["", *(f"- {'met' if met else 'MISSED'}: {text}" for text, met in targets.items()), ""]
    return "\n".join(lines)


def _cell(row: Figure | None) -> str:
    if row is None:
        return "-"
    return f"{row.value:.3f}" + ("" if row.low is None else f" ({row.low:.3f} to {row.high:.3f})")


if __name__ == "__main__":
    main()
