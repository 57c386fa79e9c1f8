"""Which system calls lead outside, the errors they are made to fail with, and by which tests.

``python -m tests.faults.calls`` writes the table of docs/fuzzing.rst. What a relay calls besides is
named here as well, with the reason why it is not made to fail: a test compares both with what the
kernel sees a relay do.
"""

from __future__ import annotations

from typing import NamedTuple


class Call(NamedTuple):
    """One way outside."""

    name: str
    """As the page has it."""
    calls: str
    """As strace wants it: names of system calls, with a ``?`` where not every machine has it."""
    errors: tuple[str, ...]
    """What it may meet, the most likely first."""

    now_and_then: bool = False
    """By a timer, so that the scenario may be over before it."""
    datagrams_only: bool = False
    """Without stream connections, whose sockets Twisted's reactor cares for."""

    @property
    def names(self) -> set[str]:
        """Of the system calls."""
        return set(self.calls.replace("?", "").split(","))


ALONE = (
    Call("socket", "socket", ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")),
    Call("bind", "bind", ("EADDRINUSE", "EACCES", "EADDRNOTAVAIL", "ENOMEM")),
    Call("setsockopt", "setsockopt", ("ENOMEM", "EPERM")),
    Call("sendto", "sendto", ("EPERM", "ENOBUFS", "ENETUNREACH", "ENOMEM", "EAGAIN", "EINTR")),
    Call("recvfrom", "recvfrom", ("ECONNREFUSED", "ENOMEM", "EAGAIN", "EINTR")),
    Call("accept", "?accept,accept4", ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ECONNABORTED")),
    Call(
        "open",
        "openat",
        ("EMFILE", "ENFILE", "ENOSPC", "EDQUOT", "EIO", "EROFS", "ENOMEM", "EACCES", "EINTR"),
    ),
    Call("read", "read", ("EIO", "EINTR")),
    Call("pread", "pread64", ("EIO", "EINTR")),
    Call("write", "write", ("ENOSPC", "EDQUOT", "EIO", "EROFS", "ENOMEM", "EINTR")),
    Call("ftruncate", "ftruncate", ("EIO", "EROFS", "EINTR")),
    Call("rename", "?rename,?renameat,?renameat2", ("EIO", "EROFS", "ENOSPC", "EDQUOT", "ENOMEM")),
    Call("unlink", "?unlink,?unlinkat", ("EIO", "EROFS", "EPERM")),
    Call("stat", "?newfstatat,?fstat,?statx", ("EIO", "ENOMEM")),
    Call("statfs", "statfs", ("EIO", "EINTR"), now_and_then=True),
    Call("flock", "flock", ("ENOLCK", "EINTR")),
    Call("epoll_ctl", "epoll_ctl", ("ENOMEM", "ENOSPC"), datagrams_only=True),
)
"""Of a relay that talks to nobody but its callers and its disk."""

TELLING = (
    Call("bpf", "bpf", ("ENOMEM", "EPERM", "E2BIG", "EAGAIN", "EINTR")),
    Call("socket, telling others", "socket", ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")),
    Call("connect", "connect", ("ECONNREFUSED", "ENETUNREACH", "EADDRNOTAVAIL", "ETIMEDOUT")),
    Call("send, telling others", "sendto", ("ENOBUFS", "EPIPE", "ECONNRESET", "ENOMEM", "EINTR")),
    Call("recv, hearing others", "recvfrom", ("ECONNRESET", "ENOMEM", "ETIMEDOUT", "EINTR")),
)
"""Of one with calls in the kernel, a Redis and a web hook, whose connections end all the time."""

SPARED = {
    "close": "the descriptor is gone all the same, which an injected failure is not like",
    "epoll_wait": "fails with EINTR only, as the next one",
    "poll": "waits for a socket, as every signal interrupts it",
    "futex": "locks between threads",
    "shutdown": "fails where nobody is at the other end any more, as rows B8 and D3 have it",
    "lseek": "fails for what is no file only",
    "ioctl": "asks whether a file is a terminal, and says no",
    "fcntl": "flags of a descriptor that is open",
    "getsockname": "of a socket that is open",
    "getpeername": "the peer may be gone, as row B8 has it",
    "getsockopt": "of a socket that is open",
    "getrandom": "cannot fail where it does not wait",
    "prlimit64": "reads our own limit",
    "gettid": "cannot fail",
    "getpid": "cannot fail",
    "rt_sigreturn": "cannot fail",
    "restart_syscall": "goes on with what was interrupted",
    "sched_yield": "cannot fail",
    "clock_nanosleep": "waits",
    "mmap": "memory: row C5",
    "munmap": "memory: row C5",
    "mremap": "memory: row C5",
    "mprotect": "memory: row C5",
    "madvise": "memory: row C5",
    "brk": "memory: row C5",
}
"""What a relay calls besides, and why it is not made to fail."""

SPARED_ALONE = {
    "connect": "ports of settled calls; tests/media/test_epoll_plane.py refuses them",
}
"""What is made to fail in a relay that talks to others, but not in one of ``ALONE``."""
