"""The exceptions have one class each, by whatever name they are imported."""

import multidelete
from multidelete import errors
from multidelete.core import errors as defined


def test_every_exception_is_one_class_by_its_three_names() -> None:
    raised = {name for name, value in vars(defined).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert raised == set(errors.__all__) == {name for name in multidelete.__all__ if name.endswith("Error")}
    for name in raised:
        assert getattr(errors, name) is getattr(defined, name) is getattr(multidelete, name)
