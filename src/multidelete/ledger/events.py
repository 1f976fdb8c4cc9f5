"""What happened to a lineage: one class for each kind of event. None of them names a pair, person, caption or picture.

To add a kind, write its class and name it in `KINDS`. To add a field to a kind, give it the default None: events that
were written before do not have it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from multidelete.artifacts.record import Cost, DeletionRecord, LoraRecord
from multidelete.core.config import did_you_mean
from multidelete.core.errors import LedgerError
from multidelete.core.json_files import JsonObject
from multidelete.core.records import Record, read_object


@dataclass(frozen=True, kw_only=True)
class Event(Record):
    """One thing that happened."""

    kind: ClassVar[str]

    @property
    def about(self) -> tuple[str, ...]:
        """References of the requests that it is about."""
        return ()


@dataclass(frozen=True, kw_only=True)
class OneEvent(Event):
    """Something about one request.

    Attributes:
        reference: The request's.
    """

    reference: str

    @property
    def about(self) -> tuple[str, ...]:
        return (self.reference,)


@dataclass(frozen=True, kw_only=True)
class SharedEvent(Event):
    """Something about one request or several together.

    Attributes:
        references: The requests'.
    """

    references: tuple[str, ...]

    @property
    def about(self) -> tuple[str, ...]:
        return self.references


@dataclass(frozen=True, kw_only=True)
class ModelDigest(Record):
    """A model folder.

    Attributes:
        digest: SHA-256 of the canonical JSON of ``files``.
        files: SHA-256 of each file's content, by its name in the folder.
    """

    digest: str
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Budget(Record):
    """How much a lineage may lose against its first original, in all.

    Attributes:
        retain: Of the figure of kept pairs.
        test: Of that of test pairs.
    """

    retain: float = 0.03
    test: float = 0.02

    def by_figure(self) -> dict[str, float]:
        return {"retain": self.retain, "test": self.test}


@dataclass(frozen=True, kw_only=True)
class Opened(Event):
    """The lineage begins.

    Attributes:
        lineage: What it is called.
        original: Its first model.
        pairs: Number of the training pairs.
        data: Keyed digest of them; the key lies beside those of requests.
        budget: What it may lose.
        signer: Public key that its certificates are signed for, Ed25519, 32 bytes in hexadecimal.
        versions: Of Python, the platform and libraries.
    """

    kind: ClassVar[str] = "opened"
    lineage: str
    original: ModelDigest
    pairs: int
    data: str
    budget: Budget = field(default_factory=Budget)
    signer: str | None = None
    versions: JsonObject | None = None


@dataclass(frozen=True, kw_only=True)
class KeyedPairs(OneEvent):
    """Pairs of a request, by keyed references; see `DeletionRecord`.

    Attributes:
        unit: What is deleted as a whole.
        pairs: How many pairs.
        key: Id of the request's key.
        request: Keyed digest of all ids together.
        ids: Keyed digest of each pair's id.
        contents: Keyed digest of what each pair holds.
    """

    unit: str
    pairs: int
    key: str
    request: str
    ids: tuple[str, ...] = field(repr=False)
    contents: tuple[str, ...] = field(repr=False)

    @property
    def record(self) -> DeletionRecord:
        """The references as deletions record them."""
        return DeletionRecord(
            key=self.key, unit=self.unit, pairs=self.pairs, request=self.request, ids=self.ids, contents=self.contents
        )


@dataclass(frozen=True, kw_only=True)
class Received(KeyedPairs):
    """A request came in.

    Attributes:
        due: The day by which it must be done, ``2026-12-28``.
        basis: Legal ground.
    """

    kind: ClassVar[str] = "received"
    due: str
    basis: str


@dataclass(frozen=True, kw_only=True)
class NearDuplicates(KeyedPairs):
    """Somebody confirmed that these pairs fall under a request, too."""

    kind: ClassVar[str] = "near-duplicates"


@dataclass(frozen=True, kw_only=True)
class Planned(SharedEvent):
    """It was worked out what a run would do.

    Attributes:
        plan: SHA-256 of the plan's JSON.
        pairs: How many pairs would go.
        offered: Near-duplicates that were offered.
        wall_s: Seconds that the run would take.
        drift: What the lineage has lost so far, by figure.
        advice: ``go on`` or ``retrain now``.
    """

    kind: ClassVar[str] = "planned"
    plan: str | None = None
    pairs: int | None = None
    offered: int | None = None
    wall_s: float | None = None
    drift: Mapping[str, float] | None = None
    advice: str | None = None


@dataclass(frozen=True, kw_only=True)
class Started(SharedEvent):
    """A run began.

    Attributes:
        folder: Name of the model folder that it will write.
        before: Digest of the model that it begins with.
    """

    kind: ClassVar[str] = "started"
    folder: str
    before: str


@dataclass(frozen=True, kw_only=True)
class Unlearned(SharedEvent):
    """A run made a model.

    Attributes:
        folder: Its name.
        before: Digest of the model that it was made from.
        after: The model.
        method: By which pairs were forgotten.
        settings: The method's hyperparameters.
        loop: Settings of the loop.
        trainable: The part of the model that was trained.
        lora: LoRA that was trained in its place, and merged.
        seed: Of everything that was drawn.
        pairs: How many pairs were forgotten.
        key: Id of the key of the model's own record of this deletion.
        data: Keyed digest of the pairs that were kept.
        cost: What it took.
        versions: Of Python, the platform and libraries.
        code: SHA-256 of this package's own files.
    """

    kind: ClassVar[str] = "unlearned"
    folder: str
    before: str
    after: ModelDigest
    method: str
    settings: JsonObject = field(default_factory=dict)
    loop: JsonObject | None = None
    trainable: str | None = None
    lora: LoraRecord | None = None
    seed: int | None = None
    pairs: int | None = None
    key: str | None = None
    data: str | None = None
    cost: Cost | None = None
    versions: JsonObject | None = None
    code: str | None = None


@dataclass(frozen=True, kw_only=True)
class FigureRow(Record):
    """A figure of an audit, as ``audit.json`` holds it; ``rest`` is what else stands there."""

    audit: str
    figure: str
    model: str
    split: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    groups: int | None = None
    chance: float | None = None
    better: str | None = None
    target: float | None = None
    absent: str | None = None
    void: str | None = None


@dataclass(frozen=True, kw_only=True)
class Audited(SharedEvent):
    """A model was judged.

    Attributes:
        model: Its digest.
        outcome: The verdict in a word.
        sentences: The verdict in words.
        floor: How it lies to a second retrained model: ``unknown``, ``within``, ``above`` or ``below``.
        figures: Every figure.
        audit: SHA-256 of ``audit.json``.
        drift: What the model has lost against the first original, by figure.
        against: Digest of the model that it was judged against, where the first original is gone.
        versions: Of Python, the platform and libraries.
        code: SHA-256 of this package's own files.
    """

    kind: ClassVar[str] = "audited"
    model: str
    outcome: str
    sentences: tuple[str, ...] | None = None
    floor: str | None = None
    figures: tuple[FigureRow, ...] = ()
    audit: str | None = None
    drift: Mapping[str, float] | None = None
    against: str | None = None
    versions: JsonObject | None = None
    code: str | None = None


@dataclass(frozen=True, kw_only=True)
class Holder(Record):
    """Something that still knows deleted pairs, or what is stale since.

    Attributes:
        what: Which sort of thing: ``model``, ``adapter``, ``store``, ``cache``, ``report``, ``embeddings``, ...
        digest: Of what it holds; empty where nobody could read it.
        note: What else is to be said of it.
    """

    what: str
    digest: str = ""
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Released(SharedEvent):
    """A model may be used.

    Attributes:
        by: Role or name of who released it.
        model: Digest of the model.
        reason: Why it is released although the audit did not call it forgotten; by whom, that is who takes
            responsibility.
        still_knowing: What still knows the pairs.
        stale: What must be computed anew.
    """

    kind: ClassVar[str] = "released"
    by: str
    model: str
    reason: str | None = None
    still_knowing: tuple[Holder, ...] = ()
    stale: tuple[Holder, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Refused(OneEvent):
    """A request will not be done; by whom that was decided, and why."""

    kind: ClassVar[str] = "refused"
    reason: str
    by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Failed(SharedEvent):
    """A run, an audit or a release came to nothing, and why."""

    kind: ClassVar[str] = "failed"
    reason: str


@dataclass(frozen=True, kw_only=True)
class KeyForgotten(OneEvent):
    """The keys of a request were destroyed: these ids of keys."""

    kind: ClassVar[str] = "key forgotten"
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Found(Event):
    """Further things were found that still know deleted pairs."""

    kind: ClassVar[str] = "found"
    still_knowing: tuple[Holder, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Gone(Event):
    """Something that still knew deleted pairs was looked for, and is gone; who said so, where nobody could look."""

    kind: ClassVar[str] = "gone"
    what: str
    digest: str
    by: str | None = None


@dataclass(frozen=True, kw_only=True)
class CertificateIssued(OneEvent):
    """A certificate was made: the SHA-256 of what it states, and the public key that it is signed for, if any."""

    kind: ClassVar[str] = "certificate issued"
    statement: str
    signer: str | None = None


KINDS: Mapping[str, type[Event]] = {
    one.kind: one
    for one in (Opened, Received, NearDuplicates, Planned, Started, Unlearned, Audited, Released, Refused, Failed,
                KeyForgotten, Found, Gone, CertificateIssued)
}  # fmt: skip


def read_event(kind: str, body: JsonObject, where: str) -> Event:
    """The event of a kind whose body JSON told.

    Raises:
        LedgerError: The kind is not known here.
        CheckpointError: The body is not one of that kind.
    """
    if kind not in KINDS:
        raise LedgerError(
            f"{where} is of the kind {kind!r}, which this version does not know. {did_you_mean(kind, KINDS)} "
            "Use the version that wrote it, or a later one."
        )
    return read_object(KINDS[kind], body, where, "Restore the ledger as it was written.")
