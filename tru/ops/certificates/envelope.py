"""The signed envelope: DSSE (https://github.com/secure-systems-lab/dsse) with one Ed25519 signature.

A signature covers the payload alone. So that *any* changed byte shows, the file has exactly one right form: what is
read is written anew and must be the same, byte for byte.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tru.errors import CertificateError
from tru.ops.certificates.files import write_once
from tru.ops.certificates.keys import PublicKey, SigningKey, signing_key, trusted
from tru.ops.certificates.statement import Facts, canonical, read_statement, refuse_identifiers, statement
from tru.ops.workspace import Workspace

PAYLOAD_TYPE = "application/vnd.in-toto+json"
LARGEST = 8 * 2**20
"""Bytes. A certificate has some ten thousand; nobody is to fill the memory of whoever checks one."""


class Opened(NamedTuple):
    """An envelope as it reads, checked or not.

    Attributes:
        facts: what it states.
        keyid: of the key that signed it, as it says itself.
    """

    facts: Facts
    keyid: str


def place(ws: Workspace, request: str) -> Path:
    """Where the certificate of a request lies, or will lie."""
    return ws.certificates / f"{request}.json"


def issued(ws: Workspace) -> list[Path]:
    """The certificates of the workspace."""
    return sorted(ws.certificates.glob("req-*.json"))


def issue(ws: Workspace, facts: Facts, *, never: Collection[str] = (), at: datetime | None = None) -> Path:
    """Sign a certificate with the workspace's key and write it, whole or not at all.

    A request has one certificate for good: if there is one, it is checked and kept as it is, whatever ``facts`` say.

    Args:
        ws: the workspace; its key signs (see :func:`tru.ops.certificates.keys.signing_key`).
        facts: what is stated.
        never: identifiers that must not stand in it: of all whom the batch named.
        at: when it is signed (aware); now by default.

    Returns:
        The file.

    Raises:
        CertificateError: the key cannot be used, an identifier would be named, or there is a certificate that does not
            verify.
    """
    file = place(ws, facts.request)
    if not file.exists():
        key = signing_key(ws)
        moment = (at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        whole = replace(facts, key=key.kind, times={**facts.times, "certified": moment})
        refuse_identifiers(whole, never)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_once(file, sealed(statement(whole), key), 0o644)
    _kept(ws, file, facts.request)
    return file


def sealed(payload: bytes, key: SigningKey) -> bytes:
    """A signed envelope around a payload."""
    return _written(payload, key.public.keyid, key.sign(preauthenticated(payload)))


def verify(envelope: bytes, keys: Sequence[PublicKey]) -> Facts:
    """What a certificate states, if one of the keys signed exactly this file.

    Needs no workspace and no network.

    Raises:
        CertificateError: any byte differs from what was signed, or none of the keys signed it.
    """
    payload, keyid, signature = _parts(envelope)
    key = next((key for key in keys if key.keyid == keyid), None)
    if key is None:
        raise CertificateError(
            f"It names the key {keyid[:16]}…, which is not among the {len(keys)} it was checked with."
            if keys
            else "There is no public key to check it with; name one with --key."
        )
    if not key.has_signed(preauthenticated(payload), signature):
        raise CertificateError(
            "Its signature does not fit: it was changed after it was signed, or signed by somebody else."
        )
    return read_statement(payload)


def opened(envelope: bytes) -> Opened:
    """What an envelope says, whoever may have made it up; see :func:`verify`.

    Raises:
        CertificateError: it is no certificate.
    """
    payload, keyid, _ = _parts(envelope)
    return Opened(read_statement(payload), keyid)


def preauthenticated(payload: bytes) -> bytes:
    """What is signed: type and payload with their lengths (DSSE's PAE)."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _written(payload: bytes, keyid: str, signature: bytes) -> bytes:
    signatures = [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}]
    envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": signatures}
    return canonical(envelope) + b"\n"


def _parts(envelope: bytes) -> tuple[bytes, str, bytes]:
    """Payload, key id and signature of an envelope in its one right form."""
    if len(envelope) > LARGEST:
        raise CertificateError("It is far too large for a certificate.")
    try:
        found = json.loads(envelope)
        (signature,) = found["signatures"]
        payload, sig = (base64.b64decode(text, validate=True) for text in (found["payload"], signature["sig"]))
        keyid = str(signature["keyid"])
        form = _written(payload, keyid, sig)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise CertificateError("It is no certificate of tru, or a damaged one.") from None
    if form != envelope:
        raise CertificateError("It was changed after it was signed: it is not written as tru writes certificates.")
    return payload, keyid, sig


def _kept(ws: Workspace, file: Path, request: str) -> Facts:
    """The certificate that is there, which must be this request's and genuine."""
    try:
        facts = verify(file.read_bytes(), trusted(ws))
        if facts.request != request:
            raise CertificateError("It is another request's.")
    except CertificateError as error:
        raise CertificateError(
            f"{file} is there and cannot be relied on. {error} Move it away, find out who changed it, and run again."
        ) from None
    return facts
