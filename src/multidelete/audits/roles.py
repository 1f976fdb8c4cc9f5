"""What part a model plays in an audit."""

from enum import StrEnum


class Role(StrEnum):
    """A model's part, as its name tells: further ones of a role are numbered, ``retrained again 2``."""

    ORIGINAL = "original"
    UNLEARNED = "unlearned"
    UNLEARNED_AGAIN = "unlearned again"
    RETRAINED = "retrained"
    RETRAINED_AGAIN = "retrained again"
    SHADOW = "shadow"
    OTHER = "other"

    @staticmethod
    def of(name: str) -> "Role":
        """The role of the model of this name.

        >>> [str(Role.of(name)) for name in ("retrained", "retrained again 2", "mine")]
        ['retrained', 'retrained again', 'other']
        """
        roles = sorted(Role, key=len, reverse=True)  # "retrained again" before "retrained"
        return next((role for role in roles if name.startswith(role)), Role.OTHER)
