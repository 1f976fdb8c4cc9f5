"""The form in which a result is written: that in which the model came, or a folder of transformers'."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from transformers import PreTrainedModel, ProcessorMixin

from multidelete.core.errors import ConfigError, SettingProblem
from multidelete.models.base import Adapter
from multidelete.models.converters.containers import SUFFIXES, is_checkpoint
from multidelete.models.converters.known import checkpoint_of, write_back
from multidelete.models.converters.sentence_transformers import copy_around, is_sentence_folder


@dataclass(frozen=True)
class Form:
    """How a result is written.

    Attributes:
        kind: A folder of transformers', a file as the model was one, or a folder as the model was one, of open_clip or
            of sentence-transformers.
        out: The output.
        source: The model that it is made of; None of one in memory.
    """

    kind: Literal["usual", "file", "folder", "sentence"]
    out: Path
    source: Path | None = None

    @property
    def is_file(self) -> bool:
        return self.kind == "file"


def form_of(source: object, out: Path) -> Form:
    """The form of what a model becomes: of a file a file, if the output is called like one.

    Raises:
        ConfigError: The output is called like another kind of file.
    """
    if not isinstance(source, str | Path):
        return Form("usual", out)
    if is_checkpoint(source) and out.suffix.lower() in SUFFIXES:
        kinds = [SUFFIXES[Path(one).suffix.lower()] for one in (source, out)]
        if kinds[0] != kinds[1]:
            raise ConfigError(
                SettingProblem(
                    "out",
                    f"is {out}, and {source} is a file of another kind. What it becomes is written as it came: "
                    f"give a name that ends in {Path(source).suffix}, or one without an ending for a folder.",
                )
            )
        return Form("file", out)
    if is_sentence_folder(source):
        return Form("sentence", out, Path(source))
    is_theirs = not is_checkpoint(source) and checkpoint_of(source) is not None
    return Form("folder" if is_theirs else "usual", out)


def save_as(form: Form, adapter: Adapter, folder: Path, *, lora_base: str | None = None) -> None:
    """Write a model in a form, or of one with LoRA on a base model LoRA alone.

    Args:
        form: The form.
        adapter: The model.
        folder: What becomes the output, or of a file what lies beside it.
        lora_base: The base model's folder or hub id.
    """
    if lora_base is not None:
        from multidelete.models.lora import save_lora  # peft takes a second to import

        save_lora(adapter, folder, lora_base)
        return
    if form.kind == "usual":
        adapter.save(folder)
        return
    if form.source is not None:
        adapter.save(copy_around(form.source, folder))
        return
    model = cast(PreTrainedModel, adapter.model)
    write_back(model, folder, form.out.name if form.is_file else None, name=form.out)
    cast(ProcessorMixin, adapter.processor).save_pretrained(folder)
    if form.is_file:
        model.config.save_pretrained(folder)
