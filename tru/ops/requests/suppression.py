"""Suppression: from the moment a request is filed, serving must know its subject, without keeping a name.

What is kept is a keyed hash (HMAC-SHA256). Without the key it cannot be turned back by trying all identifiers; with the
key it answers only "is this one of them?". It stays after the request is closed, so that a subject does not come back
with an old model; it goes when a request is withdrawn or names nobody we know.

A revoked modality suppresses nothing: its item stays, and only a new model forgets the picture.

The same hashes keep those who were forgotten out of an import (`Suppression.forgotten`); there a modality counts too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tru.errors import RequestError
from tru.ops.requests.lifecycle import DeletionRequest, Regime, Subject
from tru.ops.workspace import Workspace

if TYPE_CHECKING:
    from tru.data.forget import ForgetSet, Pair

KEY_VARIABLE = "TRU_SUPPRESSION_KEY"
_SHORTEST_KEY = 32
_USERS, _ITEMS, _MODALITIES = "users", "items", "modalities"


class Key:
    """The secret behind the hashes."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def digest(self, *parts: str) -> str:
        """The keyed hash of ``parts`` (64 hex characters); no two different lists of parts share their input."""
        return hmac.new(self._secret, json.dumps(parts).encode(), hashlib.sha256).hexdigest()

    def of_subject(self, subject: Subject) -> str:
        """What two requests about the same thing have in common."""
        return self.digest("request", subject.regime, *(part or "" for part in _parts(subject)))

    def of_reference(self, reference: str) -> str:
        """What a case number is kept as: who has it finds the requests, who has the database does not learn it."""
        return self.digest("reference", reference)

    def matches(self, check: str) -> bool:
        """Whether this is the key that made ``check``."""
        return hmac.compare_digest(self.check, check)

    def refuse_unless_of(self, check: str) -> None:
        """See that this is the key whose ``check`` an inbox keeps.

        Raises:
            RequestError: it is another one.
        """
        if not self.matches(check):
            raise RequestError(
                "The suppression key is not the one this inbox was filled with, so suppressed subjects would not be "
                "recognised. Restore .tru/suppression.key, or set TRU_SUPPRESSION_KEY to the first key."
            )

    @property
    def check(self) -> str:
        """A hash of nothing in particular, kept beside the hashes so that a wrong key is noticed."""
        return self.digest("check")


