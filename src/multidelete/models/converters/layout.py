"""What a layout of somebody else's is: how its checkpoints are told, read, and written back as they came."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin

from multidelete.core.json_files import Json, JsonObject
from multidelete.models.converters.origin import Origin


@dataclass(frozen=True, kw_only=True)
class Untold:
    """What checkpoints do not tell of themselves, and the user says.

    Attributes:
        tokenizer: Folder or hub id of the tokenizer.
        architecture: A name of open_clip's (``ViT-B-32-quickgelu``), or a JSON file of its configuration.
        head_width: Width of an attention head, where no shape and no table tells.
        classes: Names of the classes, in the order of the classifier's outputs.
        like: What lies beside a file of the same architecture that this tool wrote.
    """

    tokenizer: str | Path | None = None
    architecture: str | Path | None = None
    head_width: int = 64
    classes: Sequence[str] = ()
    like: Path | None = None


_UNTOLD: ContextVar[Untold] = ContextVar("untold", default=Untold())  # noqa: B039 - frozen


@contextmanager
def reading(
    *,
    tokenizer: str | Path | None = None,
    architecture: str | Path | None = None,
    head_width: int = 64,
    classes: Sequence[str] = (),
) -> Iterator[None]:
    """Within it, checkpoint files of others are read with what they do not tell of themselves.

    Args:
        tokenizer: Folder or hub id of the tokenizer that the model was trained with.
        architecture: A name of open_clip's (``ViT-B-32-quickgelu``), or a JSON file of its configuration.
        head_width: Width of an attention head, where no shape and no table tells.
        classes: Names of a classifier's classes, in the order of its outputs.
    """
    with saying(Untold(tokenizer=tokenizer, architecture=architecture, head_width=head_width, classes=tuple(classes))):
        yield


@contextmanager
def saying(said: Untold) -> Iterator[None]:
    """`reading` with its arguments in one."""
    token = _UNTOLD.set(said)
    try:
        yield
    finally:
        _UNTOLD.reset(token)


def said_paths() -> list[Path]:
    """The files and folders that the user names for checkpoints, which are read."""
    said = untold()
    return [Path(one) for one in (said.tokenizer, said.architecture) if one is not None]


def untold() -> Untold:
    """What the user said of checkpoints."""
    return _UNTOLD.get()


@dataclass(frozen=True)
class Stored:
    """The tensors of a checkpoint by name, without the common prefix, and what stands around them.

    Attributes:
        path: The file.
        tensors: By name.
        origin: How they lie there.
        left_out: How many other entries are not written back, by what they are.
        config: The configuration of the network that lies beside a file of this tool's; empty for others.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    origin: Origin
    left_out: Mapping[str, int] = field(default_factory=dict)
    config: JsonObject = field(default_factory=dict)

    def setting(self, *names: str) -> Json:
        """An entry of the configuration; None where there is none."""
        value: Json = self.config
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True)
class Described:
    """The network that a checkpoint is of.

    Attributes:
        head: Its class.
        config: Its configuration.
        constants: Names of tensors that are no weights.
        left_out: Names of tensors that it has no use for and that are not written back, with what they are.
        part: See `Origin`.
        nonscalar: See `Origin`.
        warnings: What had to be taken for granted.
        files: See `Origin`.
    """

    head: str
    config: PreTrainedConfig
    constants: Sequence[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    nonscalar: bool = False
    warnings: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """One layout: plain functions on names and tensors.

    Attributes:
        name: What `Origin` calls it.
        called: What messages call such a checkpoint.
        fits: Whether tensors of these names are one.
        describe: The network; raises where it has no counterpart.
        to_ours: Tensors as the network names and shapes them.
        to_theirs: The way back; also tells which names and shapes belong there.
        processor: What prepares pairs, of a tokenizer.
        heads: Classes of its networks.
        usual: How a network that came from elsewhere is laid out; raises where it cannot be.
        positions: Name of the vision tower's positions, (1, P, D) with the [CLS] token's first, where pictures can be
            read at another size.
    """

    name: str
    called: str
    fits: Callable[[Mapping[str, Tensor]], bool]
    describe: Callable[[Stored, Untold], Described]
    to_ours: Callable[[Mapping[str, Tensor], PreTrainedConfig, Origin], dict[str, Tensor]]
    to_theirs: Callable[[Mapping[str, Tensor], PreTrainedConfig, Origin], dict[str, Tensor]]
    processor: Callable[[PreTrainedConfig, PreTrainedTokenizerBase, Origin], ProcessorMixin]
    heads: tuple[str, ...]
    usual: Callable[[PreTrainedConfig], Origin]
    positions: str | None = None
