"""What each command can be given. Fields are flags and keys of a settings file; their descriptions are the help."""

from dataclasses import dataclass, field

from multidelete.cli.flags import REPEATED
from multidelete.core.config import check_settings
from multidelete.core.units import Unit

SEED_RULE = "0 or more, and below 2 to the power of 63"


def is_seed(seed: int) -> bool:
    return 0 <= seed < 2**63


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Data.

    Attributes:
        data: The pairs: `personas`, a folder, a file, a hub id, or `index:` and indexed data (`multidelete data`).
        columns: Which column holds what, where names differ: `image=photo,text=caption`; also id, subject, label,
            kind and split.
        splits: Which split is what, where names differ: `train=training,test=dev`. Splits not named are left out.
        image_root: Folder that relative image paths start from.
        classes: Names of the classes, where labels are numbers or the model has no names of its own: in the order of
            the numbers, which is that of the model's outputs.
    """

    data: str
    columns: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    image_root: str | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ForgetOptions:
    """Deletion request.

    Attributes:
        forget: Request file: one pair id per line, or CSV or JSONL with a column id, subject, image or node.
        forget_subject: A subject to forget, with all of its pairs. May be given several times.
        forget_image: An image file to forget, with all of its pairs. May be given several times.
        forget_node: A node of the graph to forget, with all pairs that name it. May be given several times.
        unit: What is deleted as a whole: `image` adds everything attached to the images of the pairs named,
            `subject` all pairs of their subjects, `node` all pairs of their nodes. Without it: what the flags
            above name, and `pair` for a file.
    """

    forget: str | None = None
    forget_subject: tuple[str, ...] = field(default=(), metadata=REPEATED)
    forget_image: tuple[str, ...] = field(default=(), metadata=REPEATED)
    forget_node: tuple[str, ...] = field(default=(), metadata=REPEATED)
    unit: Unit | None = None


@dataclass(frozen=True, kw_only=True)
class KeyOptions:
    """Earlier deletions.

    Attributes:
        key: File of the keys that tell which pairs the model has forgotten before; those of a deletion are added to
            it. Without it `MODEL.key`, beside each model's folder. Whoever has it can confirm who was deleted.
        earlier_pairs_removed: Where the keys are lost: say that the data does not hold pairs that the model has
            forgotten before. It is recorded.
    """

    key: str | None = None
    earlier_pairs_removed: bool = False


@dataclass(frozen=True, kw_only=True)
class FamilyOptions:
    """Models of your own.

    Attributes:
        family: The models' family, where it is your own: package.module:Class, which is imported. Code that a model's
            folder names is never run without.
    """

    family: str | None = None

    def __post_init__(self) -> None:
        is_own = self.family is None or ":" in self.family
        check_settings(
            self, {"family": (is_own, "package.module:Class; other families are known by their config.json")}
        )


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """Checkpoint files of others.

    Attributes:
        tokenizer: Folder or hub id of the tokenizer that the models were trained with, where files hold none.
        architecture: A name of open_clip's (`ViT-B-32-quickgelu`) or a JSON file of its configuration, for files that
            do not tell their activation or attention heads.
        head_width: Width of an attention head, where neither a shape nor a table tells.
    """

    tokenizer: str | None = None
    architecture: str | None = None
    head_width: int = 64


@dataclass(frozen=True, kw_only=True)
class OutOptions:
    """Output.

    Attributes:
        out: What to write: a folder; a file where the model came as a checkpoint file, and of `embed`. It appears when
            it is complete, or not at all.
        overwrite: Replace it if it exists.
    """

    out: str
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Run.

    Attributes:
        seed: Of everything that is drawn, 0 or more.
        resume: Go on where a killed run of the same command stopped.
    """

    seed: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        check_settings(self, {"seed": (is_seed(self.seed), SEED_RULE)})


