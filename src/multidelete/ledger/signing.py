"""Keys that certificates are signed with: Ed25519, in PEM files that stay where they are."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from multidelete.core.errors import LedgerError


def private_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a file.

    Raises:
        LedgerError: It cannot be read, is encrypted, or is of another kind.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise LedgerError(f"the key {path} cannot be read: {error.strerror}. {_REMEDY}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise LedgerError(f"{path} is no private key in PEM, or has a password. {_REMEDY}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise LedgerError(f"{path} holds a key of another kind than Ed25519. {_REMEDY}")
    return key


def public_key(path: Path) -> str:
    """The public key that belongs to the private one in a file: 32 bytes in hexadecimal."""
    return private_key(path).public_key().public_bytes_raw().hex()


_REMEDY = "Make one with: openssl genpkey -algorithm ed25519 -out sign.pem"
