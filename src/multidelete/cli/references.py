"""The command that fills a store with reference models."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean

from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.inputs import given_keys, read_for, read_forget
from multidelete.cli.options import DataOptions, ForgetOptions
from multidelete.core.config import check_settings


@dataclass(frozen=True, kw_only=True)
class ReferencesOptions:
    """Reference models.

    Attributes:
        original: The trained model, as `train` wrote it: its recipe is in its folder.
        store: Folder of the models. It holds models that know the deleted pairs: delete it with them.
        retrained: Models to train without the forget pairs, 0 or more; their seeds count up from the original's.
        shadows: Models to train on random halves of the training and held-out pairs, 0 or more; of an even number
            every pair is a member of half, four are the least for LiRA, and more make it stronger.
    """

    original: str
    store: str
    retrained: int = 2
    shadows: int = 4

    def __post_init__(self) -> None:
        rules = {name: (getattr(self, name) >= 0, "0 or more") for name in ("retrained", "shadows")}
        check_settings(self, rules)


def references(call: Call) -> None:
    """Train the reference models that audits ask for, and print their folders. What is in the store is not made again.

    Retrained models never saw the forget pairs: several seeds tell how far apart two of them are. Shadow models saw
    random halves of the pairs: attacks on single pairs are calibrated with them.
    """
    options, keys = call.of(ReferencesOptions), given_keys(call)
    from multidelete.artifacts.overlap import refuse_pictures
    from multidelete.core.errors import ConfigError
    from multidelete.core.progress import span
    from multidelete.experiments.store import ModelStore, recipe_of
    from multidelete.models.sources import refuse_missing

    if options.retrained + options.shadows == 0:
        raise ConfigError("--retrained and --shadows are both 0, so there is nothing to make. Ask for at least one.")
    refuse_missing({"original": options.original})
    original, store = Path(options.original), ModelStore(options.store, **asdict(keys))
    first_seed = recipe_of(original)[2]
    pairs, _ = read_for(call.of(DataOptions), options.original, keys)
    refuse_pictures(store.root, pairs)
    wanted: list[tuple[str, int, Callable[[], Path]]] = []
    if options.retrained:
        request = read_forget(pairs, call.of(ForgetOptions))
        seeds = range(first_seed, first_seed + options.retrained)
        wanted += [("retrained", n, partial(store.retrained, original, pairs, request, seed=n)) for n in seeds]
    wanted += [("shadow", n, partial(store.shadow, original, pairs, index=n)) for n in range(options.shadows)]
    rows: list[dict[str, object]] = []
    seconds: list[float] = []
    for kind, number, make in wanted:
        left = f", about {span(mean(seconds) * (len(wanted) - len(rows)))} left" if seconds else ""
        show.say(f"model {len(rows) + 1} of {len(wanted)}: {kind} {number}{left}")
        before, started = len(store.made), time.monotonic()
        folder = make()
        if is_new := len(store.made) > before:
            seconds.append(time.monotonic() - started)
        rows.append({"kind": kind, "seed" if kind == "retrained" else "index": number, "folder": str(folder),
                     "made": is_new})  # fmt: skip
    if call.json:
        show.show_json({"store": options.store, "models": rows})
    else:
        shown = [[kind, number, row["folder"], "trained now" if row["made"] else "was there"]
                 for row, (kind, number, _) in zip(rows, wanted, strict=True)]  # fmt: skip
        show.show_table(["model", "number", "folder", ""], shown, numbers=["number"])
