"""`sweeps.execution.worker_loop`: what a worker answers when an order fails. Tests of whole sweeps cover the rest."""

from sweeps.execution.mailbox import Answer
from sweeps.execution.worker_loop import explain
from tce_core.checkpoint import CannotSave
from tce_core.errors import UserError


def test_out_of_memory_is_named_for_an_error_of_python_and_of_torch():
    assert explain(MemoryError()) == (Answer(error="out of memory"), False)
    of_torch = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried\nto allocate 9 bytes")
    assert explain(of_torch)[0].error.startswith("out of memory: [enforce fail] DefaultCPUAllocator")
    assert "\n" not in explain(of_torch)[0].error


def test_a_bug_keeps_its_traceback():
    try:
        {}["lr"]
    except KeyError as error:
        answer, all_ranks_alike = explain(error)
    lines = answer.error.splitlines()
    assert lines[0] == "KeyError: 'lr'"
    assert lines[1].startswith("Traceback")
    assert not all_ranks_alike


def test_a_bad_setting_fails_the_trial_and_a_full_disk_is_fatal():
    """A bad setting fails one trial. A checkpoint that cannot be written is no trial's fault and ends the sweep."""
    assert explain(UserError("no such encoder")) == (Answer(error="no such encoder"), True)
    assert explain(CannotSave("no space")) == (Answer(fatal="no space", temporary=True), False)
