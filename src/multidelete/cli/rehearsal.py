"""What ``unlearn --dry-run`` prints."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from multidelete.cli import show
from multidelete.core.progress import span
from multidelete.core.words import counted

if TYPE_CHECKING:
    from multidelete.rehearsal import Rehearsal


def show_rehearsal(rehearsal: "Rehearsal", out: Path, *, named: bool, as_json: bool) -> None:
    """What would go and stay, the settings, and the time; ids of pairs only where ``named`` asks for them."""
    if as_json:
        told = {name: value for name, value in asdict(rehearsal).items() if name not in ("forget", "kept_repeats")}
        told["kept_repeats"] = list(rehearsal.kept_repeats) if named else len(rehearsal.kept_repeats)
        told |= {"forget": list(rehearsal.forget)} if named else {}
        told |= {part: _counts(getattr(rehearsal, part), ("go", "of")) for part in ("kinds",)}
        told |= {part: _counts(getattr(rehearsal, part), ("of_pairs_that_go", "stay")) for part in ("members",)}
        show.show_json({"dry_run": True, "folder": str(out), **told})
        return
    request = rehearsal.request
    rows: list[list[object]] = [["would go", f"{request['pairs']} of {_counted(request['of'], 'training pairs')}"]]
    if (unit := request["unit"]) != "pair":
        rows.append(["", f"all pairs of {_counted(request['units'], f'{unit}s')}"])
    rows += [["", f"of kind {kind}: {go} of {of}"] for kind, (go, of) in rehearsal.kinds.items()]
    for name, (go, stay) in rehearsal.members.items():
        shared = f"; {counted(stay, f'{name}s stay')}, which kept pairs have too" if stay else ""
        rows.append([f"their {name}s", f"{go}{shared}"])
    if rehearsal.kept_repeats:
        again = counted(len(rehearsal.kept_repeats), "pairs stay")
        rows.append(["the same pairs", f"{again} under other ids, and would go on teaching it"])
    settings = {name: value for name, value in rehearsal.method.items() if name != "name"}
    rows.append(["method", rehearsal.method["name"]])
    rows.append(["hyperparameters", ", ".join(f"{name}={value}" for name, value in settings.items()) or "none"])
    rows.append(["loop", ", ".join(f"{name}={value}" for name, value in rehearsal.loop.items())])
    part = rehearsal.trainable
    beside = "LoRA beside " if "lora" in part else ""
    rows.append(["trained", f"{beside}{part['chosen']}: {_counted(part['parameters'], 'tensors of parameters')}"])
    if rehearsal.no_validation is not None:
        rows.append(["weaker ground", f"{rehearsal.no_validation}: nobody can tell what forgotten looks like"])
    if rehearsal.pairs_backward is not None:
        most = "at most " if rehearsal.loop.get("pace") == "auto" else ""  # the run ends where it may
        asked = f", {rehearsal.pairs_forward:,} only forwarded" if rehearsal.pairs_forward else ""
        steps = f"{counted(rehearsal.steps, 'steps')}, " if rehearsal.steps else ""
        rows.append(["cost", f"{most}{steps}{counted(rehearsal.pairs_backward, 'pairs')} trained on{asked}"])
    rows.append(["time", "unknown" if rehearsal.wall_s is None else f"about {span(max(1, rehearsal.wall_s))}"])
    rows.append(["", rehearsal.estimated])
    if rehearsal.peak_bytes:
        rows.append(["memory", f"about {rehearsal.peak_bytes / 2**20:,.0f} MiB"])
    rows.append(["written", f"nothing; a run would write {out}"])
    show.show_table(["", ""], rows)
    if named:
        show.show_lines(rehearsal.forget)


def _counts(counts: "dict[str, tuple[int, int]]", names: tuple[str, str]) -> dict[str, dict[str, int]]:
    return {name: dict(zip(names, pair, strict=True)) for name, pair in counts.items()}


def _counted(number: object, noun: str) -> str:
    return counted(cast(int, number), noun)
