"""`sweeps.execution.worker_loop`: what a worker answers when an order fails. Tests of sweeps cover the rest."""

from sweeps.execution.mailbox import Answer
from sweeps.execution.worker_loop import explain
from tce_core.checkpoint import CannotSave
from tce_core.errors import UserError


def test_memory_that_has_run_out_is_named_whoever_asked_for_it():
    assert explain(MemoryError()) == (Answer(error="out of memory"), False)
    torchs = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried\nto allocate 9 bytes")
    assert explain(torchs)[0].error.startswith("out of memory: [enforce fail] DefaultCPUAllocator")
    assert "\n" not in explain(torchs)[0].error


def test_a_bug_keeps_its_traceback():
    try:
        {}["lr"]
    except KeyError as error:
        answer, alike = explain(error)
    lines = answer.error.splitlines()
    assert lines[0] == "KeyError: 'lr'"
    assert lines[1].startswith("Traceback")
    assert not alike


def test_what_the_trial_is_to_blame_for_and_what_it_is_not():
    assert explain(UserError("no such encoder")) == (Answer(error="no such encoder"), True)
    assert explain(CannotSave("no space")) == (Answer(fatal="no space"), False)
