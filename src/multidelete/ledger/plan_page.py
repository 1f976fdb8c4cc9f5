"""The page of a plan, for a person to read before anything is run."""

from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from jinja2 import Environment, StrictUndefined

from multidelete.core.json_files import Json
from multidelete.core.progress import span
from multidelete.data.decode import ImageError, ImageInput, open_image
from multidelete.data.pairs import Pair, members
from multidelete.report.build import thumbnail

if TYPE_CHECKING:
    from multidelete.ledger.plan import Plan

MOST = 120  # pairs of one sort on the page


def plan_page(plan: "Plan", content: Mapping[str, Json], *, show: bool) -> str:
    """One page of HTML with everything inside; pictures and names only where ``show`` asks for them."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("multidelete.ledger").joinpath("plan.html").read_text(encoding="utf-8"))
    going = plan.work.left.train.only(plan.work.request.ids, "forget").pairs
    wall_s, peak = plan.rehearsal.wall_s, plan.rehearsal.peak_bytes
    return template.render(
        plan=content,
        time="unknown" if wall_s is None else f"about {span(max(1, wall_s))}",
        memory="unknown" if not peak else f"about {peak / 2**20:,.0f} MiB",
        offers=[
            {"number": one.number, "request": one.request, "why": one.why,
             "pair": _shown(one.found.pair) if show else None, "beside": _shown(one.found.beside) if show else None}
            for one in plan.offers
        ],
        going=[_shown(pair) for pair in going[:MOST]] if show else [],
        staying={what: [_shown(pair) for pair in pairs[:MOST]] for what, pairs in plan.sharing.items()} if show else {},
        show=show,
    )  # fmt: skip


def _shown(pair: Pair) -> dict[str, object]:
    pictures = [picture for _, picture in members(pair, "image")] if "image" in pair.inputs else []
    return {
        "id": pair.id,
        "subject": pair.subject,
        "text": str(pair.inputs.get("text", "")),
        "nodes": ", ".join(name for name, _ in members(pair, "graph")) if "graph" in pair.inputs else "",
        "pictures": [seen for picture in pictures if (seen := _thumbnail(picture)) is not None],
    }


def _thumbnail(picture: object) -> str | None:
    """None where the picture cannot be read: a run would say so."""
    try:
        return thumbnail(open_image(cast(ImageInput, picture)))
    except ImageError:
        return None
