"""The command ``demo``."""

from dataclasses import dataclass

from multidelete.cli import show
from multidelete.cli.flags import Call
from multidelete.cli.options import SEED_RULE, is_seed
from multidelete.core.config import check_settings


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Demo.

    Attributes:
        out: Folder to write: original, unlearned, retrained and report.
        people: People in the training set, 2 or more.
        seed: Of the people and of everything else that is drawn.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        overwrite: Replace the folder if it exists.
    """

    out: str = "multidelete-demo"
    people: int = 400
    seed: int = 1
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_settings(self, {"seed": (is_seed(self.seed), SEED_RULE)})


def demo(call: Call) -> None:
    """Generate people, train a tiny model, forget a tenth of them, retrain without them, audit, and report."""
    options = call.of(DemoOptions)
    from multidelete import demo as run_demo

    result = run_demo(
        options.out,
        people=options.people,
        seed=options.seed,
        device=options.device,
        overwrite=options.overwrite,
    )
    if show.is_printing():
        (show.show_verdict_json if call.json else show.show_verdict)(result.verdict, result.folder)
