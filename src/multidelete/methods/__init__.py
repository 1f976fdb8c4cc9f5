"""Unlearning methods, by name. What is imported here from a method's file is registered: `METHODS` is made of it."""

from inspect import isabstract

from multidelete.core.config import did_you_mean
from multidelete.core.errors import ConfigError
from multidelete.methods.bad_teacher import BadTeacher as BadTeacher
from multidelete.methods.base import GradientMethod as GradientMethod
from multidelete.methods.base import Job as Job
from multidelete.methods.base import Method as Method
from multidelete.methods.base import Outcome as Outcome
from multidelete.methods.clip_erase import CLIPErase as CLIPErase
from multidelete.methods.delete import DELETE as DELETE
from multidelete.methods.descent_to_delete import DescentToDelete as DescentToDelete
from multidelete.methods.finetune import FineTune as FineTune
from multidelete.methods.grad_diff import GradDiff as GradDiff
from multidelete.methods.imported import import_method
from multidelete.methods.kfade import KFADE as KFADE
from multidelete.methods.l_codec import LCODEC as LCODEC
from multidelete.methods.multidelete import MultiDelete as MultiDelete
from multidelete.methods.multidelete_paper import MultiDeletePaper as MultiDeletePaper
from multidelete.methods.neggrad import NegGrad as NegGrad
from multidelete.methods.npo import NPO as NPO
from multidelete.methods.random_labels import RandomLabels as RandomLabels
from multidelete.methods.salun import SalUn as SalUn
from multidelete.methods.scrub import SCRUB as SCRUB
from multidelete.methods.slug import SLUG as SLUG
from multidelete.methods.ssd import SSD as SSD
from multidelete.methods.training import Retrain as Retrain
from multidelete.methods.training import Training as Training
from multidelete.training.step import Part as Part
from multidelete.training.step import Step as Step

_KINDS = [
    one for one in globals().values() if isinstance(one, type) and issubclass(one, Method) and not isabstract(one)
]
METHODS: dict[str, type[Method]] = {
    kind.name: kind for kind in sorted(_KINDS, key=lambda kind: kind.name) if kind is not Training
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