@dataclass(frozen=True, kw_only=True)
class DeletionOptions(RunOptions):
    """Run.

    Attributes:
        original: The trained model: a folder, a hub id, or a checkpoint file of others. It is not changed.
        trainable: Which parameters to train: `auto` (what the method prefers), `all`, `projections`, `text` or `image`
            (an encoder that stands by itself), `but-image` (all but that), or a regular expression over their names.
        lora: Train LoRA beside the linear layers and tables of words of that part, and nothing else: `r=8,alpha=16`,
            rank and scale. The result is an adapter of a few MB (`multidelete merge`); deleting it is reverting. Of a
            checkpoint of others it is the whole model, as it came.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
    """

    original: str
    trainable: str = "auto"
    lora: tuple[str, ...] = ()
    allow_pickle: bool = False


@dataclass(frozen=True, kw_only=True)
class UnlearnOptions(DeletionOptions):
    """Run.

    Attributes:
        metric: Folder in which what kept pairs' scores depend on is kept, so that the next request, for this model or
            for what comes of it, need not measure it again. It holds the ids of 400 kept pairs; where one of them is
            deleted it is measured anew.
    """

    metric: str | None = None


@dataclass(frozen=True, kw_only=True)
class RehearsalOptions:
    """Rehearsal.

    Attributes:
        dry_run: Say what would go and what would stay, the settings and what it would cost, and write nothing.
        name_forgotten: With `--dry-run`: also list the ids of the pairs that would go.
    """

    dry_run: bool = False
    name_forgotten: bool = False

    def __post_init__(self) -> None:
        fits = self.dry_run or not self.name_forgotten
        check_settings(self, {"name_forgotten": (fits, "left out without --dry-run")})


@dataclass(frozen=True, kw_only=True)
class HubOptions:
    """Hub.

    Attributes:
        push_to_hub: Repository to upload the finished result to, OWNER/NAME, with its card and record. The key stays
            here. A repository that is not there is made, private.
    """

    push_to_hub: str | None = None


@dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """Retraining.

    Attributes:
        fresh_tokenizer: With the method `retrain`: train the tokenizer anew, on the captions that are kept. That of
            the original may hold words of deleted captions, names among them, as whole tokens.
    """

    fresh_tokenizer: bool = False


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """Method.

    Attributes:
        method: Name (`multidelete methods`), or package.module:Class. In a settings file also a table
            of that name, with the method's name and hyperparameters.
        set: A hyperparameter of the method: NAME=VALUE. May be given several times.
    """

    method: str = "multidelete"
    set: tuple[str, ...] = field(default=(), metadata=REPEATED)


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """Models and report.

    Attributes:
        unlearned: The model to judge.
        original: The model it was made from.
        retrained: A model trained without the forget pairs: the yardstick.
        retrained_again: Such models of other seeds: the floor that distances are read beside.
        unlearned_again: Models that the same method made with other seeds, for KLoM.
        shadows: Shadow models that `references` made, for attacks that calibrate each pair.
        cache: Folder that keeps what each model says, for further audits of the same models and pairs. It knows
            the deleted pairs: delete it with them.
        noun: What the deleted units are called in the report, such as `people`.
        compress: Also ask copies of the models with 8-bit and 4-bit weights.
        relearn: Also train copies of the models on a quarter of the deleted units, and see what comes back of the rest.
        relearn_lr: Learning rate of that, greater than 0; left out, 0.3 times the rate that the original was trained
            at, or 1e-5 where its folder does not record it.
        show_forgotten: Show the forget pairs in the report. Without it they appear as hashed ids only.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
        seed: Of everything that is drawn, 0 or more.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
    """

    unlearned: str
    original: str
    retrained: str | None = None
    retrained_again: tuple[str, ...] = field(default=(), metadata=REPEATED)
    unlearned_again: tuple[str, ...] = field(default=(), metadata=REPEATED)
    shadows: tuple[str, ...] = field(default=(), metadata=REPEATED)
    cache: str | None = None
    noun: str | None = None
    compress: bool = False
    relearn: bool = False
    relearn_lr: float | None = None
    show_forgotten: bool = False
    allow_pickle: bool = False
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        is_rate = self.relearn_lr is None or self.relearn_lr > 0
        check_settings(
            self, {"seed": (is_seed(self.seed), SEED_RULE), "relearn_lr": (is_rate, "greater than 0, or left out")}
        )
