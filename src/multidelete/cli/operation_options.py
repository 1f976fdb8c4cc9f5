"""What the commands can be given that take a request from its plan to its end."""

from dataclasses import dataclass, field

from multidelete.cli.flags import REPEATED
from multidelete.cli.options import SEED_RULE, is_seed
from multidelete.core.config import check_settings


@dataclass(frozen=True, kw_only=True)
class HowOptions:
    """How.

    Attributes:
        only: A request to do by itself. May be given several times; without it all for which no model was
            made yet are done together.
        trainable: Which parameters to train, as of `multidelete unlearn`.
        lora: Train LoRA in the place of that part: `r=8,alpha=16`. It is merged into the weights of the model that the
            run makes.
        seed: Of everything that is drawn, 0 or more.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
        earlier_pairs_removed: Say that the data does not hold pairs of requests whose keys were destroyed.
    """

    only: tuple[str, ...] = field(default=(), metadata=REPEATED)
    trainable: str = "auto"
    lora: tuple[str, ...] = ()
    seed: int = 0
    allow_pickle: bool = False
    earlier_pairs_removed: bool = False

    def __post_init__(self) -> None:
        check_settings(self, {"seed": (is_seed(self.seed), SEED_RULE)})


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Plan.

    Attributes:
        out: Folder to write. Without it `plan` in the lineage's folder.
        show: Name the pairs and show their pictures. Without it nothing in the folder does.
        hashes_only: Do not ask the model for neighbours, which takes a pass over all pairs.
        overwrite: Replace a plan that is there. What was answered in it stays.
    """

    out: str | None = None
    show: bool = False
    hashes_only: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class LineageRunOptions:
    """Run and audit.

    Attributes:
        out: Folder of the model. Without it one in the lineage's folder.
        plan: Folder of a plan: near-duplicates with a yes in its table go too. Without it the newest plan.
        retrained: A model trained without the pairs: the yardstick of the audit.
        retrained_again: Such models of other seeds: the floor that distances are read beside.
        noun: What the deleted units are called in the report, such as `people`.
        overwrite: Start afresh where a run of the same requests stopped, or made a model that could not be judged.
    """

    out: str | None = None
    plan: str | None = None
    retrained: str | None = None
    retrained_again: tuple[str, ...] = field(default=(), metadata=REPEATED)
    noun: str | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ReleaseOptions:
    """Release.

    Attributes:
        by: Role or name of who releases the model.
        despite: Why it is released although an audit calls it unfinished, over-forgotten or damaged, or the budget
            is spent.
        stale_ids: File to write, outside the lineage's folder: ids of pairs whose embeddings must go from a vector
            database, or be computed anew. It names pairs.
        also: A further place of something that still knows the pairs. May be given several times.
    """

    by: str
    despite: str | None = None
    stale_ids: str | None = None
    also: tuple[str, ...] = field(default=(), metadata=REPEATED)


@dataclass(frozen=True, kw_only=True)
class RefuseOptions:
    """Refusal.

    Attributes:
        reason: Why. It names nobody.
        by: Role or name of who decided it.
    """

    reason: str
    by: str | None = None


@dataclass(frozen=True, kw_only=True)
class HolderOptions:
    """What still knows.

    Attributes:
        also: A further place of something that still knows deleted pairs. May be given several times.
        check: Look whether what is listed is gone, and write down what is.
        gone: Digest, or its beginning, of something that lies elsewhere and is gone as somebody says; needs --by.
        by: Role or name of who says so.
    """

    also: tuple[str, ...] = field(default=(), metadata=REPEATED)
    check: bool = False
    gone: str | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        alone = "gone" if self.by is None else "by"
        other = {"gone": "by", "by": "gone"}[alone]
        fits = (self.gone is None) == (self.by is None)
        check_settings(self, {alone: (fits, f"given together with --{other}")})


@dataclass(frozen=True, kw_only=True)
class AuditAgainOptions:
    """Audit.

    Attributes:
        retrained: A model trained without the pairs: the yardstick.
        retrained_again: Such models of other seeds: the floor that distances are read beside.
        noun: What the deleted units are called in the report, such as `people`.
        seed: Of everything that is drawn, 0 or more.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        earlier_pairs_removed: Say that the data does not hold pairs of requests whose keys were destroyed.
    """

    retrained: str | None = None
    retrained_again: tuple[str, ...] = field(default=(), metadata=REPEATED)
    noun: str | None = None
    seed: int = 0
    device: str = "auto"
    earlier_pairs_removed: bool = False

    def __post_init__(self) -> None:
        check_settings(self, {"seed": (is_seed(self.seed), SEED_RULE)})
