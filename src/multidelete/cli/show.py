"""What the commands print: results on standard output, everything else on standard error."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from multidelete.artifacts.record import Cost, RunRecord
from multidelete.core.errors import MultideleteError
from multidelete.core.json_files import JsonObject
from multidelete.core.words import counted, tokens_sentence

if TYPE_CHECKING:
    from multidelete.audits.judgement import ScoreRow
    from multidelete.audits.result import Figure
    from multidelete.audits.verdict import Verdict
    from multidelete.catalogue import FamilyRow, MethodRow, ReaderRow
    from multidelete.data.graph import Graph
    from multidelete.data.pairs import Pair, PairData, PairDataset

_PIPED_WIDTH = 120  # characters of a table line where standard output is no terminal


def plain(text: object) -> str:
    """Text from outside in one line, without the control characters that terminals obey.

    >>> plain("red\\x1b[31m\\nalert")
    'red�[31m alert'
    """
    return "".join(c if c.isprintable() else "�" for c in " ".join(str(text).split()))


def say(text: str) -> None:
    """A remark on standard error."""
    typer.echo(plain(text), err=True)


def show_system_error(error: OSError) -> None:
    """What the operating system refused, and nothing where nobody reads the output any more."""
    if not isinstance(error, BrokenPipeError):
        place = "" if error.filename is None else f" ({error.filename})"
        say(f"error: the system refused: {error.strerror or error}{place}.")


def show_errors(error: MultideleteError) -> None:
    """One line for each problem on standard error."""
    for problem in error.problems:
        say(f"error: {problem}")


def show_usage(message: str, command: str) -> None:
    """A command or flag that is not there, on standard error."""
    sentence = message.rstrip(".")
    say(f"error: {sentence}{'' if sentence.endswith('?') else '.'} See '{command} --help'.")


def show_json(content: object) -> None:
    """A result for programs on standard output."""
    typer.echo(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False))


def show_lines(lines: Iterable[str]) -> None:
    """A result for people on standard output."""
    for line in lines:
        typer.echo(plain(line))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()) -> None:
    """A table on standard output; columns named in ``numbers`` are flush right, and without names there is no head."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPED_WIDTH)
    table = Table(box=box.SIMPLE_HEAD if any(columns) else None, pad_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console.print(table)


def show_readers(readers: Sequence["ReaderRow"], *, as_json: bool) -> None:
    """Readers with a line about each."""
    if as_json:
        show_json([asdict(row) for row in readers])
    else:
        show_table(["name", ""], [[row.name, row.description] for row in readers])


def show_families(families: Sequence["FamilyRow"], *, as_json: bool) -> None:
    """Families with what their pairs consist of and their tasks; for programs also each task's network classes."""
    if as_json:
        show_json([asdict(row) for row in families])
        return
    cells = []
    for row in families:
        extra = f" (needs the extra {row.extra})" if row.extra else ""
        cells.append([row.name, " and ".join(row.modalities), ", ".join(row.tasks), row.description + extra])
    show_table(["family", "pairs of", "tasks", ""], cells)


def show_methods(methods: Sequence["MethodRow"], *, as_json: bool) -> None:
    """Methods with their hyperparameters and loop settings."""
    if as_json:
        show_json([asdict(row) for row in methods])
        return
    show_table(
        ["method", "", "hyperparameters (--set)", "loop settings"],
        [
            [
                row.name,
                row.description,
                ", ".join(f"{one.name}={one.default}" for one in row.settings) or "none",
                ", ".join(f"{name}={value}" for name, value in row.loop.items())
                or ("those of the original's training" if row.trains else "none: it does not train"),
            ]
            for row in methods
        ],
    )


def show_result(folder: Path, record: RunRecord, what: str, key: Path | None = None) -> None:
    """Where a model was written and the key of its deletions, how long it took and what it cost."""
    cost = record.cost or Cost()
    seconds = f"{cost.wall_s or 0:,.1f} s"
    if cost.reference_s:
        seconds += f" ({cost.reference_s:,.1f} s of it preparing, before training)"
    pairs = f"{counted(round(cost.pairs_backward or 0), 'pairs')} trained on"
    if cost.pairs_forward:
        pairs += f", {cost.pairs_forward:,.0f} only forwarded"
    rows = [[what, folder]]
    if record.request is not None and record.method is not None:
        told = f"{counted(record.request.pairs, 'pairs')}, by the method {record.method.name}"
        decided = record.decisions or {}
        if decided.get("forgotten") == 0:  # a run that looks for its own end, and did not reach it
            rows.append(["not forgotten", f"{told}: by the run's own measure they can still be told from unseen ones"])
        else:
            rows.append(["forgotten", told])
        if decided.get("stands") == 0:
            told = f"of kept or unseen pairs {decided['lost']:.3f} less are found than before, beyond chance"
            rows.append(["lost", told])
    if key is not None:
        rows.append(["key", f"{key}; keep it apart from the model, for later requests"])
    if (lora := record.lora) is not None:
        form = "merged into the weights" if lora.merged else "an adapter, which needs the original (multidelete merge)"
        rows.append(["LoRA", f"rank {lora.r}, {form}"])
    if (search := record.search) is not None:
        trials = counted(search.trials, "trials")
        seconds += f"; before it the search for its settings, {search.wall_s:,.1f} s in {trials}"
    if record.tokenizer is not None and (alone := record.tokenizer.tokens_of_deleted_texts_alone):
        rows.append(["tokenizer", tokens_sentence(alone)])
    peak = f"{cost.peak_bytes / 2**20:,.0f} MiB" if cost.peak_bytes else "unknown"
    rows += [["time", seconds], ["cost", f"{pairs}; peak memory {peak}"]]
    if record.truncated_captions:
        rows.append(["truncated", f"{counted(record.truncated_captions, 'captions')} longer than the model's context"])
    show_table(["", ""], rows)


def show_run(
    folder: Path,
    record: RunRecord,
    what: str,
    *,
    as_json: bool,
    follows: str | None = None,
    key: Path | None = None,
) -> None:
    """What a run recorded, where its key lies, and the command that follows."""
    commands = [] if follows is None else [follows]
    if as_json:
        places = {"folder": str(folder), **({} if key is None else {"key": str(key)})}
        told = {**places, **replace(record, history=None).as_json()}
        show_json(told | ({"next": commands} if commands else {}))
    else:
        show_result(folder, record, what, key)
        show_commands(commands)


def is_printing() -> bool:
    """Whether this process prints the result, where ``accelerate launch`` started several."""
    from multidelete.core.runtime import is_main_process

    return is_main_process()


def show_verdict(verdict: "Verdict", folder: object, commands: Sequence[str] = ()) -> None:
    """The verdict in words, the scorecard, and where the report is."""
    also = ", INDISTINGUISHABLE FROM RETRAINED" if verdict.is_indistinguishable else ""
    _, separator, means = verdict.headline.partition(": ")
    typer.echo(f"{verdict.outcome.upper()}{also}: {plain(means if separator else verdict.headline)}")
    show_lines(verdict.sentences)
    rows = []
    models = ["original", "unlearned", *(["retrained"] if any(row.retrained for row in verdict.rows) else [])]
    for row in verdict.rows:
        figures = _models(row)[: len(models)]
        values = [f"{figure.value:.3f}" if figure and figure.value is not None else "" for figure in figures]
        gap = "" if row.gap is None else f"{row.gap:+.3f}"
        rows.append([row.name, *values, row.target, gap, row.state])
    show_table(["", *models, "target", "gap", ""], rows, numbers=[*models, "gap"])
    typer.echo(f"report: {folder}/report.html")
    show_lines(f"next: {step}" for step in verdict.steps)
    show_commands(commands)


def show_commands(commands: Sequence[str]) -> None:
    """Commands that follow, each in a line of its own."""
    for command in commands:
        typer.echo(f"next command: {plain(command)}")


def show_verdict_json(verdict: "Verdict", folder: object, also: JsonObject | None = None) -> None:
    """The verdict for programs; all figures are in ``audit.json``."""
    names = ("original", "unlearned", "retrained")
    scorecard = [
        {"criterion": row.criterion, "kind": row.kind}
        | {name: figure.value if figure else None for name, figure in zip(names, _models(row), strict=True)}
        | {"target": row.target, "gap": row.gap, "low": row.low, "high": row.high, "state": row.state, "note": row.note}
        for row in verdict.rows
    ]
    content = {"folder": str(folder), "outcome": verdict.outcome, "floor": verdict.floor.state}
    content["headline"] = verdict.headline
    show_json(
        content | {"sentences": verdict.sentences, "next": verdict.steps, "scorecard": scorecard} | dict(also or {})
    )


def _models(row: "ScoreRow") -> "tuple[Figure | None, Figure | None, Figure | None]":
    return row.original, row.unlearned, row.retrained


def data_row(data: "PairData", examples: int) -> dict[str, object]:
    """The splits of a data set, its graph, its notes and its first pairs, for programs."""
    modalities = _modalities(data)
    splits = {name: _split_row(pairs, modalities) for name, pairs in data.splits.items()}
    first = [
        {"id": pair.id, "subject": pair.subject, "kind": pair.kind, "label": pair.label}
        | {name: pair.inputs.get("text") if name == "text" else pair.sources.get(name) for name in modalities}
        for pair in data.train.pairs[:examples]
    ]
    graph = {} if data.graph is None else {"graph": _graph_row(data.graph)}
    return {"name": data.name, "splits": splits, **graph, "notes": list(data.notes), "examples": first}


def show_data(data: "PairData", examples: int) -> None:
    """The splits of a data set, its graph, its notes and its first pairs, for people."""
    modalities = _modalities(data)
    show_lines([data.name])
    rows = [_split_row(pairs, modalities) for pairs in data.splits.values()]
    columns = list(rows[0])
    named = [[name, *row.values()] for name, row in zip(data.splits, rows, strict=True)]
    show_table(["split", *columns], named, numbers=columns[:-1])
    if data.graph is not None:
        graph = _graph_row(data.graph)
        features = ", ".join(f"{name} ({counted(values, 'values')})" for name, values in graph["features"].items())
        told = f"graph: {counted(graph['nodes'], 'nodes')}, {counted(graph['edges'], 'edges')}"
        show_lines([f"{told}; of the nodes also {features}" if features else told])
    show_lines(f"note: {note}" for note in data.notes)
    shown = [
        [pair.id, pair.subject or "", pair.kind or "", *(_member(pair, name) for name in modalities)]
        for pair in data.train.pairs[:examples]
    ]
    if shown:
        show_table(["id", "subject", "kind", *modalities], shown)


class _GraphRow(TypedDict):
    nodes: int
    edges: int
    features: dict[str, int]  # how many values each has


def _graph_row(graph: "Graph") -> _GraphRow:
    known = {name: len(set(values) - {""}) for name, values in graph.features.items()}
    return _GraphRow(nodes=len(graph.nodes), edges=len(graph.edges), features=known)


def _modalities(data: "PairData") -> list[str]:
    """What pairs consist of, in their order."""
    return list(
        dict.fromkeys(name for pairs in data.splits.values() for pair in pairs.pairs[:1] for name in pair.inputs)
    )


def _member(pair: "Pair", modality: str) -> object:
    return pair.inputs.get("text", "") if modality == "text" else pair.sources.get(modality, "")


def _split_row(pairs: "PairDataset", modalities: Sequence[str]) -> dict[str, object]:
    """How much of everything there is; of pictures only where pairs have any, and of nodes those that are named."""
    called = {"image": "images", "text": "texts", "graph": "named nodes"}
    return {
        "pairs": len(pairs),
        **{called[name]: pairs.distinct(name) for name in modalities if name in called},
        "subjects": pairs.distinct("subject"),
        "labels": len(set(pairs.labels) - {None}),
        "kinds": ", ".join(kind for kind in pairs.kinds if kind is not None),
    }
