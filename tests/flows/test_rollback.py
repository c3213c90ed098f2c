import pytest

from flows.rollback import rollback
from tru.errors import Busy, ReleaseError
from tru.ops import locks
from tru.ops.flows import run
from tru.ops.release import champion
from tru.ops.release.registry import Registry


def test_the_outcome_is_the_version_that_serves_now(workspace, trained):
    first = Registry(trained).champion()
    again = Registry(trained).register(_copy_of(trained, first), first.tags)
    champion.crown(trained, again.version, "trained")

    found = rollback(workspace=str(trained.root), reason="lists were empty")

    assert found == {"version": first.version, "data_md5": first.tags["tru.data_md5"]}
    assert Registry(trained).champion().version == first.version


def test_a_refusal_is_final_and_lists_what_is_eligible(workspace, trained):
    state = rollback(version="77", workspace=str(trained.root), return_state=True)
    assert state.is_failed() and "Eligible versions: none" in state.message
    with pytest.raises(ReleaseError, match="no version of that number"):
        run(trained, "rollback", version="77")


def test_a_second_run_ends_at_once_as_cancelled_and_says_why(workspace, trained):
    with locks.serving(trained):
        state = rollback(workspace=str(trained.root), return_state=True)
        assert state.is_cancelled() and "a rollback" in state.message
        with pytest.raises(Busy, match="a rollback"):
            run(trained, "rollback")


def _copy_of(ws, version):
    return Registry(ws).log_run(
        "again",
        key="again",
        data_md5=version.tags["tru.data_md5"],
        metrics={},
        params={},
        tags=version.tags,
        model_dir=Registry(ws).model_dir(version.version),
    )
