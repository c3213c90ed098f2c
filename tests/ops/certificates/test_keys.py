import stat
import subprocess

import pytest

from tru.errors import CertificateError
from tru.ops.certificates.keys import (
    KEY_VARIABLE,
    PASSWORD_VARIABLE,
    new_key,
    present,
    read_public,
    rotate,
    signing_key,
    trust,
    trusted,
)
from tru.ops.workspace import Workspace


@pytest.fixture
def ws(tmp_path, monkeypatch):
    for name in (KEY_VARIABLE, PASSWORD_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "params.yaml").write_text("")
    return Workspace(tmp_path)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_development_key_is_made_once_and_for_its_owner_only(ws):
    assert present(ws) is None and trusted(ws) == [] and not ws.state.exists()
    first = signing_key(ws)
    assert first.kind == "development" and signing_key(ws).public == first.public == present(ws)
    assert trusted(ws) == [first.public]
    folder = ws.state / "signing"
    assert mode(folder) == 0o700 and mode(folder / "development.pem") == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["development.pem", "trusted"]
    assert first.public.has_signed(b"words", first.sign(b"words"))
    assert not first.public.has_signed(b"other words", first.sign(b"words"))


def test_a_key_shows_nothing_of_its_secret(ws):
    key = signing_key(ws)
    assert "_secret" not in repr(key) and "Private" not in repr(key)


@pytest.mark.parametrize("password", ["", "of my own", "ünï"])
def test_a_key_of_ones_own_with_and_without_a_password(ws, tmp_path, monkeypatch, password):
    file = tmp_path / "own.pem"
    monkeypatch.setenv(PASSWORD_VARIABLE, password)
    made = new_key(file)
    assert mode(file) == 0o600 and (b"ENCRYPTED" in file.read_bytes()) == bool(password)
    monkeypatch.setenv(KEY_VARIABLE, str(file))
    key = signing_key(ws)
    assert (key.kind, key.public) == ("own", made)
    assert trusted(ws) == [made] and not (ws.state / "signing" / "development.pem").exists()
    if password:
        monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
        with pytest.raises(CertificateError, match="not the password"):
            signing_key(ws)
        monkeypatch.delenv(PASSWORD_VARIABLE)
        with pytest.raises(CertificateError, match=PASSWORD_VARIABLE):
            signing_key(ws)


def test_a_password_that_is_not_needed_does_not_hurt(ws, tmp_path, monkeypatch):
    made = new_key(tmp_path / "own.pem")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "own.pem"))
    monkeypatch.setenv(PASSWORD_VARIABLE, "for the next one")
    assert signing_key(ws).public == made


def test_a_key_made_by_openssl_will_do(ws, tmp_path, monkeypatch):
    file = tmp_path / "own.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", file], check=True, capture_output=True)
    public = subprocess.run(["openssl", "pkey", "-in", file, "-pubout"], check=True, capture_output=True).stdout
    monkeypatch.setenv(KEY_VARIABLE, str(file))
    assert signing_key(ws).public.pem.encode() == public
    raw = subprocess.run(
        ["openssl", "pkey", "-in", file, "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout[-32:]
    keyid = subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=raw, check=True, capture_output=True).stdout
    assert signing_key(ws).public.keyid == keyid.decode().split()[0]


def test_the_development_key_under_another_name_is_no_better(ws, monkeypatch):
    signing_key(ws)
    link = ws.root / "production.pem"
    link.symlink_to(ws.state / "signing" / "development.pem")
    monkeypatch.setenv(KEY_VARIABLE, str(link))
    assert signing_key(ws).kind == "development"


def test_a_key_is_never_overwritten(tmp_path):
    new_key(tmp_path / "own.pem")
    before = (tmp_path / "own.pem").read_bytes()
    with pytest.raises(CertificateError, match="never overwritten"):
        new_key(tmp_path / "own.pem")
    assert (tmp_path / "own.pem").read_bytes() == before
    with pytest.raises(CertificateError, match="cannot be written"):
        new_key(tmp_path / "no folder" / "own.pem")
    assert [path.name for path in tmp_path.iterdir()] == ["own.pem"]


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_said_so(ws, tmp_path, monkeypatch, content):
    (tmp_path / "own.pem").write_bytes(content)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "own.pem"))
    with pytest.raises(CertificateError, match=r"own\.pem"):
        signing_key(ws)
    with pytest.raises(CertificateError, match=r"own\.pem"):
        read_public(tmp_path / "own.pem")


def test_other_kinds_of_keys_and_missing_files_are_said_so(ws, tmp_path, monkeypatch):
    file, public = tmp_path / "rsa.pem", tmp_path / "rsa.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", file], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", file, "-pubout", "-out", public], check=True, capture_output=True)
    monkeypatch.setenv(KEY_VARIABLE, str(file))
    with pytest.raises(CertificateError, match="not an Ed25519 key"):
        signing_key(ws)
    with pytest.raises(CertificateError, match="not an Ed25519 key"):
        read_public(public)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "gone.pem"))
    with pytest.raises(CertificateError, match="cannot be read"):
        signing_key(ws)
    assert trusted(ws) == []


def test_a_private_key_is_not_taken_for_a_public_one(tmp_path):
    new_key(tmp_path / "own.pem")
    with pytest.raises(CertificateError, match="private key"):
        read_public(tmp_path / "own.pem")


def test_a_file_of_several_public_keys(tmp_path):
    made = [new_key(tmp_path / f"{n}.pem") for n in range(3)]
    (tmp_path / "all.pem").write_text("keys of the shop\n" + "\n".join(key.pem for key in made))
    assert read_public(tmp_path / "all.pem") == made


def test_rotating_the_development_key_keeps_the_old_public_half(ws):
    first = signing_key(ws)
    made = rotate(ws)
    second = signing_key(ws)
    assert second.public == made != first.public and second.kind == "development"
    assert set(trusted(ws)) == {first.public, made}
    assert mode(ws.state / "signing" / "development.pem") == 0o600
    with pytest.raises(CertificateError, match="no key of your own"):
        rotate(ws, ws.root / "next.pem")
    assert signing_key(ws) == second


def test_rotating_ones_own_key_writes_the_next_one(ws, tmp_path, monkeypatch):
    first = new_key(tmp_path / "2026.pem")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "2026.pem"))
    with pytest.raises(CertificateError, match="rotate FILE"):
        rotate(ws)
    made = rotate(ws, tmp_path / "2027.pem")
    assert signing_key(ws).public == first != made and set(trusted(ws)) == {first, made}
    with pytest.raises(CertificateError, match="never overwritten"):
        rotate(ws, tmp_path / "2027.pem")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "2027.pem"))
    assert signing_key(ws).public == made


def test_trusting_twice_changes_nothing(ws):
    key = signing_key(ws).public
    trust(ws, key)
    assert trusted(ws) == [key]
