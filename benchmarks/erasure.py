"""Whether the erasure reaches everything: ``python -m benchmarks.erasure [--data PATH] [--kills 20] [--s3]``.

A workspace with a champion, a baseline, a reproduced pipeline and a DVC remote has one night of requests. Everything
is searched for them, erased, and searched again; then a fresh clone has to work, an old commit must not, and the
certificates are checked by a process that has nothing but the public key. With ``--kills`` the erasure is also killed
at random moments and run again. With ``--s3`` a second remote of the data and MLflow's artifacts lie in a versioned
bucket of a local server (moto). Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import CommandFailed, Tru, fresh_workspace, parse_settings
from benchmarks.endings import Check
from benchmarks.folders import claim
from benchmarks.mixes import mix, write
from benchmarks.provenance import provenance
from tru.data.interactions import load_dataset
from tru.errors import TruError
from tru.ops.allocator import keep_temporaries
from tru.ops.erasure.places import folder as traces_folder
from tru.ops.erasure.search.scan import sightings
from tru.ops.erasure.search.traces import Traces
from tru.ops.requests.store import open_inbox
from tru.ops.workspace import Workspace

FLIPS = 1000
"""Single-byte changes of certificates, each of which must be refused."""
BUCKET = "tru-erasure"


@dataclass(frozen=True)
class Scene:
    """One workspace before, during and after its erasure.

    Attributes:
        folder: of everything.
        tru: the command in the workspace.
        seed: of the random mix and the moments of killing.
    """

    folder: Path
    tru: Tru
    seed: int

    @property
    def ws(self) -> Workspace:
        """The workspace."""
        return Workspace(self.tru.root)

    @property
    def plan(self) -> Path:
        """The file of requests, which the scan afterwards is given."""
        return self.folder / "requests.json"

    def build(self, data: Path | None, requests: int, settings: dict[str, object], s3: str | None) -> str:
        """All that a night leaves behind, with nothing erased; the batch's id."""
        fresh_workspace(self.tru, data, {"erasure.automatic": False, **settings})
        self._remotes(s3)
        if s3:
            from mlflow.tracking import MlflowClient

            MlflowClient(self.ws.tracking_uri).create_experiment("tru", artifact_location=f"s3://{BUCKET}/mlflow")
        _say("train, baseline, dvc repro, dvc push …")
        self.tru.do("train", log="train")
        self.tru.do("baseline", log="baseline")
        self.dvc("repro")
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", "The pipeline")
        self.dvc("push", "--run-cache", "--all-commits")
        if s3:
            self.dvc("push", "--run-cache", "--all-commits", "--remote", "bucket")
        write(self.plan, mix(load_dataset(self.ws.data), requests, np.random.default_rng(self.seed)))
        self.tru.do("requests", "import", str(self.plan), log="file")
        _say(f"a night of {requests} requests …")
        self.tru.do("run", log="run")
        batch = open_inbox(self.ws).last_batch()
        if batch is None or batch.outcome not in ("unlearned", "retrained"):
            raise CommandFailed("the night forgot nobody.")
        return batch.id

    def _remotes(self, s3: str | None) -> None:
        self.dvc("remote", "add", "--default", "disk", str(self.folder / "remote"))
        if s3:
            self.dvc("remote", "add", "bucket", f"s3://{BUCKET}/dvc")
            self.dvc("remote", "modify", "bucket", "endpointurl", s3)
        self.git("add", ".dvc/config")
        self.git("commit", "--quiet", "-m", "Remotes")

    def scan(self, batch: str, *, with_file: bool) -> list[dict[str, Any]]:
        """What ``tru scan`` finds, store by store."""
        words = ["--subjects", str(self.plan)] if with_file else []
        self.tru.call("scan", "--batch", batch, *words, "--json", log="scan")
        return list(json.loads((self.tru.logs / "scan.out").read_text()))

    def dvc(self, *words: str, at: Path | None = None, check: bool = True) -> int:
        """Run DVC's own command."""
        return self._call([sys.executable, "-m", "dvc", *words], at, check)

    def git(self, *words: str, at: Path | None = None, check: bool = True) -> int:
        """Run git."""
        author = ("-c", "user.name=tru", "-c", "user.email=tru@localhost")
        return self._call(["git", *author, *words], at, check)

    def _call(self, command: list[str], at: Path | None, check: bool) -> int:
        bin_first = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {**os.environ, "PATH": bin_first, "TRU_WORKSPACE": str(at or self.tru.root)}
        done = subprocess.run(command, cwd=at or self.tru.root, env=env, capture_output=True, text=True, check=False)
        if check and done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise CommandFailed(f"`{' '.join(command[-4:])}` failed: {' '.join(last)}")
        return done.returncode


