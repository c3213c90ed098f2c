"""Keys that sign certificates (Ed25519): the operator's own, or a development key that says so wherever it signed.

This is the one module that knows `cryptography`. The id of a key is the SHA-256 of its 32 raw public bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tru.errors import CertificateError
from tru.ops.certificates.files import replace, write_once
from tru.ops.workspace import Workspace

KEY_VARIABLE = "TRU_SIGNING_KEY"
PASSWORD_VARIABLE = "TRU_SIGNING_KEY_PASSWORD"
Kind = Literal["development", "own"]

DEVELOPMENT_WARNING = (
    "Signed with a development key, which was made by itself and lies beside the data: good for trying things out, "
    "worth nothing to an outsider. Make a key of your own (`tru certificate keys new FILE`) and name it in "
    "TRU_SIGNING_KEY."
)

_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_MAKE_ONE = "`tru certificate keys new FILE` makes one."


@dataclass(frozen=True)
class PublicKey:
    """What checks a signature.

    Attributes:
        raw: its 32 bytes.
    """

    raw: bytes

    @property
    def keyid(self) -> str:
        """SHA-256 of the raw key (64 hex characters)."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def pem(self) -> str:
        """The key as other tools read it (PEM, SubjectPublicKeyInfo)."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_bytes(serialization.Encoding.PEM, form).decode("ascii")

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` was made over ``message`` with the private half of this key."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @property
    def _key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.raw)


@dataclass(frozen=True)
class SigningKey:
    """What makes a signature; ``repr`` shows nothing of the secret.

    Attributes:
        kind: "own" for the operator's, "development" for the one that was made by itself.
        public: the half that may be shown.
    """

    kind: Kind
    public: PublicKey
    _secret: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message`` (64 bytes), the same every time."""
        return self._secret.sign(message)


def read_public(file: Path) -> list[PublicKey]:
    """The public keys in a PEM file; it may hold several, one after the other.

    Raises:
        CertificateError: it cannot be read, holds none, or one of another kind than Ed25519.
    """
    content = _content(file, "the public key")
    if b"PRIVATE KEY-----" in content:
        raise CertificateError(
            f"{file} holds a private key, which stays with its owner. Give the public one: `tru certificate keys show`."
        )
    blocks = _PUBLIC.findall(content)
    if not blocks:
        raise CertificateError(f"{file} holds no public key in PEM form (-----BEGIN PUBLIC KEY-----).")
    return [_public(block, file) for block in blocks]


def signing_key(ws: Workspace) -> SigningKey:
    """The key that signs here: of the file named in ``$TRU_SIGNING_KEY``, else the development key, made on first use.

    Its public half is noted as trusted, so that what it signs can still be checked here after a rotation.

    Raises:
        CertificateError: the file cannot be read, is no Ed25519 key, or its password is wrong.
    """
    key = _own(ws) or _development(ws)
    trust(ws, key.public)
    return key


def present(ws: Workspace) -> PublicKey | None:
    """The public half of the key that would sign now; None if the development key is yet to be made.

    Raises:
        CertificateError: the key cannot be read.
    """
    key = _own(ws) or (_development(ws) if _development_file(ws).exists() else None)
    return key.public if key else None


def trusted(ws: Workspace) -> list[PublicKey]:
    """The public keys whose certificates count in this workspace: of all that ever signed here.

    Private keys are not read, so whoever checks needs no access to them.

    Raises:
        CertificateError: a key cannot be read.
    """
    return [key for file in sorted((_folder(ws) / "trusted").glob("*.pem")) for key in read_public(file)]


def trust(ws: Workspace, key: PublicKey) -> None:
    """Note a public key, so that certificates signed with it count in this workspace."""
    folder = _made(ws) / "trusted"
    folder.mkdir(exist_ok=True)
    write_once(folder / f"{key.keyid}.pem", key.pem.encode(), 0o644)


def new_key(file: Path) -> PublicKey:
    """Make a private key (PEM, mode 600), under the password in ``$TRU_SIGNING_KEY_PASSWORD`` if one is set.

    Raises:
        CertificateError: there is a file already, or it cannot be written.
    """
    secret = Ed25519PrivateKey.generate()
    try:
        written = write_once(file, _pem(secret, _password()), 0o600)
    except OSError as error:
        raise CertificateError(f"{file} cannot be written: {error.strerror}.") from None
    if not written:
        raise CertificateError(f"{file} exists; a key is never overwritten. Choose another name.")
    return PublicKey(secret.public_key().public_bytes_raw())


