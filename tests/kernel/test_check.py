"""Proving on request that the fast path works, or finding out why it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rtpproxy_tw.media.kernel import bpf_syscall as bpf
from rtpproxy_tw.media.kernel import capabilities
from rtpproxy_tw.media.kernel.check import check, main
from tests.kernel.network import Namespace, require_namespaces
from tests.kernel.privileges import EVERY_NEEDED, in_thread
from tests.kernel.programs import counting

pytestmark = pytest.mark.kernel


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_it_is_proved_with_packets_and_leaves_nothing() -> None:
    require_namespaces()
    namespace = Namespace("check")
    before = descriptors()
    try:
        with namespace:
            verdict = check()
            assert verdict.works, str(verdict)
            assert [line.split(":")[0] for line in verdict.details[1:]] == [
                "devices",
                "IPv4",
                "IPv6",
            ]
        assert descriptors() == before
    finally:
        namespace.delete()


def test_a_program_that_stands_before_it_is_found_out() -> None:
    require_namespaces()
    namespace = Namespace("check")
    try:
        with namespace:
            program, _ = counting(0)  # takes everything for itself
            link = bpf.attach(program, 1)
            verdict = check()
            os.close(link)
            os.close(program)
        assert not verdict.works
        assert "does not relay" in verdict.sentence
        assert "Another eBPF program" in str(verdict)
    finally:
        namespace.delete()


def test_without_privileges_the_verdict_names_them() -> None:
    def work() -> None:
        capabilities.give_up(*EVERY_NEEDED)
        verdict = check()
        assert not verdict.works
        assert "CAP_BPF" in verdict.remedy

    in_thread(work)


def test_the_verdict_can_be_had_from_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    require_namespaces()
    namespace = Namespace("check")
    try:
        with namespace:
            assert main() == 0
    finally:
        namespace.delete()
    assert "works here" in capsys.readouterr().out
