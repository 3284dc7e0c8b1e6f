"""Samples of perf are put where they belong, without perf."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks import where

TEXT = """python 10/10 1.000000: PERF_RECORD_FORK(11:11):(10:10)
python 11/11 1.000100:     500250 cpu-clock:
\tffffffff81 clear_page
\tffffffff82 exc_page_fault
\tffffffff83 asm_exc_page_fault
\t00000005 _PyEval_EvalFrameDefault

kworker/u4:1 9/9 1.000200:     500250 cpu-clock:
\tffffffff81 synchronize_rcu
\tffffffff82 cleanup_net
"""


def test_heads_and_stacks_are_read():
    found = list(where.samples(TEXT))
    assert ["FORK" in head for head, _ in found] == [True, False, False]
    assert found[1][1][:2] == ["clear_page", "exc_page_fault"]


@pytest.mark.parametrize(
    ("stack", "command", "pid", "kind"),
    [
        (["clear_page", "exc_page_fault"], "python", 11, "page faults, entry and the rest"),
        (["copy_mc", "wp_page_copy", "exc_page_fault"], "python", 11, "page faults, copies of pages written after a fork"),
        (["setup_net", "copy_net_ns", "__x64_sys_clone3", "do_syscall_64"], "python", 11, "network namespace"),
        (["dup_mm", "copy_process", "__do_sys_clone", "do_syscall_64"], "python", 11, "fork"),
        (["_PyEval"], "python", 10, "Python of the caller"),
        (["_PyEval"], "python", 20, "Python of the launcher"),
        (["_PyEval"], "python", 11, "user code of the sandbox before exec"),
        (["main"], "true", 11, "the program itself"),
        (["cleanup_net"], "kworker/u4:1", 9, "network namespace, later by kernel workers"),
        (["blk_done"], "kworker/u4:1", 9, ""),
        (["exc_page_fault"], "python", 99, ""),
        (["frobnicate", "do_syscall_64"], "python", 11, "other system calls"),
    ],
)
def test_a_sample_goes_where_it_belongs(stack, command, pid, kind):
    driver = SimpleNamespace(process=SimpleNamespace(pid=10), launcher=20)
    assert where.kind_of(stack, command, pid, {10, 11, 20}, driver) == kind
