"""The whole job on generated people: train, forget a tenth of them, retrain without them, audit, report."""

from dataclasses import replace
from pathlib import Path

from multidelete.artifacts.folders import whole_or_nothing
from multidelete.auditing import AuditResult, audit
from multidelete.core.arguments import Wanted, check_arguments, flag, place, text, whole
from multidelete.core.runtime import check_device
from multidelete.core.settings import TrainSettings
from multidelete.data.generated.personas import personas
from multidelete.data.request import resolve_request
from multidelete.data.split import draw_request
from multidelete.methods import Training
from multidelete.unlearning import train, unlearn

FRACTION = 0.1
SIDE_PX = 48


def demo(
    out: str | Path,
    *,
    people: int = 400,
    seed: int = 1,
    device: str = "auto",
    overwrite: bool = False,
    passes: float | None = None,
) -> AuditResult:
    """Make ``original``, ``unlearned``, ``retrained`` and ``report`` in a folder, and ``request.txt`` with the ids.

    The people are invented, so the report shows what was deleted. The folder appears when all of it is done.

    Args:
        out: Folder to write.
        people: People in the training set, two pictures and four pairs each; half as many are held out.
        seed: Of the people and of everything else that is drawn.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        overwrite: Replace ``out`` if it exists.
        passes: Budget of training and retraining, in passes over the pairs; None is that of `train`.

    Raises:
        UserError: A setting is out of range, or ``out`` exists or cannot be written.
    """
    check_arguments(
        {
            "out": place(out),
            "people": whole(people),
            "seed": whole(seed),
            "device": text(device),
            "overwrite": flag(overwrite),
            "passes": Wanted(passes, (float,), "a number", optional=True),
        }
    )
    check_device(device)
    data = personas(people=people, unseen=people // 2, views=2, size=SIDE_PX, seed=seed)
    drawn = set(draw_request(data.train, fraction=FRACTION, unit="subject", seed=seed))
    names = sorted({pair.subject for pair in data.train if pair.id in drawn and pair.subject is not None})
    request = resolve_request(data, subjects=names, unit="subject")
    settings = replace(Training().loop_settings(), device=device)
    if passes is not None:
        settings = replace(settings, passes=passes)
    with whole_or_nothing(Path(out), overwrite=overwrite) as folder:
        (folder / "request.txt").write_text("\n".join(request.ids) + "\n", encoding="utf-8")
        original, unlearned, retrained = (folder / name for name in ("original", "unlearned", "retrained"))
        train(data, original, start=TrainSettings(image_size=SIDE_PX), settings=settings, seed=seed)
        for method, result in (("multidelete", unlearned), ("retrain", retrained)):
            unlearn(original, data, request, method=method, settings={"device": device}, out=result, seed=seed)
        done = audit(
            unlearned, original, data, request, retrained=retrained, out=folder / "report",
            show_forgotten=True, noun="people", device=device, seed=seed,
        )  # fmt: skip
    return replace(done, folder=Path(out) / "report")
