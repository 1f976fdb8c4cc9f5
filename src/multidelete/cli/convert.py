"""The commands ``convert`` and ``merge``: checkpoints of others to model folders and back, adapters to models."""

from dataclasses import dataclass
from pathlib import Path

from multidelete.artifacts.hub import check_hub, push_to_hub
from multidelete.cli import show
from multidelete.cli.flags import Call, flag
from multidelete.cli.options import HubOptions, OutOptions
from multidelete.core.errors import ConfigError
from multidelete.core.paths import user_path


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Conversion.

    Attributes:
        source: The checkpoint, a file; with --to-official the model folder.
        to_official: Write the model folder SOURCE as a checkpoint in the layout that it came in, or that such networks
            have: OUT is a file.
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
    tokenizer: str | None = None
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
    """Turn a checkpoint of open_clip, BLIP or ALBEF into a model folder, or a folder back into such a checkpoint.

    The checkpoint tells its network and task. States of training are left out: optimizers, momentum copies, queues
    and masked language heads.
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

    hub = call.of(HubOptions).push_to_hub
    refuse_missing({"adapter": options.adapter})
    check_hub(hub)
    folder = run_merge(options.adapter, out.out, overwrite=out.overwrite, allow_pickle=options.allow_pickle)
    if hub is not None:
        show.say(f"note: uploaded to {push_to_hub(folder, hub)}")
    if call.json:
        show.show_json({"folder": str(folder), "adapter": options.adapter})
    else:
        show.show_table(["", ""], [["written", folder], ["of the adapter", options.adapter]])


def _to_folder(source: Path, folder: Path, options: ConvertOptions, *, overwrite: bool, as_json: bool) -> None:
    from multidelete.models.converters.conversion import convert as convert_theirs
    from multidelete.models.converters.layout import reading

    with reading(
        tokenizer=options.tokenizer if options.tokenizer is None else user_path(options.tokenizer),
        architecture=options.architecture if options.architecture is None else user_path(options.architecture),
        head_width=options.head_width,
        classes=options.classes,
    ):
        done = convert_theirs(source, folder, image_size=options.image_size, overwrite=overwrite)
    if as_json:
        told = {"layout": done.layout, "network": done.network, "task": done.task, "images": done.images}
        sizes = dict(zip(("image_size_before", "image_size"), done.image_size, strict=True))
        classes = {"classes": list(done.classes)}
        show.show_json({"folder": str(folder), **told, **classes, **sizes, "dropped": dict(done.dropped)})
        return
    before, after = done.image_size
    size = f"{after} px" if before == after else f"{after} px, positions interpolated from {before}"
    rows: list[list[object]] = [["written", folder], ["layout", done.layout], ["network", done.network]]
    rows += [["task", done.task], ["images", f"{done.images} a pair"]]
    rows += [["classes", ", ".join(done.classes)]] if done.classes else []
    rows.append(["image size", size])
    rows += [["left out", f"{what}: {count}"] for what, count in done.dropped.items()]
    show.show_table(["", ""], rows)


def _to_official(folder: Path, file: Path, *, overwrite: bool, as_json: bool) -> None:
    from multidelete.models.converters.conversion import export

    tensors = export(folder, file, overwrite=overwrite)
    if as_json:
        show.show_json({"file": str(file), "tensors": tensors})
    else:
        show.show_table(["", ""], [["written", file], ["tensors", tensors]])