def rotate(ws: Workspace, file: Path | None = None) -> PublicKey:
    """Make the next key; the public half of the present one stays trusted, so that old certificates still verify.

    With ``$TRU_SIGNING_KEY`` the new private key is written to ``file``, and signs once the variable names it. Without,
    the development key is replaced by a new one.

    Raises:
        CertificateError: no ``file`` although ``$TRU_SIGNING_KEY`` is set, or one although it is not.
    """
    own = _own(ws)
    if own is not None and own.kind == "own":
        if file is None:
            raise CertificateError(
                f"{KEY_VARIABLE} names the present key; say where the next goes: `tru certificate keys rotate FILE`."
            )
        trust(ws, own.public)
        made = new_key(file)
        trust(ws, made)
        return made
    if file is not None:
        raise CertificateError(
            f"{KEY_VARIABLE} is not set, so there is no key of your own to rotate. {_MAKE_ONE} "
            "Without a FILE, the development key is rotated."
        )
    trust(ws, _development(ws).public)
    secret = Ed25519PrivateKey.generate()
    replace(_development_file(ws), _pem(secret, None), 0o600)
    made = PublicKey(secret.public_key().public_bytes_raw())
    trust(ws, made)
    return made


def _own(ws: Workspace) -> SigningKey | None:
    named = os.environ.get(KEY_VARIABLE)
    if not named:
        return None
    file = Path(named)
    secret = _private(file)
    # Whoever names the development key in the variable has not made it any better.
    is_development = file.resolve() == _development_file(ws).resolve()
    return _signing("development" if is_development else "own", secret)


def _development(ws: Workspace) -> SigningKey:
    file = _development_file(ws)
    if not file.exists():
        _made(ws)
        write_once(file, _pem(Ed25519PrivateKey.generate(), None), 0o600)
    return _signing("development", _private(file))


def _signing(kind: Kind, secret: Ed25519PrivateKey) -> SigningKey:
    return SigningKey(kind, PublicKey(secret.public_key().public_bytes_raw()), secret)


def _private(file: Path) -> Ed25519PrivateKey:
    content, password = _content(file, "the signing key"), _password()
    try:
        key = serialization.load_pem_private_key(content, _needed(content, password))
    except TypeError:  # it is encrypted and no password was given
        raise CertificateError(f"The signing key {file} is under a password; set {PASSWORD_VARIABLE} to it.") from None
    except (ValueError, UnsupportedAlgorithm):
        if b"ENCRYPTED" in content:
            raise CertificateError(f"{PASSWORD_VARIABLE} is not the password of the signing key {file}.") from None
        raise CertificateError(f"{file} holds no private key in PEM form. {_MAKE_ONE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CertificateError(f"The key in {file} is not an Ed25519 key. {_MAKE_ONE}")
    return key


def _needed(content: bytes, password: bytes | None) -> bytes | None:
    """No password for a key that has none: a rotation may lead from one to the other, with the variable still set."""
    return password if b"ENCRYPTED" in content else None


def _public(block: bytes, file: Path) -> PublicKey:
    try:
        key = serialization.load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"The public key in {file} is damaged.") from None
    if not isinstance(key, Ed25519PublicKey):
        raise CertificateError(f"The public key in {file} is not an Ed25519 key, so it has signed no certificate.")
    return PublicKey(key.public_bytes_raw())


def _pem(secret: Ed25519PrivateKey, password: bytes | None) -> bytes:
    kept: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    )
    return secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kept)


def _password() -> bytes | None:
    given = os.environ.get(PASSWORD_VARIABLE)
    return given.encode() if given else None


def _content(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateError(f"{file}, {what}, cannot be read: {error.strerror}.") from None


def _folder(ws: Workspace) -> Path:
    return ws.state / "signing"


def _development_file(ws: Workspace) -> Path:
    return _folder(ws) / "development.pem"


def _made(ws: Workspace) -> Path:
    """The folder of the keys, nobody else's business."""
    ws.state.mkdir(parents=True, exist_ok=True)
    _folder(ws).mkdir(mode=0o700, exist_ok=True)
    return _folder(ws)
