"""The command ``embed``."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.inputs import given_keys, read_forget, read_telling
from multidelete.cli.options import DataOptions, ForgetOptions, OutOptions
from multidelete.core.config import check_settings
from multidelete.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Embeddings.

    Attributes:
        model: The model: a folder, a hub id, or a checkpoint file.
        only: Which: `stale`, those of kept pairs that the deletion has changed, as the model's record tells; `request`,
            those of the pairs of the request, to take them out; `all`.
        batch_size: Pairs in one forward pass.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
    """

    model: str
    only: Literal["stale", "request", "all"] = "stale"
    batch_size: int = 64
    device: str = "auto"
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        check_settings(self, {"batch_size": (self.batch_size > 0, "greater than 0")})


def embed(call: Call) -> None:
    """Write embeddings of single pictures and texts, for a database of vectors: what a deletion has changed in it.

    The file is parquet, with the columns id, modality, vector and model, a digest of the weights.
    """
    options, out, keys = call.of(EmbedOptions), call.of(OutOptions), given_keys(call)
    if (options.only == "request") != bool(call.names(ForgetOptions)):
        need = "needs a request: --forget FILE" if options.only == "request" else "takes no request. Leave it out"
        raise ConfigError(f"--only {options.only} {need}.")
    from multidelete.artifacts.manifest import read_record
    from multidelete.artifacts.overlap import refuse_pictures
    from multidelete.artifacts.record import RunRecord
    from multidelete.core.runtime import device_for
    from multidelete.models import load_adapter
    from multidelete.models.initial import fitted
    from multidelete.models.lineage import known_lineage
    from multidelete.models.sources import refuse_missing
    from multidelete.models.vectors import stale_modalities, write_embeddings

    refuse_missing({"model": options.model})
    data = read_telling(call.of(DataOptions))
    refuse_pictures(Path(out.out), data)
    adapter = load_adapter(options.model, allow_pickle=options.allow_pickle)
    modalities = list(adapter.modalities)
    if options.only == "stale":
        modalities = stale_modalities(adapter, read_record(options.model) or RunRecord())
        _, data = known_lineage(options.model, data, keys.key, removed=keys.earlier_pairs_removed)
    wanted = fitted(adapter, data).splits
    if options.only == "request":
        wanted = {"forget": wanted["train"].only(read_forget(data, call.of(ForgetOptions)).ids, "forget")}
    number = sum(map(len, wanted.values()))
    written = write_embeddings(
        adapter.to(device_for(options.device)), chain.from_iterable(wanted.values()), number, Path(out.out),
        modalities=modalities, batch_size=options.batch_size, overwrite=out.overwrite,
    )  # fmt: skip
    if call.json:
        show.show_json({"file": out.out, "only": options.only, "modalities": modalities, "pairs": number,
                        "vectors": written})  # fmt: skip
        return
    show.show_table(
        ["", ""], [["written", out.out], ["of", f"{' and '.join(modalities)}, {options.only}"], ["pairs", number],
                   ["vectors", written]]
    )  # fmt: skip