def measure(
    folder: Path,
    data: Path | None,
    requests: int,
    kills: int,
    settings: dict[str, object],
    *,
    s3: str | None,
    seed: int = 0,
) -> dict[str, Any]:
    """Build, search, erase, search again, and look at everything that must still work.

    Args:
        folder: where everything is kept.
        data: what to import; None for the built-in data.
        requests: of the night.
        kills: how often the erasure is killed and run again.
        settings: changes of ``params.yaml``.
        s3: address of an S3 server; None for local folders only.
        seed: of the random mix and the moments of killing.

    Raises:
        CommandFailed: a command did not work.
    """
    scene = Scene(folder, Tru(folder / "workspace", folder / "logs"), seed)
    batch = scene.build(data, requests, settings, s3)
    ds = load_dataset(scene.ws.data)
    old = _old_commit(scene)
    before, each = scene.scan(batch, with_file=False), _each_found(scene.ws, batch)
    shutil.copytree(folder / "workspace", folder / "before", symlinks=True)
    shutil.copytree(folder / "remote", folder / "remote-before")
    planned = scene.tru.ask("erase", "--plan", log="plan")
    _say("the erasure …")
    started = time.monotonic()
    done = scene.tru.ask("erase", log="erase")
    seconds = time.monotonic() - started
    after = scene.scan(batch, with_file=True)
    checks = [
        _found_before(before),
        each,
        _nothing_after(after),
        *_still_works(scene, old),
        _certificates(scene, requests),
        *([_killed(scene, kills, seconds)] if kills else []),
    ]
    return {
        "passed": all(check.passed for check in checks),
        "checks": [{"name": c.name, "passed": c.passed, "words": c.words} for c in checks],
        "stores": _side_by_side(before, after),
        "destroyed": done["destroyed"],
        "unreachable": done["unreachable"],
        "planned": planned["destroy"],
        "seconds": round(seconds, 1),
        "requests": requests,
        "seed": seed,
        "s3": bool(s3),
        **provenance(ds),
    }


def _found_before(before: list[dict[str, Any]]) -> Check:
    found = [row["store"] for row in before if row["state"] == "found"]
    return Check("found before", len(found) > 0, f"traces in {len(found)} of {len(before)} stores: {', '.join(found)}")


def _each_found(ws: Workspace, batch: str) -> Check:
    """Before the erasure no subject may escape the search. Not every form of a vector lies on a disk."""
    traces = Traces.load(traces_folder(ws, batch))
    named = traces.subjects
    wanted: set[tuple[str, ...]] = {("user", user) for user in named.users} | {("item", item) for item in named.items}
    wanted |= {("pair", *pair) for pair in named.pairs} | {("modality", *pair) for pair in named.modalities}
    seen = [sighting.tags for sighting in sightings(ws, traces)]
    lacking = sum(not any(tag in tags for tags in seen) for tag in wanted)
    vectors = sum(any(("vector", str(k)) in tags for tags in seen) for k in range(len(traces.vectors)))
    words = f"{len(wanted) - lacking} of {len(wanted)} subjects, {vectors} of {len(traces.vectors)} vectors are found"
    return Check("each found before", not lacking, words)


def _nothing_after(after: list[dict[str, Any]]) -> Check:
    left = [f"{row['store']} ({row['state']})" for row in after if row["state"] != "not found"]
    return Check("nothing after", not left, ", ".join(left) or f"nothing in {len(after)} stores")


