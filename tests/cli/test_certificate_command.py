from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tests import certified
from tru.cli.certificate import app
from tru.cli.init import create
from tru.errors import CertificateError, CommandError, RequestError
from tru.ops.certificates import DEVELOPMENT_WARNING, issue, place, trusted, verify
from tru.ops.certificates.keys import KEY_VARIABLE, PASSWORD_VARIABLE, new_key, read_public
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox

US = "a process"


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A folder that is no workspace, and no key in the environment."""
    for name in (KEY_VARIABLE, PASSWORD_VARIABLE, "TRU_WORKSPACE", "TRU_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def ws(bare, tmp_path):
    return create(tmp_path / "shop")


@pytest.fixture
def own(ws, tmp_path, monkeypatch):
    """A workspace that signs with a key of its own."""
    new_key(tmp_path / "own.pem")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "own.pem"))
    return ws


def run(*words, ws=None):
    there = ["--workspace", str(ws.root)] if ws else []
    return CliRunner().invoke(app, [*map(str, words), *there], catch_exceptions=False)


def filed(ws, count=1):
    return [r.request.id for r in open_inbox(ws).add_all([Subject.of(user=f"u-anna-{n}") for n in range(count)])]


def handed_out(ws, folder):
    """File and public key in a folder of their own, as an officer has them."""
    certificate, public = folder / "certificate.json", folder / "public.pem"
    certificate.write_bytes(issue(ws, certified.facts()).read_bytes())
    public.write_text("".join(key.pem for key in trusted(ws)))
    return certificate, public


def test_verify_needs_the_public_key_alone(own, bare):
    certificate, public = handed_out(own, bare)
    done = run("verify", certificate, "--key", public)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "genuine. Request req-270a22c2f652fb5a (user), received 1 November 2026" in done.output
    assert "does not state that forgetting is proven" in done.output
    found = json.loads(run("verify", certificate, "--key", public, "--json").stdout)
    assert found == [{"file": str(certificate), "genuine": True, "request": certified.REQUEST, "key": "own"}]


def test_verify_fails_on_what_was_changed_and_goes_on_with_the_others(own, bare):
    certificate, public = handed_out(own, bare)
    changed = bare / "changed.json"
    changed.write_bytes(certificate.read_bytes().replace(b'"sig"', b'"sig" '))
    done = run("verify", changed, certificate, bare / "gone.json", "--key", public)
    assert done.exit_code == 1 and "forgetting is proven" not in done.output
    lines = [line for line in done.output.splitlines() if "genuine" in line.lower()]
    assert ["NOT GENUINE" in line for line in lines] == [True, False, True]
    found = json.loads(run("verify", changed, certificate, "--key", public, "--json").stdout)
    assert [one["genuine"] for one in found] == [False, True] and "changed" in found[0]["why"]


def test_verify_with_several_keys_or_the_wrong_one(own, bare, tmp_path):
    certificate, public = handed_out(own, bare)
    stranger = bare / "stranger.pem"
    stranger.write_text(new_key(tmp_path / "stranger.pem").pem)
    assert run("verify", certificate, "--key", stranger).exit_code == 1
    assert run("verify", certificate, "--key", stranger, "--key", public).exit_code == 0
    with pytest.raises(CertificateError, match="private key"):
        run("verify", certificate, "--key", tmp_path / "own.pem")


def test_verify_takes_the_keys_of_the_workspace_or_says_that_one_is_missing(own, bare):
    certificate, _ = handed_out(own, bare)
    assert run("verify", certificate, ws=own).exit_code == 0
    with pytest.raises(CertificateError, match="--key"):
        run("verify", certificate)


def test_the_development_key_is_warned_of_everywhere(ws, bare):
    certificate, public = handed_out(ws, bare)
    request = filed(ws)[0]
    issue(ws, certified.facts(request=request))
    for words in (
        ("verify", certificate, "--key", public),
        ("show", certificate, "--key", public),
        ("show", certificate, "--html", bare / "page.html", "--key", public),
        ("export", request, "--workspace", ws.root),
    ):
        done = run(*words)
        assert done.exit_code == 0 and DEVELOPMENT_WARNING in done.stderr, words
    assert "development key" in (bare / "page.html").read_text()
    assert "development" in run("list", ws=ws).output


def test_show_in_words_as_json_and_as_a_page(own, bare):
    certificate, public = handed_out(own, bare)
    done = run("show", certificate, "--key", public)
    assert (done.exit_code, done.stderr) == (0, "")
    for words in ("1 November 2026 09:15:02 UTC  Request received", "dvc remote archive: unreachable", "keyed hash"):
        assert words in done.output
    found = json.loads(run("show", certificate, "--key", public, "--json").stdout)
    assert found["genuine"] is True and found["facts"]["request"] == certified.REQUEST
    done = run("show", certificate, "--html", bare / "page.html", "--key", public)
    assert done.output == f"{bare / 'page.html'}\n"
    assert "Signature checked: genuine" in (bare / "page.html").read_text()


def test_show_says_what_was_not_checked_and_what_is_not_genuine(own, bare, tmp_path):
    certificate, _ = handed_out(own, bare)
    done = run("show", certificate, "--html", bare / "page.html")
    assert done.exit_code == 0 and "Not checked" in done.stderr
    assert "Signature not checked" in (bare / "page.html").read_text()
    stranger = bare / "stranger.pem"
    stranger.write_text(new_key(tmp_path / "stranger.pem").pem)
    done = run("show", certificate, "--html", bare / "page.html", "--key", stranger)
    assert done.exit_code == 1 and "NOT GENUINE" in done.stderr
    assert "NOT genuine" in (bare / "page.html").read_text()
    (bare / "other.json").write_text("{}")
    with pytest.raises(CertificateError, match="no certificate"):
        run("show", bare / "other.json", "--key", stranger)


# -- by request, by batch, by case number -----------------------------------------------------------------------------


def fulfilled(ws, count=2, reference=None):
    """A closed batch whose requests have certificates, and one request that named nobody; the batch and the ids."""
    inbox = open_inbox(ws)
    subjects = [Subject.of(user=f"u-anna-{n}") for n in range(count + 1)]
    ids = [r.request.id for r in inbox.add_all(subjects, references=[reference] * len(subjects))]
    batch = inbox.claim(US).id
    inbox.not_found(batch, US, [ids.pop()])
    inbox.close(batch, US, "unlearned", "pass", {})
    for id in ids:
        issue(ws, certified.facts(request=id))
    return batch, ids


def test_show_and_verify_take_requests_and_batches(own, bare):
    batch, ids = fulfilled(own)
    done = run("show", ids[0], ws=own)
    assert done.exit_code == 0 and f"request {ids[0]}" in done.output
    assert json.loads(run("show", ids[0], "--json", ws=own).stdout)["facts"]["request"] == ids[0]
    found = json.loads(run("show", batch, "--json", ws=own).stdout)
    assert [one["facts"]["request"] for one in found] == ids and all(one["genuine"] for one in found)
    done = run("show", batch, "--html", bare / "all.html", ws=own)
    page = (bare / "all.html").read_text()
    assert done.exit_code == 0 and page.count("<main>") == 2 and page.count("<html") == 1
    assert "Certificates of erasure · 2 requests" in page
    found = json.loads(run("verify", batch, ids[0], "--json", ws=own).stdout)
    assert [one["request"] for one in found] == ids and all(one["genuine"] for one in found)


def test_a_case_number_finds_certificates_and_is_not_repeated(own, bare):
    fulfilled(own)
    _, ids = fulfilled(own, reference="CASE 7/2026")
    found = json.loads(run("verify", "--ref", "CASE 7/2026", "--json", ws=own).stdout)
    assert [one["request"] for one in found] == ids  # without the one that named nobody
    assert run("export", "--ref", "CASE 7/2026", ws=own).stdout == "certificates-of-several\n"
    with pytest.raises(CertificateError, match="No request was filed") as caught:
        run("verify", "--ref", "CASE 8/2026", ws=own)
    assert "8/2026" not in str(caught.value)
    open_inbox(own).add_all([Subject.of(user="u-bert")], references=["B-9"])
    with pytest.raises(CertificateError, match="waits for the next night"):
        run("export", "--ref", "B-9", ws=own)


def test_something_must_be_named(own):
    for command in ("show", "verify", "export"):
        with pytest.raises(CommandError, match="Name a request, a batch or a file"):
            run(command, ws=own)


def test_the_certificates_of_a_batch_are_a_folder_that_can_be_checked_by_itself(own, bare):
    batch, ids = fulfilled(own)
    done = run("export", batch, ws=own)
    folder = bare / f"certificates-{batch}"
    assert done.stdout == f"certificates-{batch}\n"
    assert {file.name for file in folder.iterdir()} == {
        *(f"certificate-{id}.json" for id in ids),
        "certificates.html",
        "keys.pem",
    }
    files = sorted(folder.glob("*.json"))
    assert run("verify", *files, "--key", folder / "keys.pem").exit_code == 0
    assert (folder / "certificates.html").read_text().count("Signature checked: genuine") == 2
    (folder / "notes.txt").write_text("mine")
    assert json.loads(run("export", batch, "--to", folder, "--json", ws=own).stdout)["requests"] == ids
    assert (folder / "notes.txt").read_text() == "mine"
    one = run("export", ids[0], "--to", folder, ws=own)
    assert one.stdout == f"{folder}\n" and (folder / f"certificate-{ids[0]}.json").exists()


def test_a_batch_is_handed_out_whole_or_not_at_all(own, bare):
    batch, ids = fulfilled(own)
    place(own, ids[1]).unlink()
    with pytest.raises(CertificateError, match=r"1 of 2 requests have no certificate\. req-.* `tru erase`"):
        run("export", batch, ws=own)
    assert not (bare / f"certificates-{batch}").exists()


# -- export ------------------------------------------------------------------------------------------------------------


def test_export_writes_the_file_and_prints_where(own, bare):
    request = filed(own)[0]
    issued = issue(own, certified.facts(request=request))
    done = run("export", request, ws=own)
    assert done.stdout == f"certificate-{request}.json\n"
    assert (bare / f"certificate-{request}.json").read_bytes() == issued.read_bytes()
    done = run("export", request, "--to", bare / "other.json", ws=own)
    assert done.stdout == f"{bare / 'other.json'}\n" and verify((bare / "other.json").read_bytes(), trusted(own))
    with pytest.raises(CertificateError, match="cannot be written"):
        run("export", request, "--to", bare / "no folder" / "x.json", ws=own)


def test_export_hands_out_nothing_that_is_not_genuine(own):
    request = filed(own)[0]
    file = issue(own, certified.facts(request=request))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CertificateError, match="changed"):
        run("export", request, ws=own)


@pytest.mark.parametrize("id", ["u-anna-0", "../../params", "req-0000000000000000"])
def test_export_of_what_is_no_request_repeats_nothing(own, id):
    filed(own)
    with pytest.raises(RequestError, match="no request") as caught:
        run("export", id, ws=own)
    assert id not in str(caught.value)


def closed(ws, outcome="unlearned"):
    inbox = open_inbox(ws)
    batch = inbox.claim(US).id
    inbox.advance(batch, US, "promote", "promoted")
    if outcome == "not found":
        inbox.not_found(batch, US, [request.id for request in inbox.list(batch=batch)])
    inbox.close(batch, US, outcome, None if outcome == "not found" else "pass", {})


def working(ws):
    inbox = open_inbox(ws)
    inbox.advance(inbox.claim(US).id, US, "cut", "cut")


def held(ws):
    inbox = open_inbox(ws)
    inbox.hold(inbox.claim(US).id, US, "fail", {})


STANDING = {
    "waits": (lambda ws, id: None, "waits for the next night"),
    "withdrawn": (lambda ws, id: open_inbox(ws).withdraw(id), "was withdrawn"),
    "worked on": (lambda ws, id: working(ws), "stands at “cut”. Next comes the rest of the night"),
    "held": (lambda ws, id: held(ws), "held for a person to decide"),
    "not found": (lambda ws, id: closed(ws, "not found"), "named nobody and nothing"),
    "closed": (lambda ws, id: closed(ws), "not yet destroyed and searched through"),
}


@pytest.mark.parametrize("case", STANDING)
def test_export_says_where_a_request_without_certificate_stands(own, case):
    request = filed(own)[0]
    bring, words = STANDING[case]
    bring(own, request)
    with pytest.raises(CertificateError, match=words) as caught:
        run("export", request, ws=own)
    assert str(caught.value).startswith(request)


# -- list and keys -----------------------------------------------------------------------------------------------------


def test_list_checks_each(own):
    assert "No certificates yet" in run("list", ws=own).output
    assert json.loads(run("list", "--json", ws=own).output) == []
    for n in range(3):
        issue(own, certified.facts(request=f"req-{n:016x}"))
    place(own, f"req-{1:016x}").write_text("{}")
    place(own, f"req-{2:016x}").rename(place(own, f"req-{3:016x}"))
    found = json.loads(run("list", "--json", ws=own).output)
    assert [(row["request"][-1], row["genuine"]) for row in found] == [("0", True), ("1", False), ("3", False)]
    lines = run("list", ws=own).output.splitlines()
    assert [line.split()[-2:] == ["NOT", "GENUINE"] for line in lines] == [False, True, True]


def test_keys_new_show_and_rotate(ws, bare, monkeypatch):
    with pytest.raises(CertificateError, match="no key yet"):
        run("keys", "show", ws=ws)
    done = run("keys", "new", bare / "2026.pem")
    (bare / "a.pem").write_text(done.stdout)
    first = read_public(bare / "a.pem")
    assert len(first) == 1 and first[0].keyid in done.stderr and KEY_VARIABLE in done.stderr
    assert "PRIVATE" not in done.output
    monkeypatch.setenv(KEY_VARIABLE, str(bare / "2026.pem"))
    certificate = issue(ws, certified.facts())
    (bare / "b.pem").write_text(run("keys", "rotate", bare / "2027.pem", ws=ws).stdout)
    monkeypatch.setenv(KEY_VARIABLE, str(bare / "2027.pem"))
    done = run("keys", "show", ws=ws)
    (bare / "all.pem").write_text(done.stdout)
    assert read_public(bare / "all.pem") == [*read_public(bare / "b.pem"), *first]
    assert done.stderr.splitlines()[0].startswith("present key")
    assert run("verify", certificate, "--key", bare / "all.pem").exit_code == 0


def test_rotating_without_a_key_of_ones_own_replaces_the_development_key(ws, bare):
    certificate = issue(ws, certified.facts())
    done = run("keys", "rotate", ws=ws)
    assert "development key" in done.stderr and len(trusted(ws)) == 2
    assert run("verify", certificate, ws=ws).exit_code == 0


def test_nothing_heavy_is_imported_to_verify():
    heavy = "('pandas', 'numpy', 'sqlalchemy', 'mlflow', 'dvc', 'torch', 'cryptography', 'jinja2')"
    script = f"import sys, tru.cli.certificate; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
