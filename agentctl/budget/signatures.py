"""Sign and verify the documents of leases with Ed25519, on canonical bytes. Pure, except that a new key is random.

The bytes that are signed begin with the kind and version of the document, so that no signature of one kind holds for
another. ``cryptography`` (the extra ``leases``) is imported by the first signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from agentctl.core.errors import UsageError
from agentctl.core.leases import LeaseError

if TYPE_CHECKING:
    from types import ModuleType

INSTALL = "pip install 'agentctl-cli[leases]'"
PUBLIC = "agentctl-lease-public-1:"
PRIVATE = "agentctl-lease-private-1:"


def encode(data: bytes) -> str:
    """Return bytes as URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes | None:
    """Return the bytes of ``encode``; None unless ``text`` is exactly what it returns for them."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    return data if encode(data) == text else None


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the only bytes that stand for a document: JSON in ASCII, keys sorted, no blanks."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode(
        "ascii"
    )


def read_canonical(data: bytes) -> dict[str, Any] | None:
    """Return the document that ``data`` stands for; None unless ``data`` is exactly its ``canonical`` bytes."""
    try:
        document = json.loads(data)
        return document if isinstance(document, dict) and canonical(document) == data else None
    except (ValueError, RecursionError):
        return None


class PublicKey(NamedTuple):
    """The key that verifies; ``raw`` has 32 bytes."""

    raw: bytes

    @property
    def text(self) -> str:
        """The key as one line."""
        return PUBLIC + encode(self.raw)

    @property
    def id(self) -> str:
        """The short name of the key in documents and messages: the beginning of its SHA-256."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verifies(self, kind: str, data: bytes, signature: bytes) -> bool:
        """Return whether ``signature`` is of this key, for ``data`` as a document of ``kind``."""
        try:
            key = _ed25519().Ed25519PublicKey.from_public_bytes(self.raw)
            key.verify(signature, _to_sign(kind, data))
        except (_invalid_signature(), ValueError):
            return False
        return True


class SigningKey(NamedTuple):
    """The key that signs; ``seed`` has 32 bytes and is a secret."""

    seed: bytes

    def __repr__(self) -> str:
        return "SigningKey(...)"

    @property
    def text(self) -> str:
        """The key as one line, which is a secret."""
        return PRIVATE + encode(self.seed)

    @property
    def public(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return PublicKey(_ed25519().Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def sign(self, kind: str, data: bytes) -> bytes:
        """Return the signature, 64 bytes, of ``data`` as a document of ``kind``."""
        signature: bytes = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed).sign(_to_sign(kind, data))
        return signature


def new_key() -> SigningKey:
    """Return a new random key.

    Raises:
        UsageError: ``cryptography`` is not installed.
    """
    _ed25519()
    return SigningKey(os.urandom(32))


def read_signing_key(text: str) -> SigningKey:
    """Return the key of a line that ``budget keygen`` wrote.

    Raises:
        LeaseError: it is none; the message does not repeat it.
    """
    seed = decode(text.strip().removeprefix(PRIVATE)) if text.strip().startswith(PRIVATE) else None
    if seed is None or len(seed) != 32:
        said = "this is the public key" if text.strip().startswith(PUBLIC) else f"it begins with {PRIVATE}"
        raise LeaseError(f"the signing key cannot be read: {said}", hint="agentctl budget keygen   makes a new one")
    return SigningKey(seed)


def read_public_key(text: str) -> PublicKey:
    """Return the public key of a line that ``budget keygen`` printed.

    Raises:
        LeaseError: it is none; the message does not repeat it.
    """
    raw = decode(text.strip().removeprefix(PUBLIC)) if text.strip().startswith(PUBLIC) else None
    if raw is None or len(raw) != 32:
        said = "this is the signing key, which is a secret" if PRIVATE in text else f"it begins with {PUBLIC}"
        raise LeaseError(
            f"a public key of leases cannot be read: {said}", hint="use the line that budget keygen prints"
        )
    return PublicKey(raw)


def choose_key(key_id: str, keys: Iterable[PublicKey], what: str) -> PublicKey:
    """Return the key of ``keys`` that ``what`` names.

    Raises:
        LeaseError: it names another one, or there is no key.
    """
    keys = tuple(keys)
    for key in keys:
        if key.id == key_id:
            return key
    if not keys:
        raise LeaseError(
            f"no public key is set, so {what} cannot be verified",
            hint="set AGENTCTL_LEASE_KEYS to the public key that budget keygen printed",
        )
    known = ", ".join(key.id for key in keys)
    raise LeaseError(
        f"{what} was signed by the key {key_id}; the trusted keys are: {known}",
        hint="if the key was replaced, set AGENTCTL_LEASE_KEYS to the new public key, or to both with a comma",
    )


def _to_sign(kind: str, data: bytes) -> bytes:
    return kind.encode("ascii") + b"\n" + data


def _ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UsageError("leases need the package cryptography, which is not installed", hint=INSTALL) from error
    return ed25519


def _invalid_signature() -> type[Exception]:
    from cryptography.exceptions import InvalidSignature

    return InvalidSignature
