import base64
import json
import os
import random
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from tests import certified
from tests.certified import REQUEST
from tests.patience import HANG
from tru.errors import CertificateError
from tru.ops.certificates import issue, issued, place, verify
from tru.ops.certificates.envelope import LARGEST, opened, preauthenticated, sealed
from tru.ops.certificates.keys import KEY_VARIABLE, PASSWORD_VARIABLE, new_key, rotate, signing_key, trusted
from tru.ops.certificates.statement import statement
from tru.ops.workspace import Workspace

ROOT = Path(__file__).parents[3]
AT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path, monkeypatch):
    for name in (KEY_VARIABLE, PASSWORD_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "params.yaml").write_text("")
    return Workspace(tmp_path)


@pytest.fixture
def own(ws, tmp_path, monkeypatch):
    """A workspace that signs with a key of its own."""
    new_key(tmp_path / "own.pem")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "own.pem"))
    return ws


def test_a_certificate_is_issued_and_verifies(own):
    file = issue(own, certified.facts(), at=AT)
    assert file == place(own, REQUEST) and issued(own) == [file]
    assert [path.name for path in file.parent.iterdir()] == [f"{REQUEST}.json"]
    facts = verify(file.read_bytes(), trusted(own))
    assert facts.key == "own" and facts.times["certified"] == "2026-11-23T03:00:00+00:00"
    given = certified.facts().to_dict()
    assert facts.to_dict() == given | {"key": "own", "times": given["times"] | {"certified": facts.times["certified"]}}


def test_a_thousand_random_single_byte_changes_are_all_refused(own):
    envelope = issue(own, certified.facts()).read_bytes()
    keys, draw = trusted(own), random.Random(0)
    for _ in range(1000):
        at = draw.randrange(len(envelope))
        other = draw.choice([byte for byte in range(256) if byte != envelope[at]])
        with pytest.raises(CertificateError):
            verify(envelope[:at] + bytes([other]) + envelope[at + 1 :], keys)
    verify(envelope, keys)


def test_every_byte_outside_the_payload_counts(own):
    """Also those that a signature does not cover: names, key id, padding of base64, blanks, the last newline."""
    envelope = issue(own, certified.facts()).read_bytes()
    keys = trusted(own)
    start = envelope.index(b'"payload":"') + len(b'"payload":"')
    end = envelope.index(b'"', start)
    for at in [*range(start + 8), *range(end - 8, len(envelope))]:
        for other in (envelope[at] ^ 1, envelope[at] ^ 2, envelope[at] ^ 0x20):
            with pytest.raises(CertificateError):
                verify(envelope[:at] + bytes([other]) + envelope[at + 1 :], keys)


def test_bytes_added_taken_away_or_written_otherwise_are_refused(own):
    envelope = issue(own, certified.facts()).read_bytes()
    keys, draw = trusted(own), random.Random(1)
    found = json.loads(envelope)
    two = {**found, "signatures": found["signatures"] * 2}
    others = [
        envelope[:-1],
        envelope + b"\n",
        b" " + envelope,
        b"\xef\xbb\xbf" + envelope,
        envelope.decode().encode("utf-16"),
    ]
    others += [json.dumps(found).encode(), json.dumps(found, indent=2).encode() + b"\n", json.dumps(two).encode()]
    others += [envelope.replace(b"{", b'{"payload":"",', 1), envelope.replace(b"}\n", b',"x":1}\n')]
    others += [b"", b"{}", b"[]", b"null", b"1" * 5000, b"[" * 100_000, b" " * (LARGEST + 1)]
    for at in draw.sample(range(len(envelope)), 100):
        others += [envelope[:at] + envelope[at + 1 :], envelope[:at] + b" " + envelope[at:]]
    for other in others:
        if other != envelope:
            with pytest.raises(CertificateError):
                verify(other, keys)


def test_what_somebody_else_signed_is_refused(own, tmp_path):
    envelope = issue(own, certified.facts()).read_bytes()
    stranger = new_key(tmp_path / "stranger.pem")
    with pytest.raises(CertificateError, match="not among the 1"):
        verify(envelope, [stranger])
    with pytest.raises(CertificateError, match="no public key"):
        verify(envelope, [])
    # Signed by another key that claims the id of the right one.
    key, right = signing_key(own), trusted(own)[0]
    forged = json.loads(sealed(statement(certified.retrained()), key))
    forged["signatures"][0]["sig"] = json.loads(envelope)["signatures"][0]["sig"]
    with pytest.raises(CertificateError, match="signature does not fit"):
        verify(json.dumps(forged, sort_keys=True, separators=(",", ":")).encode() + b"\n", [right])


def test_what_is_signed_but_states_something_else_is_refused(own):
    key = signing_key(own)
    for payload in (b"{}", b"hello", statement(certified.facts()) + b" "):
        with pytest.raises(CertificateError):
            verify(sealed(payload, key), [key.public])


def test_an_envelope_opens_unchecked(own, tmp_path):
    envelope = issue(own, certified.facts()).read_bytes()
    facts, keyid = opened(envelope)
    assert facts.request == REQUEST and keyid == trusted(own)[0].keyid


def test_another_implementation_of_dsse_agrees(own):
    """securesystemslib, of the authors of in-toto and DSSE."""
    found = json.loads(issue(own, certified.facts()).read_bytes())
    public = trusted(own)[0]
    envelope = Envelope.from_dict(found)
    key = SSlibKey(public.keyid, "ed25519", "ed25519", {"public": public.raw.hex()})
    assert list(envelope.verify([key], 1)) == [public.keyid]
    assert envelope.pae() == preauthenticated(envelope.payload)