def load_key(workspace: Workspace, *, create: bool) -> Key:
    """The key from ``$TRU_SUPPRESSION_KEY``, else from the workspace; made on first use if ``create``.

    Raises:
        RequestError: there is none and none may be made, or it is too short or unreadable.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return _checked(given, KEY_VARIABLE)
    path = workspace.state / "suppression.key"
    if create and not path.exists():
        _make_key(path)
    try:
        return _checked(path.read_text().strip(), str(path))
    except FileNotFoundError:
        raise RequestError(
            f"The suppression key {path} is missing. Without it the suppressed subjects cannot be recognised: "
            f"restore the file from a backup or set {KEY_VARIABLE}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The suppression key {path} cannot be read: {type(error).__name__}.") from None


def _checked(text: str, where: str) -> Key:
    if len(text) < _SHORTEST_KEY:
        raise RequestError(f"The suppression key in {where} is shorter than {_SHORTEST_KEY} characters.")
    return Key(text.encode())


def _make_key(path: Path) -> None:
    """Write a new key with mode 600, whole or not at all; of two processes at the same time the first one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new-{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A hard link, unlike a rename, does not replace the key another process has just made.
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


@dataclass(frozen=True)
class Mark:
    """One suppressed thing: the request that asked for it, its hash, and the group of hashes it is looked up in."""

    request: str
    digest: str
    scope: str


def mark_of(key: Key, request: DeletionRequest) -> Mark | None:
    """The mark an open request leaves, if its regime leaves one."""
    user, item, _ = _parts(request.subject)
    match request.regime:
        case Regime.USER:
            return Mark(request.id, key.digest("user", user), _USERS)
        case Regime.ITEM:
            return Mark(request.id, key.digest("item", item), _ITEMS)
        case Regime.INTERACTION:
            return Mark(request.id, key.digest("pair", user, item), key.digest("pairs of", user))
        case Regime.MODALITY:
            return None


def revocation_of(key: Key, request: DeletionRequest) -> Mark | None:
    """The mark of a revoked modality, made when the request is closed; serving never asks for it, an import does."""
    if request.regime is not Regime.MODALITY:
        return None
    _, item, modality = _parts(request.subject)
    return Mark(request.id, key.digest("modality", item, modality), _MODALITIES)


def subject_hash(key: Key, request: DeletionRequest) -> str:
    """The keyed hash (64 hex characters) of what an open request names, the same that its mark carries."""
    mark = mark_of(key, request) or revocation_of(key, request)
    assert mark is not None, "every regime leaves one of the two"
    return mark.digest


def _parts(subject: Subject) -> tuple[str, str, str]:
    return subject.user or "", subject.item or "", subject.modality or ""


class Lookup(Protocol):
    """Where the marks are kept; every answer is as of now."""

    def version(self) -> int:
        """A number that changes with every mark made or lifted."""

    def retirements(self) -> int:
        """How many batches left nobody to recommend to."""

    def known(self, digests: Collection[str]) -> set[str]:
        """Those of ``digests`` that are marked."""

    def within(self, scope: str) -> set[str]:
        """All marked digests of one scope."""

    def forgotten(self) -> Collection[Mark]:
        """The marks of requests that were closed after their subjects were forgotten."""


class Suppression:
    """Who and what must not appear in answers, asked for afresh at every call.

    For serving: keep what ``items_among(catalogue)`` returned until ``version()`` changes; ask ``is_user`` and
    ``pairs_among`` per request (one indexed query each).
    """

    def __init__(self, key: Key, lookup: Lookup) -> None:
        self._key = key
        self._lookup = lookup

    def version(self) -> int:
        """A number that changes whenever anything is suppressed or lifted."""
        return self._lookup.version()

    def retirements(self) -> int:
        """How often nobody was left to recommend to; a model from before the last time must not answer any more."""
        return self._lookup.retirements()

    def is_user(self, user: str) -> bool:
        """Whether this user gets no personalised list."""
        return bool(self.users_among([user]))

    def is_item(self, item: str) -> bool:
        """Whether this item is never shown."""
        return self._is("item", item)

    def is_pair(self, user: str, item: str) -> bool:
        """Whether this item is not shown to this user."""
        return self._is("pair", user, item)

    def users_among(self, users: Iterable[str]) -> frozenset[str]:
        """Those of ``users`` who are suppressed; one query for all."""
        digests = {self._key.digest("user", user): user for user in users}
        return frozenset(digests[digest] for digest in self._lookup.known(digests))

    def items_among(self, items: Iterable[str]) -> frozenset[str]:
        """Those of ``items`` (a whole catalogue, say) that are suppressed; about 3 microseconds each."""
        hidden = self._lookup.within(_ITEMS)
        return frozenset(item for item in items if self._key.digest("item", item) in hidden) if hidden else frozenset()

    def pairs_among(self, user: str, items: Sequence[str]) -> frozenset[str]:
        """Those of ``items`` that are not shown to this user; hashes the items only if the user has any such pair."""
        hidden = self._lookup.within(self._key.digest("pairs of", user))
        return frozenset(i for i in items if self._key.digest("pair", user, i) in hidden) if hidden else frozenset()

    def forgotten(
        self, users: Collection[str], items: Iterable[str], pairs: Iterable[Pair], modalities: Iterable[Pair]
    ) -> ForgetSet:
        """Those of a new data set who were forgotten already, so that it does not bring them back.

        Subjects of open requests are not among them: the night has yet to find them in the data.

        Args:
            users: all its users.
            items: all its items.
            pairs: (user, item) of all its rows.
            modalities: (item, modality) of all its features.
        """
        from tru.data.forget import ForgetSet

        marks = self._lookup.forgotten()
        known, scopes = {mark.digest for mark in marks}, {mark.scope for mark in marks}
        if not known:
            return ForgetSet()
        digest = self._key.digest
        # Only the rows of users with a forgotten pair are hashed one by one.
        owners = {user for user in users if digest("pairs of", user) in scopes}
        return ForgetSet(
            users=frozenset(user for user in users if digest("user", user) in known),
            items=frozenset(item for item in items if digest("item", item) in known),
            pairs=frozenset((u, i) for u, i in pairs if u in owners and digest("pair", u, i) in known),
            modalities=frozenset((i, m) for i, m in modalities if digest("modality", i, m) in known),
        )

    def _is(self, *parts: str) -> bool:
        return bool(self._lookup.known([self._key.digest(*parts)]))
