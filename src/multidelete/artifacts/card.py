"""The model card of an unlearned model: what was done, never what was deleted."""

from multidelete.artifacts.record import Cost, MethodRecord, RunRecord
from multidelete.core.json_files import JsonObject
from multidelete.core.words import tokens_sentence

_UNCHANGED = "The run found no way: **the weights are those of the original, which still knows these pairs.**\n"


def model_card(record: RunRecord) -> str:
    """Markdown for the result folder's README.md, from its record."""
    method, request, cost = record.method or MethodRecord(), record.request, record.cost or Cost()
    loop, versions, tokenizer = record.loop or {}, record.versions or {}, record.tokenizer
    form = "The folder has the format of the model it was made from, and loads in the same way."
    if record.lora is not None and not record.lora.merged:
        form = "The folder is a LoRA adapter for the model it was made from; `multidelete merge` makes a model of both."
    settings = ", ".join(f"{name} {value}" for name, value in method.rest.items()) or "none"
    alone = None if tokenizer is None else tokenizer.tokens_of_deleted_texts_alone
    return f"""---
library_name: transformers
tags:
- machine-unlearning
---

# Model after unlearning

On {record.date} this model was made to forget {request and request.pairs} of its training pairs (deleted by
{request and request.unit}) with the method `{method.name}` of multidelete {versions.get("multidelete")}.
{_UNCHANGED if record.gave_original_back else ""}{form}

| | |
|---|---|
| method settings | {settings} |
{_budget(loop, record.decisions or {})}| seed | {record.seed} |
| pairs forwarded and backpropagated | {cost.pairs_backward or 0:,.0f} |
| pairs only forwarded | {cost.pairs_forward or 0:,.0f} |
| wall time | {cost.wall_s or 0:.1f} s |

What was deleted is not recorded here. `multidelete.json` holds the settings, versions and digests; its references
to deleted pairs tell nothing without their key, which does not belong in this folder.
{"" if alone is None else tokens_sentence(alone)}
Whether the pairs are forgotten is for `multidelete audit` to say; this card makes no such claim.
"""


def _budget(loop: JsonObject, decisions: JsonObject) -> str:
    """Rows of what the run was given, or of what it found; none where it took no steps."""
    if loop.get("pace") == "auto":
        legs, undone = (str(decisions.get(name)).removesuffix(".0") for name in ("legs", "undone"))
        return f"| legs, whose lengths the run found | {legs}, {undone} of them undone |\n"
    given = {"passes": loop.get("passes"), "learning rate": loop.get("lr")}
    return "".join(f"| {name} | {value} |\n" for name, value in given.items() if value is not None)