# -- issuing -----------------------------------------------------------------------------------------------------------


def test_a_request_has_one_certificate_for_good(own):
    file = issue(own, certified.facts(), at=AT)
    before = file.read_bytes()
    assert issue(own, certified.retrained()) == file and file.read_bytes() == before


def test_it_is_issued_once_by_many_at_the_same_time(own):
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda _: issue(own, certified.facts()), range(16)))
    assert set(files) == {place(own, REQUEST)} and len(list(files[0].parent.iterdir())) == 1


def test_a_damaged_certificate_is_neither_relied_on_nor_replaced(own):
    file = issue(own, certified.facts())
    file.write_bytes(file.read_bytes()[:-2])
    damaged = file.read_bytes()
    with pytest.raises(CertificateError, match="Move it away"):
        issue(own, certified.facts())
    assert file.read_bytes() == damaged


def test_a_certificate_under_another_name_is_refused(own):
    other = place(own, "req-0000000000000000")
    issue(own, certified.facts()).rename(other)
    with pytest.raises(CertificateError, match="another request's"):
        issue(own, certified.facts(request="req-0000000000000000"))


def test_nothing_is_written_that_names_a_subject(own):
    with pytest.raises(CertificateError, match="named a subject"):
        issue(own, certified.facts(unreachable=["the notebook of u-anna-karenina"]), never={"u-anna-karenina"})
    assert issued(own) == []


def test_nothing_is_written_without_a_usable_key(own, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "/nowhere/key.pem")
    with pytest.raises(CertificateError, match="cannot be read"):
        issue(own, certified.facts())
    assert issued(own) == []


def test_the_development_key_is_said_in_the_statement(ws):
    file = issue(ws, certified.facts())
    payload = json.loads(base64.b64decode(json.loads(file.read_bytes())["payload"]))
    assert payload["predicate"]["key"] == "development"


def test_old_certificates_verify_after_a_rotation(ws, tmp_path, monkeypatch):
    requests = [f"req-{n:016x}" for n in range(4)]
    issue(ws, certified.facts(request=requests[0]))
    rotate(ws)
    issue(ws, certified.facts(request=requests[1]))
    monkeypatch.setenv(PASSWORD_VARIABLE, "of my own")
    new_key(tmp_path / "a.pem")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "a.pem"))
    issue(ws, certified.facts(request=requests[2]))
    rotate(ws, tmp_path / "b.pem")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "b.pem"))
    issue(ws, certified.facts(request=requests[3]))
    found = [verify(place(ws, request).read_bytes(), trusted(ws)) for request in requests]
    assert [facts.key for facts in found] == ["development", "development", "own", "own"]
    assert len({opened(place(ws, request).read_bytes()).keyid for request in requests}) == len(trusted(ws)) == 4
    for request in requests:  # nothing is signed anew, so each is kept
        issue(ws, certified.facts(request=request))


# -- elsewhere ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def handed_out(own, tmp_path):
    """A folder with the file and the public key, and nothing else."""
    folder = tmp_path / "officer"
    folder.mkdir()
    shutil.copy(issue(own, certified.facts()), folder / "certificate.json")
    (folder / "public.pem").write_text(trusted(own)[0].pem)
    return folder


def run(folder, *command, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRU_")}
    return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=HANG, **more)


def test_it_verifies_in_another_process_with_the_file_and_the_public_key_alone(handed_out):
    program = (
        "import sys; from tru.cli import main\n"
        "sys.argv = ['tru', 'certificate', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: print('loaded', *[m for m in ('mlflow', 'torch', 'dvc', 'prefect', 'pandas', 'sqlalchemy', 'numpy')"
        " if m in sys.modules])"
    )
    words = ("verify", "certificate.json", "--key", "public.pem")
    done = run(handed_out, sys.executable, "-c", program, *words)
    assert done.returncode == 0, done.stderr
    assert "certificate.json: genuine." in done.stdout and done.stdout.splitlines()[-1] == "loaded"
    assert done.stderr == ""
    shown = run(handed_out, sys.executable, "-c", program, "show", *words[1:])
    assert shown.returncode == 0 and REQUEST in shown.stdout and shown.stdout.splitlines()[-1] == "loaded"
    content = (handed_out / "certificate.json").read_text()
    (handed_out / "certificate.json").write_text(content.replace('"sig"', '"sig" '))
    done = run(handed_out, sys.executable, "-c", program, *words)
    assert done.returncode == 1 and "NOT GENUINE" in done.stdout
    assert sorted(path.name for path in handed_out.iterdir()) == ["certificate.json", "public.pem"]


def recipe(language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "certificates.md").read_text(), flags=re.DOTALL)[0]


@pytest.mark.parametrize("language", ["python", "shell"])
def test_the_recipes_without_tru_do_what_they_say(handed_out, language):
    if language == "shell" and not (shutil.which("jq") and shutil.which("openssl")):
        pytest.skip("no jq or no openssl here")
    command = {"python": (sys.executable, "-c"), "shell": ("bash", "-c")}[language]
    words = ("bash",) if language == "shell" else ()

    def check():
        return run(handed_out, *command, recipe(language), *words, "certificate.json", "public.pem")

    done = check()
    assert done.returncode == 0, done.stderr
    assert REQUEST in done.stdout and '"predicate"' in done.stdout
    found = json.loads((handed_out / "certificate.json").read_text())
    payload = base64.b64decode(found["payload"]).replace(b'"fallback":false', b'"fallback": true')
    (handed_out / "certificate.json").write_text(json.dumps(found | {"payload": base64.b64encode(payload).decode()}))
    done = check()
    assert done.returncode != 0 and REQUEST not in done.stdout