def _side_by_side(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    then = {row["store"]: row for row in before}
    now = {row["store"]: row for row in after}
    return [
        {"store": name, "before": then.get(name, {}).get("count", 0), "after": now.get(name, {}).get("count", 0)}
        for name in dict.fromkeys([*then, *now])
    ]


def _old_commit(scene: Scene) -> str:
    """The commit of the data before the cut."""
    done = subprocess.run(
        ["git", "log", "--format=%H", "--", "data.dvc"], cwd=scene.tru.root, capture_output=True, text=True, check=True
    )
    return done.stdout.split()[1]


def _still_works(scene: Scene, old: str) -> list[Check]:
    """What the erasure must not have taken: clone and pull, the champion, the pipeline; and what it must have taken."""
    _say("clone, pull, recommend, repro, and an old commit …")
    user = str(load_dataset(scene.ws.data).users[0])
    codes = {
        "the champion serves": scene.tru.call("recommend", "--user", user, log="recommend"),
        "status": scene.tru.call("status", log="status"),
        "the baseline is whole": scene.tru.call("baseline", "--show", log="baseline-show"),
        "the ledger is whole": scene.tru.call("ledger", "verify", "--against", log="ledger"),
        "dvc repro": scene.dvc("repro", check=False),
    }
    clone = scene.folder / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    codes["a fresh clone"] = scene.git("clone", "--quiet", str(scene.tru.root), str(clone))
    codes["dvc pull in it"] = scene.dvc("pull", "data.dvc", at=clone, check=False)
    works = [Check(name, code == 0, "works" if code == 0 else "fails") for name, code in codes.items()]
    return [*works, _old_is_gone(scene, clone, old)]


def _old_is_gone(scene: Scene, clone: Path, old: str) -> Check:
    """No command of DVC brings the old commit's data back, neither in a clone nor in the workspace."""
    back = []
    for place in (clone, scene.tru.root):
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=place, capture_output=True, text=True, check=True
        ).stdout
        scene.git("stash", "--quiet", at=place, check=False)
        scene.git("checkout", "--quiet", old, at=place)
        ways = (
            ["fetch", "--all-commits"],
            ["fetch", "data.dvc"],
            ["checkout", "--force", "data.dvc"],
            ["pull", "data.dvc"],
        )
        for words in ways:
            code = scene.dvc(*words, at=place, check=False)
            if code == 0 and words[0] in ("checkout", "pull"):
                back.append(f"dvc {' '.join(words)}")
        to = scene.folder / "got"
        shutil.rmtree(to, ignore_errors=True)
        if scene.dvc("get", str(place), "data", "--rev", old, "-o", str(to), at=scene.folder, check=False) == 0:
            back.append("dvc get")
        scene.git("checkout", "--quiet", "--force", head.strip(), at=place)
        scene.git("switch", "--quiet", "-", at=place, check=False)
        scene.dvc("checkout", "--force", "data.dvc", at=place)
    return Check("the old commit's data is gone", not back, "; ".join(back) or "no DVC command brings it back")


def _certificates(scene: Scene, requests: int) -> Check:
    """Each verifies in a process with the public key alone; no changed byte passes."""
    _say("certificates …")
    key = scene.folder / "public.pem"
    key.write_text(scene.tru.do("certificate", "keys", "show", log="keys"))
    files = sorted((scene.ws.state / "certificates").glob("*.json"))
    elsewhere = scene.folder / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    elsewhere.mkdir()
    refused_at_first = 0
    for file in files:
        copy = shutil.copy(file, elsewhere)
        command = [sys.executable, "-m", "tru.cli.main", "certificate", "verify", str(copy), "--key", str(key)]
        refused_at_first += subprocess.run(command, cwd=elsewhere, capture_output=True, check=False).returncode != 0
    from tru.errors import CertificateError
    from tru.ops.certificates import read_public, verify

    draw, passed, keys = random.Random(scene.seed), 0, read_public(key)
    for _ in range(FLIPS if files else 0):
        words = bytearray(draw.choice(files).read_bytes())
        words[draw.randrange(len(words))] ^= draw.randrange(1, 256)
        try:
            verify(bytes(words), keys)
            passed += 1
        except CertificateError:
            pass
    fulfilled = [r for r in open_inbox(scene.ws).list() if r.outcome in ("unlearned", "retrained")]
    good = bool(files) and len(files) == len(fulfilled) and not refused_at_first and not passed
    words_ = f"{len(files)} for {len(fulfilled)} fulfilled of {requests} requests, {refused_at_first} do not verify; "
    return Check("certificates", good, words_ + f"{passed} of {FLIPS} changed bytes pass")


