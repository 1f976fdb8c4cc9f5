"""Unlearning methods, by name."""

from multidelete.core.config import did_you_mean
from multidelete.core.errors import ConfigError
from multidelete.methods.bad_teacher import BadTeacher
from multidelete.methods.base import GradientMethod, Job, Method, Outcome
from multidelete.methods.clip_erase import CLIPErase
from multidelete.methods.delete import DELETE
from multidelete.methods.descent_to_delete import DescentToDelete
from multidelete.methods.finetune import FineTune
from multidelete.methods.grad_diff import GradDiff
from multidelete.methods.imported import import_method
from multidelete.methods.l_codec import LCODEC
from multidelete.methods.multidelete import MultiDelete
from multidelete.methods.multidelete_paper import MultiDeletePaper
from multidelete.methods.neggrad import NegGrad
from multidelete.methods.npo import NPO
from multidelete.methods.random_labels import RandomLabels
from multidelete.methods.salun import SalUn
from multidelete.methods.scrub import SCRUB
from multidelete.methods.ssd import SSD
from multidelete.methods.training import Retrain, Training
from multidelete.training.step import Part, Step

__all__ = [
    "DELETE",
    "LCODEC",
    "METHODS",
    "NPO",
    "SCRUB",
    "SSD",
    "BadTeacher",
    "CLIPErase",
    "DescentToDelete",
    "FineTune",
    "GradDiff",
    "GradientMethod",
    "Job",
    "Method",
    "MultiDelete",
    "MultiDeletePaper",
    "NegGrad",
    "Outcome",
    "Part",
    "RandomLabels",
    "Retrain",
    "SalUn",
    "Step",
    "Training",
    "get_method",
]

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        BadTeacher,
        CLIPErase,
        DELETE,
        DescentToDelete,
        FineTune,
        GradDiff,
        LCODEC,
        MultiDelete,
        MultiDeletePaper,
        NegGrad,
        NPO,
        RandomLabels,
        Retrain,
        SalUn,
        SCRUB,
        SSD,
    )
}


def get_method(name: str) -> type[Method]:
    """Look up a built-in method, or import ``package.module:Class``.

    Raises:
        ConfigError: There is no such method.
    """
    if name in METHODS:
        return METHODS[name]
    if ":" not in name:
        raise ConfigError(f"Unknown method {name!r}. {did_you_mean(name, METHODS)} Your own: package.module:Class.")
    return import_method(name)
