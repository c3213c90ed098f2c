import subprocess
import sys

from tru.ops.requests import owner
from tru.ops.requests.owner import is_dead, this_owner


def test_this_process_lives():
    assert not is_dead(this_owner())
    assert this_owner() == this_owner()


def test_a_process_that_ended_is_dead_even_before_it_is_reaped():
    code = "from tru.ops.requests.owner import this_owner; print(this_owner(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        name = child.stdout.readline().strip()
        assert not is_dead(name)
        child.kill()
        child.stdout.read()  # ends with the process, which is a zombie now
        for _ in range(1000):
            if is_dead(name):
                break
        assert is_dead(name)
    assert is_dead(name)


def test_who_cannot_be_judged_is_not_called_dead():
    host, pid, _ = this_owner().rsplit(":", 2)
    for name in ("", "me", "other-host:1:1", f"{host}:x:1", f"x{host}:{pid}:1"):
        assert not is_dead(name)


def test_without_proc_the_pid_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(owner, "_PROC", tmp_path)
    assert not is_dead(this_owner())
    host, _, start = this_owner().rsplit(":", 2)
    assert is_dead(f"{host}:{2**22 + 1}:{start}")
