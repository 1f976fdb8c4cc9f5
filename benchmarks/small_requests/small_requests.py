"""Delete one to twenty people of 400, with the defaults and with fewer sampled retain pairs.

    python benchmarks/small_requests/small_requests.py

Models go to ``runs/small_requests``. Writes ``results.json`` and prints the table of the README.
"""

import json
from dataclasses import replace
from pathlib import Path

import multidelete
from multidelete.data.split import draw_request
from multidelete.methods import MultiDelete, Training

HERE, RUNS = Path(__file__).parent, Path("runs/small_requests")
SEED = 11
RECALL = "sensitive recall@1 image to text among all training texts"
FIGURES = {"retain recall@1": (RECALL, "retain"), "forget recall@1": (RECALL, "forget")}


def main() -> None:
    data = multidelete.personas(people=400, unseen=200, views=2, size=48, seed=SEED)
    original = RUNS / "original"
    if not original.exists():
        multidelete.train(data, original, settings=Training().loop_settings(), seed=SEED, resume=True)
    rows = []
    for people in (1, 5, 10, 20):
        drawn = set(draw_request(data.train, fraction=people / 400, unit="subject", seed=SEED))
        names = sorted({pair.subject for pair in data.train if pair.id in drawn})
        forget = multidelete.resolve_request(data, subjects=names, unit="subject")
        usual = MultiDelete().loop_settings_for(len(forget.ids))
        for name, settings in (("2,048", usual), ("8 for each forget pair", replace(usual, retain_sample=0))):
            out = RUNS / f"{people}-{name.split()[0]}"
            made = multidelete.unlearn(original, data, forget, settings=settings, out=out, seed=SEED, overwrite=True)
            done = multidelete.audit(
                out, original, data, forget, out=RUNS / "report", noun="people", seed=SEED, overwrite=True
            )
            found = {(f.figure, f.split, f.model): f.value for f in done.figures}
            row = {"people": len(names), "sampled retain pairs": name, "seconds": made.manifest["cost"]["wall_s"]}
            for title, key in FIGURES.items():
                row |= {f"{title}, {model}": found[(*key, model)] for model in ("original", "unlearned")}
            rows.append(row)
    (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print("| people | sampled retain pairs | retain recall@1 | forget recall@1 | seconds |\n|---|---|---|---|---|")
    for row in rows:
        cells = [f"{row[f'{t}, original']:.3f} to {row[f'{t}, unlearned']:.3f}" for t in FIGURES]
        print(f"| {row['people']} | {row['sampled retain pairs']} | {cells[0]} | {cells[1]} | {row['seconds']:.0f} |")


if __name__ == "__main__":
    main()
