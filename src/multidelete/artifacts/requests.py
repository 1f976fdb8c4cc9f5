"""Which requests made the models of an audit, and which pairs of other requests must play no part in it."""

from collections.abc import Mapping, Sequence

from multidelete.artifacts.deletions import Lineage, without_earlier
from multidelete.core.errors import RequestError
from multidelete.core.words import counted, share
from multidelete.data.pairs import Pair, PairData
from multidelete.data.request import Request


def refuse_other_requests(lineages: Mapping[str, Lineage], request: Request, forget: Sequence[Pair]) -> None:
    """Refuse models that have not forgotten what is asked about, or of which too little is asked.

    A request may be one of those that a model was made by, or several together; of pairs that are deleted twice the
    first time counts.

    Args:
        lineages: By what to call each model, those whose lineage is known.
        request: What the audit is about.
        forget: Its pairs.

    Raises:
        RequestError: One line for each model.
    """
    problems = []
    for name, lineage in lineages.items():
        if not lineage or _is_the_request(lineage, request):
            continue
        if lineage.without_key:  # the user says that the data holds no others
            continue
        strangers = len(forget) - len(lineage.earlier(forget))
        if strangers or not lineage.whole(forget):
            what = f"{share(strangers, len(forget), 'pairs of the request given are')} not among them"
            if not strangers:
                what = f"the {counted(len(forget), 'pairs of the request given are')} only a part of one of them"
            problems.append(
                f"{name} was made by another request: its multidelete.json records {lineage.described}, and {what}. "
                "Give the request that it was made by, or several of its requests together."
            )
    if problems:
        raise RequestError(problems)


def _is_the_request(lineage: Lineage, request: Request) -> bool:
    """Whether a record without keyed references is of this request."""
    return [deletion.request for deletion in lineage.deletions if not deletion.key] == [request.digest]


def without_other_requests(data: PairData, lineages: Mapping[str, Lineage], forget: Sequence[Pair]) -> PairData:
    """The data without pairs that one of the models has forgotten and that the audit is not about."""
    asked = {pair.id for pair in forget}
    for lineage in lineages.values():
        whole = lineage.whole(forget)
        others = [deletion for deletion in lineage.deletions if deletion not in whole]
        data = without_earlier(data, Lineage(tuple(others), lineage.keys), but=asked)
    return data
