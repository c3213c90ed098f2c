"""Certificates: signed statements of what was done about a request, which the public key alone can check."""

from tru.ops.certificates.envelope import issue, issued, place, verify
from tru.ops.certificates.keys import DEVELOPMENT_WARNING, PublicKey, read_public, signing_key, trusted
from tru.ops.certificates.page import render
from tru.ops.certificates.statement import Facts

__all__ = [
    "DEVELOPMENT_WARNING",
    "Facts",
    "PublicKey",
    "issue",
    "issued",
    "place",
    "read_public",
    "render",
    "signing_key",
    "trusted",
    "verify",
]
