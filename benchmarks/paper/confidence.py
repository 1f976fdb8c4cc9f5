"""Write ``confidence.md``: can deleted pairs be told by how sure a classifier is of any class, right or wrong?

Run from the repository, after the comparison:
``python benchmarks/paper/confidence.py runs/paper/audits runs/models``. The data lies in the folder that
MULTIDELETE_DATA names, else in ``../shared/data``.
"""

import os
import sys
from pathlib import Path

import numpy as np

from multidelete import PairDataset, read_audit
from multidelete.audits.stats import auc
from multidelete.comparison.experiment import Group
from multidelete.comparison.material import load, request_of
from multidelete.comparison.reading import read_experiment
from multidelete.methods.reference import outputs_of
from multidelete.models import Adapter, load_adapter

HERE = Path(__file__).parent


def main() -> None:
    audits, store = Path(sys.argv[1]), Path(sys.argv[2])
    root = Path(os.environ.get("MULTIDELETE_DATA", "../shared/data"))
    settings = {setting.name: setting for setting in read_experiment(HERE / "experiment.toml").settings}
    lines = ["| row | draw | model | AUC of confidence, deleted pairs against test pairs |", "|---|---|---|---|"]
    for path in sorted(audits.glob("*.json")):
        run, _ = read_audit(path)
        setting = settings[run["setting"]]
        data = load(setting, root)
        if not data.classes:
            continue
        request = request_of(Group(setting, run["fraction"], run["draw"], run["seed"]), data)
        forget = data.train.only(request.ids, "forget")
        for name, folder in run["keys"].items():
            if (store / folder).is_dir():
                adapter = load_adapter(store / folder)
                told = auc(confidence(adapter, forget), confidence(adapter, data.splits["test"]))
                lines.append(f"| {setting.name} | {run['draw']} | {name} | {told:.3f} |")
    (HERE / "confidence.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def confidence(adapter: Adapter, pairs: PairDataset) -> np.ndarray:
    """Log-odds of the most likely class of each pair, in nats, (N,)."""
    logits = outputs_of(adapter, pairs.pairs, 128, pairs.name).logits
    logits_NC = logits.double().numpy()
    best_N = logits_NC.max(axis=1)
    others_NC = np.where(logits_NC == best_N[:, None], -np.inf, logits_NC)
    return best_N - np.logaddexp.reduce(others_NC, axis=1)


if __name__ == "__main__":
    main()
