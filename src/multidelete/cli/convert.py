"""The commands ``convert`` and ``merge``: official checkpoints to model folders and back, adapters to models."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multidelete.cli import show
from multidelete.cli.flags import Call, flag
from multidelete.cli.options import OutOptions
from multidelete.core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from multidelete.models.converters.conversion import Conversion


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Conversion.

    Attributes:
        source: The official checkpoint, a file; with --to-official the model folder.
        to_official: Write the model folder SOURCE as an official checkpoint: OUT is a file.
        tokenizer: Folder or hub id of the tokenizer that the checkpoint was trained with, which it does not hold.
        image_size: Height and width of the pictures, in pixels, a multiple of the patch size. The
            checkpoint's own where it is not given; positions are interpolated to another one.
        classes: Names of the classes, in the order of the classifier's outputs. Checkpoints for entailment
            (contradiction, neutral, entailment) and NLVR2 (False, True) need none.
        head_width: Width of an attention head, which no tensor's shape tells.
        architecture: A name of open_clip's (`ViT-B-32-quickgelu`) or a JSON file of its configuration, for files that
            do not tell their activation or attention heads.
    """

    source: str
    to_official: bool = False
    tokenizer: str = "bert-base-uncased"
    image_size: int | None = None
    classes: tuple[str, ...] = ()
    head_width: int = 64
    architecture: str | None = None


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """Merging.

    Attributes:
        adapter: The folder that `unlearn --lora` wrote. Neither it nor the model that it names is changed.
        allow_pickle: Also read weights that are not safetensors, as plain tensors.
    """

    adapter: str
    allow_pickle: bool = False


def convert(call: Call) -> None:
    """Turn an official ALBEF checkpoint (.pth) into a model folder, or such a folder back into a checkpoint.

    The checkpoint tells its task: retrieval, or classification of one image or two.
    Momentum copies, queues and the masked language head are left out.
    """
    options, out = call.of(ConvertOptions), call.of(OutOptions)
    source, target = Path(options.source), Path(out.out)
    if options.to_official:
        unused = [name for name in call.names(ConvertOptions) if name not in ("source", "to_official")]
        if unused:
            flags = ", ".join(map(flag, unused))
            raise ConfigError(f"--to-official writes the model as it is. Leave out {flags}.")
        _to_official(source, target, overwrite=out.overwrite, as_json=call.json)
    else:
        _to_folder(source, target, options, overwrite=out.overwrite, as_json=call.json)


def merge(call: Call) -> None:
    """Make a full model, in its family's own format, of a LoRA adapter and the model that it names."""
    options, out = call.of(MergeOptions), call.of(OutOptions)
    from multidelete.models.merging import merge as run_merge
    from multidelete.models.sources import refuse_missing

    refuse_missing({"adapter": options.adapter})
    folder = run_merge(options.adapter, out.out, overwrite=out.overwrite, allow_pickle=options.allow_pickle)
    if call.json:
        show.show_json({"folder": str(folder), "adapter": options.adapter})
    else:
        show.show_table(["", ""], [["written", folder], ["of the adapter", options.adapter]])


def _to_folder(source: Path, folder: Path, options: ConvertOptions, *, overwrite: bool, as_json: bool) -> None:
    from multidelete.models.albef_convert import convert_albef
    from multidelete.models.converters.conversion import convert as convert_theirs
    from multidelete.models.converters.known import is_known
    from multidelete.models.converters.layout import reading

    if is_known(source):
        with reading(
            tokenizer=options.tokenizer,
            architecture=options.architecture,
            head_width=options.head_width,
            classes=options.classes,
        ):
            done = convert_theirs(source, folder, overwrite=overwrite)
        _show_conversion(folder, done, as_json=as_json)
        return
    if not source.is_file():
        what = "is a folder" if source.is_dir() else "does not exist"
        raise CheckpointError(f"{source} {what}. Give a checkpoint file, or --to-official with a model folder.")
    converted = convert_albef(
        source,
        folder,
        tokenizer=options.tokenizer,
        image_size=options.image_size,
        classes=options.classes,
        head_width=options.head_width,
        overwrite=overwrite,
    )
    if as_json:
        told = {"task": converted.task, "images": converted.images, "classes": list(converted.classes)}
        sizes = dict(zip(("image_size_before", "image_size"), converted.image_size, strict=True))
        show.show_json({"folder": str(folder), **told, **sizes, "dropped": dict(converted.dropped)})
        return
    before, after = converted.image_size
    size = f"{after} px" if before == after else f"{after} px, positions interpolated from {before}"
    rows: list[list[object]] = [["written", folder], ["task", converted.task], ["images", f"{converted.images} a pair"]]
    rows += [["classes", ", ".join(converted.classes)]] if converted.classes else []
    rows.append(["image size", size])
    rows += [["left out", f"{what}: {count}"] for what, count in converted.dropped.items()]
    show.show_table(["", ""], rows)


def _show_conversion(folder: Path, done: "Conversion", *, as_json: bool) -> None:
    if as_json:
        told = {"layout": done.layout, "network": done.network, "task": done.task, "classes": list(done.classes)}
        show.show_json({"folder": str(folder), **told, "left_out": dict(done.left_out)})
        return
    rows: list[list[object]] = [["written", folder], ["layout", done.layout], ["network", done.network]]
    rows += [["classes", ", ".join(done.classes)]] if done.classes else []
    rows += [["left out", f"{what}: {count}"] for what, count in done.left_out.items()]
    show.show_table(["", ""], rows)


def _to_official(folder: Path, file: Path, *, overwrite: bool, as_json: bool) -> None:
    from multidelete.models.albef_convert import export_albef
    from multidelete.models.converters.conversion import export
    from multidelete.models.families import recognise

    if recognise(folder).family == "albef":
        tensors = len(export_albef(folder, file, overwrite=overwrite))
    else:
        tensors = export(folder, file, overwrite=overwrite)
    if as_json:
        show.show_json({"file": str(file), "tensors": tensors})
    else:
        show.show_table(["", ""], [["written", file], ["tensors", tensors]])
