"""Folders of sentence-transformers around a CLIP: where the model lies in one, and what stands around it.

``modules.json`` names the modules that a text or picture goes through, one after the other. The first is the network,
at the top of the folder or in one of its own (``0_CLIPModel``); a normalisation may follow. What else may follow
changes the embeddings, and is no part of any network here.
"""

import json
from pathlib import Path

from multidelete.core.errors import CheckpointError, UnsupportedError, first_few
from multidelete.core.foreign import explained

MODULES = "modules.json"
_SMALL = (MODULES, "config_sentence_transformers.json")
_OF_MODULES = ("sentence_bert_config.json",)
_NETWORKS, _HARMLESS = ("Transformer", "CLIPModel"), ("Normalize",)
_REMEDY = "Give a folder as SentenceTransformer.save wrote it."


def is_sentence_folder(source: str | Path) -> bool:
    """Whether a source is a folder of sentence-transformers."""
    try:
        return (Path(source) / MODULES).is_file()
    except (OSError, ValueError):
        return False


def model_folder(source: str | Path) -> str | Path:
    """The folder of a source's network: the source itself, or in one of sentence-transformers that of its first module.

    Raises:
        CheckpointError: ``modules.json`` is damaged, or names what is not in the folder.
        UnsupportedError: Further modules change the embeddings.
    """
    return Path(source) / _place(Path(source)) if is_sentence_folder(source) else source


def _place(folder: Path) -> str:
    path = folder / MODULES
    with explained(f"{path} cannot be read", _REMEDY):
        content = json.loads(path.read_text(encoding="utf-8"))
    entries = content if isinstance(content, list) else []
    told = [(one.get("type"), one.get("path")) for one in entries if isinstance(one, dict)]
    if not told or len(told) < len(entries) or not all(isinstance(one, str) for pair in told for one in pair):
        raise CheckpointError(f"{path} is no list of modules with type and path. {_REMEDY}")
    kinds = [str(kind).rpartition(".")[2] for kind, _ in told]
    if kinds[0] not in _NETWORKS:
        raise UnsupportedError(f"{folder} begins with the module {kinds[0]}; CLIP's and SigLIP's are read "
                               f"({' or '.join(_NETWORKS)}).")  # fmt: skip
    if others := [kind for kind in kinds[1:] if kind not in _HARMLESS]:
        raise UnsupportedError(
            f"{folder} sends embeddings through further modules: {first_few(others)}. They change them and are no part "
            "of the network, so that what is forgotten in one space would be judged in another. Only Normalize may "
            "follow."
        )
    place = str(told[0][1])
    if place != Path(place).name and place:
        raise CheckpointError(f"{path} names the module's folder {place!r}, which is not in {folder}. {_REMEDY}")
    if not (folder / place).is_dir():
        raise CheckpointError(f"{path} names the module's folder {place!r}, and there is none. {_REMEDY}")
    return place


def copy_around(source: Path, out: Path) -> Path:
    """Write what stands around the network to another folder; returns the folder for the network there.

    Only small files of settings are: exports for other engines (``onnx``, ``openvino``) hold the model as it was.
    """
    place = _place(source)
    names = [*_SMALL, *(str(Path(place) / name) for name in _OF_MODULES)]
    for name in names:
        if (source / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes((source / name).read_bytes())
    (out / place).mkdir(exist_ok=True)
    for entry in json.loads((source / MODULES).read_text(encoding="utf-8"))[1:]:  # Normalize: an empty folder
        if entry["path"] == Path(entry["path"]).name:
            (out / entry["path"]).mkdir(exist_ok=True)
    return out / place
