"""What a certificate states, as an in-toto statement (https://in-toto.io/Statement/v1), and what it can never hold.

The format is narrow on purpose: each field takes only what its form allows, so that an identifier has no place to slip
into. Of what a caller hands over in rows (the gate's table, findings of the scan), only the known fields are taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from tru.errors import CertificateError

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:tru:erasure-certificate:v1"
MOMENTS = ("received", "suppressed", "cut", "unlearned", "gated", "promoted", "erased", "certified")
"""The moments a certificate may name, in the order in which they come."""

Kind = Literal["", "development", "own"]


def _is_moment(text: str) -> str:
    if datetime.fromisoformat(text).utcoffset():
        raise ValueError("not UTC")
    return text


def _of_form(pattern: str) -> StringConstraints:
    return StringConstraints(pattern=f"^(?:{pattern})$")


Request = Annotated[str, _of_form(r"req-[0-9a-f]{16}")]
Hash = Annotated[str, _of_form(r"[0-9a-f]{12,128}")]
Moment = Annotated[
    str,
    _of_form(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}([.][0-9]{1,6})?(\+00:00|Z)"),
    AfterValidator(_is_moment),
]
Word = Annotated[str, _of_form(r"[a-z][a-z0-9_+-]{0,39}")]
Method = Annotated[str, _of_form(r"[A-Za-z_][A-Za-z0-9_.:+-]{0,199}")]  # of another package, perhaps by its path
Version = Annotated[str, _of_form(r"[0-9][0-9A-Za-z.+-]{0,39}")]
# What steers a terminal or turns the direction of reading has no place in a line of text.
_UNSEEN = "\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
_LONGEST = 4000
Text = Annotated[str, _of_form(f"[^{_UNSEEN}]{{1,{_LONGEST}}}")]
Store = Annotated[str, _of_form(f"[^{_UNSEEN}]{{1,120}}")]


class _Strict(BaseModel):
    # Inputs are never quoted in an error: what does not fit may be somebody's identifier.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


class _Times(_Strict):
    received: Moment
    suppressed: Moment | None = None
    cut: Moment | None = None
    unlearned: Moment | None = None
    gated: Moment | None = None
    promoted: Moment
    erased: Moment
    certified: Moment | None = None


class _Data(_Strict):
    before: Annotated[str, _of_form(r"[0-9a-f]{32}(\.dir)?")]
    after: Annotated[str, _of_form(r"[0-9a-f]{32}(\.dir)?")] | None = None


class _Model(_Strict):
    version: Version
    digest: Annotated[str, _of_form(r"[0-9a-f]{64}")]


class _Models(_Strict):
    before: _Model
    after: _Model | None = None


class _Code(_Strict):
    tru: Version
    commit: Annotated[str, _of_form(r"[0-9a-f]{7,64}")] | None = None


class _Verdict(_Strict):
    verdict: Literal["pass", "fail"]
    mode: Word
    reasons: list[Text] = []
    notes: list[Text] = []
    released: Text | None = None


class _Row(_Strict):
    name: Text
    passed: bool
    words: Text
    group: Text | None = None
    value: float | None = None
    reference: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    n: int = 0
    judged: bool = True
    fault: Word | None = None


class _Erased(_Strict):
    store: Store
    count: int
    bytes: int | None = None


class _Searched(_Strict):
    store: Store
    # There is no certificate while anything is found.
    state: Literal["not found", "unreachable"]
    count: Literal[0]
    why: Text | Literal[""] = ""


class _Form(_Strict):
    request: Request
    subject: Annotated[str, _of_form(r"[0-9a-f]{64}")]
    regime: Literal["user", "item", "interaction", "modality"]
    batch: Annotated[str, _of_form(r"batch-[0-9]{8}-[0-9]{2,6}")]
    times: _Times
    data: _Data
    models: _Models
    code: _Code
    params: Hash
    method: Method
    fallback: bool
    verdict: _Verdict
    table: list[_Row]
    erasure: list[_Erased]
    scan: list[_Searched]
    unreachable: list[Text]
    key: Kind = ""

    @model_validator(mode="after")
    def _all_or_nothing_is_left(self) -> Self:
        if (self.data.after is None) != (self.models.after is None):
            raise ValueError("data without a model, or a model without data")
        return self


@dataclass(frozen=True)
class Facts:
    """What a certificate states of one request. Plain JSON types throughout; checked when it is made.

    Attributes:
        request: the request's id.
        subject: keyed hash of what it names (:func:`tru.ops.requests.suppression.subject_hash`).
        regime: what kind of thing was to be forgotten.
        batch: the batch that it was part of.
        times: moment by name (see ``MOMENTS``), ISO 8601 in UTC; ``received``, ``promoted`` and ``erased`` at least.
        data: DVC's md5 of the data ``before`` and ``after`` the cut; no ``after`` where nothing was left.
        models: version and digest of the champion ``before`` and ``after``; no ``after`` where no model serves, as
            nobody was left to recommend to.
        code: version of ``tru``, and the workspace's git ``commit``.
        params: digest of the settings.
        method: what made the new model.
        fallback: whether it was retrained because the gate had refused the unlearned one.
        verdict: what the gate said of the model that serves: verdict, mode, reasons, notes; ``released`` is the reason
            of a person who overruled it. Other keys of a gate's verdict are left out.
        table: the verdict's rows; only their known fields are taken.
        erasure: what was destroyed: store, count, and perhaps bytes.
        scan: where it was searched afterwards: store, state, count, why.
        unreachable: what nobody could reach, in plain words.
        key: which kind of key signed it; filled in when it is issued.

    Raises:
        CertificateError: a field is missing, has another form than it must, or the scan found something.
    """

    request: str
    subject: str
    regime: str
    batch: str
    times: dict[str, str]
    data: dict[str, str]
    models: dict[str, dict[str, str]]
    code: dict[str, str | None]
    params: str
    method: str
    fallback: bool
    verdict: dict[str, Any]
    table: list[dict[str, Any]]
    erasure: list[dict[str, Any]]
    scan: list[dict[str, Any]]
    unreachable: list[str]
    key: str = ""

    def __post_init__(self) -> None:
        known = {**vars(self), "verdict": _picked(self.verdict, _Verdict), "unreachable": _tidy(self.unreachable)}
        for name, row_form in (("table", _Row), ("erasure", _Erased), ("scan", _Searched)):
            if isinstance(known[name], list | tuple):
                known[name] = [_picked(row, row_form) for row in known[name]]
        checked = _checked(json.dumps(known, default=_refused))
        for name, value in json.loads(checked.model_dump_json(exclude_defaults=True)).items():
            object.__setattr__(self, name, value)

    @property
    def is_retired(self) -> bool:
        """Whether nobody was left to recommend to, so that no model serves."""
        return "after" not in self.models

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def statement(facts: Facts) -> bytes:
    """The statement as it is signed: JSON, the one way of writing it."""
    # What there is afterwards; where nothing is left, what there was.
    when, note = ("before", ", destroyed") if facts.is_retired else ("after", "")
    model, data = facts.models[when], facts.data[when]
    made = [
        {"name": f"model version {model['version']}{note}", "digest": {"sha256": model["digest"]}},
        {"name": f"data.dvc{note}", "digest": {"md5": data.removesuffix(".dir")}},
    ]
    return canonical({"_type": STATEMENT, "subject": made, "predicateType": PREDICATE, "predicate": facts.to_dict()})


def read_statement(payload: bytes) -> Facts:
    """The facts in a statement.

    Raises:
        CertificateError: it is no statement of ours, or is not written the one way.
    """
    try:
        found = json.loads(payload)
        kind = (found["_type"], found["predicateType"])
        predicate = found["predicate"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CertificateError("It holds no in-toto statement.") from None
    if kind != (STATEMENT, PREDICATE):
        raise CertificateError(
            "It states something else than an erasure, or in a form that this version of tru does not know."
        )
    if not isinstance(predicate, dict) or set(predicate) != {field.name for field in fields(Facts)}:
        raise CertificateError("Its statement lacks facts, or has some that this version of tru does not know.")
    facts = Facts(**predicate)
    if statement(facts) != payload:
        raise CertificateError("Its statement is not written as tru writes statements.")
    return facts


def canonical(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can hold
    """JSON, written the one way: keys sorted, no spaces, ASCII, numbers as Python writes them."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def refuse_identifiers(facts: Facts, never: Collection[str]) -> None:
    """See that none of these identifiers stands in the certificate.

    One of six characters or more that has letters and something else is looked for everywhere. Others are everyday
    numbers and words; they are looked for where text names a subject: in quotes, or after the word user, item or
    subject.

    Raises:
        CertificateError: one does; it is not repeated.
    """
    text = "\n".join(_texts(facts.to_dict()))
    pointed = {*_QUOTED.findall(text), *_CALLED.findall(text)}
    if any(name in pointed or (_is_clear(name) and name in text and _stands_in(name, text)) for name in never):
        raise CertificateError(
            "A certificate would have named a subject, so it was not written. See which of its texts does."
        )


