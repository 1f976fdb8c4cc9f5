"""The model card of an unlearned model: what was done, never what was deleted."""

from collections.abc import Mapping
from typing import cast

from multidelete.core.words import tokens_sentence


def model_card(manifest: Mapping[str, object]) -> str:
    """Markdown for the result folder's README.md, from its manifest."""
    method = cast(Mapping[str, object], manifest["method"])
    request = cast(Mapping[str, object], manifest["request"])
    cost = cast(Mapping[str, float], manifest["cost"])
    loop = cast(Mapping[str, object], manifest["loop"])
    versions = cast(Mapping[str, str], manifest["versions"])
    lora = cast(Mapping[str, object], manifest.get("lora", {}))
    form = "The folder has the format of the model it was made from, and loads in the same way."
    if lora and not lora["merged"]:
        form = "The folder is a LoRA adapter for the model it was made from; `multidelete merge` makes a model of both."
    settings = ", ".join(f"{name} {value}" for name, value in method.items() if name != "name") or "none"
    return f"""---
library_name: transformers
tags:
- machine-unlearning
---

# Model after unlearning

On {manifest["date"]} this model was made to forget {request["pairs"]} of its training pairs (deleted by
{request["unit"]}) with the method `{method["name"]}` of multidelete {versions["multidelete"]}.
{form}

| | |
|---|---|
| method settings | {settings} |
| passes | {loop["passes"]} |
| learning rate | {loop["lr"]} |
| seed | {manifest["seed"]} |
| pairs trained on | {cost["pairs_backward"]:,.0f} |
| pairs asked of the original | {cost["pairs_forward"]:,.0f} |
| wall time | {cost["wall_s"]:.1f} s |

What was deleted is not recorded here. `multidelete.json` holds the settings, versions and digests; its references
to deleted pairs tell nothing without their key, which does not belong in this folder.
{_about_tokens(manifest)}
Whether the pairs are forgotten is for `multidelete audit` to say; this card makes no such claim.
"""


def _about_tokens(manifest: Mapping[str, object]) -> str:
    """What the tokenizer may keep of deleted texts."""
    told = manifest.get("tokenizer")
    number = told.get("tokens_of_deleted_texts_alone") if isinstance(told, Mapping) else None
    return "" if number is None else tokens_sentence(number)