def _killed(scene: Scene, kills: int, seconds: float) -> Check:
    """Kill the erasure at random moments, run it again, and look for what is left and for what is lost."""
    draw, faults, moments = random.Random(scene.seed + 1), [], []
    for number in range(kills):
        for name, kept in (("workspace", "before"), ("remote", "remote-before")):
            shutil.rmtree(scene.folder / name)
            shutil.copytree(scene.folder / kept, scene.folder / name, symlinks=True)
        moment = draw.uniform(0.0, 1.1 * seconds)
        moments.append(round(moment, 1))
        process = scene.tru.start("erase", log=f"killed-{number}")
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        code = scene.tru.call("erase", log=f"again-{number}")
        faults += [f"kill {number + 1} at {moment:.1f} s: {fault}" for fault in _faults(scene, code)]
        _say(f"kill {number + 1} of {kills} at {moment:.1f} s: {'clean' if not faults else faults[-1]}")
    return Check("killed", not faults, "; ".join(faults) or f"{kills} kills at {moments} s: clean after one more run")


def _faults(scene: Scene, code: int) -> Iterator[str]:
    """What is not as it should be after an erasure."""
    if code:
        yield f"the rerun ended with {code}: {scene.tru.said(sorted(scene.tru.logs.glob('again-*.err'))[-1].stem)}"
        return
    batch = open_inbox(scene.ws).last_batch()
    if any(row["state"] != "not found" for row in scene.scan(batch.id if batch else "", with_file=True)):
        yield "something is left"
    user = str(load_dataset(scene.ws.data).users[0])
    if scene.tru.call("recommend", "--user", user, log="recommend"):
        yield "the champion does not serve"
    if scene.tru.call("ledger", "verify", "--against", log="ledger"):
        yield "the ledger is damaged"
    clone = scene.folder / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    scene.git("clone", "--quiet", str(scene.tru.root), str(clone))
    if scene.dvc("pull", "data.dvc", at=clone, check=False):
        yield "a clone cannot pull the data"
    fulfilled = [r for r in open_inbox(scene.ws).list() if r.outcome in ("unlearned", "retrained")]
    if len(fulfilled) != len(list((scene.ws.state / "certificates").glob("*.json"))):
        yield "certificates are missing"


@contextmanager
def bucket_server(folder: Path) -> Iterator[str]:
    """An S3 server on this machine with one versioned bucket, and MLflow in front of it; its address."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    os.environ |= {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    os.environ["MLFLOW_S3_ENDPOINT_URL"] = address
    client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    try:
        yield address
    finally:
        server.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if everything held."""
    keep_temporaries()
    given = _arguments(arguments)
    if given.s3 and given.kills:
        sys.exit("Error: --kills starts from a copy of all folders, and a bucket is none. Leave out --s3 or --kills.")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder, settings = (given.folder or Path(scratch)).resolve(), parse_settings(given.set)
            claim(folder)
            if given.s3:
                with bucket_server(folder) as address:
                    found = measure(
                        folder, given.data, given.requests, given.kills, settings, s3=address, seed=given.seed
                    )
            else:
                found = measure(folder, given.data, given.requests, given.kills, settings, s3=None, seed=given.seed)
    except TruError as error:
        sys.exit(f"Error: {error}")
    print(json.dumps(found, indent=2))
    return int(not found["passed"])


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.erasure", description=str(__doc__).partition(":")[0])
    parser.add_argument("--data", type=Path, metavar="PATH", help="a data set to import (default: the built-in one)")
    parser.add_argument("--requests", type=int, default=20, help="of the night (20)")
    parser.add_argument("--kills", type=int, default=0, help="how often to kill the erasure (0)")
    parser.add_argument("--s3", action="store_true", help="with a versioned bucket of a local server")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="an empty folder to keep everything in")
    parser.add_argument("--seed", type=int, default=0, help="of the random mix and the moments of killing (0)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as in train.epochs=12")
    return parser.parse_args(given)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