def _is_clear(name: str) -> bool:
    return len(name) >= 6 and any(character.isalpha() for character in name) and not name.isalpha()


def _stands_in(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


# Overlapping, since an apostrophe is no opening quote.
_QUOTED = re.compile(r"""(?=["'`‘“]([^"'`‘’“”\n]{1,512})["'`’”])""")
_CALLED = re.compile(r"""\b(?:user|item|subject)s?(?: id)?[ =:#]{1,2}["'`‘“]?([\w.-]*\w)""", re.IGNORECASE)


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _checked(text: str) -> _Form:
    try:
        return _Form.model_validate_json(text)
    except ValidationError as error:
        # The place may end in a key that somebody made up; only the name of the field itself is ours for sure.
        found = error.errors(include_input=False, include_url=False, include_context=False)
        places = sorted({str(fault["loc"][0]) for fault in found if fault["loc"]})
        known = [place for place in places if place in _Form.model_fields]
        raise CertificateError(
            f"A certificate cannot hold this: check {', '.join(known) or 'its form'} ({found[0]['type']})."
        ) from None


def _picked(row: Any, form: type[BaseModel]) -> Any:  # noqa: ANN401 - what is no row is left to the check
    """The fields of a row that a certificate knows, each text on one line."""
    if not isinstance(row, Mapping):
        return row
    return {name: _tidy(row[name]) for name in form.model_fields if row.get(name) is not None}


def _tidy(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return " ".join(re.sub(f"[{_UNSEEN}]", " ", value).split())[:_LONGEST]
    return [_tidy(part) for part in value] if isinstance(value, list | tuple) else value


def _refused(value: object) -> None:
    raise CertificateError(f"A certificate holds plain JSON and no {type(value).__name__}.")
