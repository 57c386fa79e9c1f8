"""The options an operator can give: their table, and the reading of a command line by it.

A command line is read as ``getopt_long`` of the C library reads it, since scripts written for
the original rely on that: short options in one bundle, values glued on or following, operands
anywhere, long names cut short. Every option has a long name, which is also its key in the
configuration file; there, and here, ``-`` and ``_`` mean the same.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from rtpproxy_tw.errors import ConfigError


class CommandLineError(ConfigError):
    """An option that does not exist, lacks its value, or an argument that is none."""


class Takes(Enum):
    """What follows an option."""

    NOTHING = "nothing"
    PERHAPS = "perhaps"
    """A value only as ``--name=value``; it is ignored."""
    TEXT = "text"
    NUMBER = "number"
    TEXTS = "texts"
    """A text; each occurrence adds one."""


class Switch(NamedTuple):
    """One option.

    ``name`` is its long name, ``short`` its letter or empty, ``meta`` stands for the value in
    the usage text. ``stored``: it may also be a key of the configuration file. ``original``:
    the long name is the original's own.
    """

    name: str
    short: str
    takes: Takes
    meta: str
    about: str
    stored: bool = True
    original: bool = False


class Given(NamedTuple):
    """One option as it was given; ``text`` is empty where it takes nothing."""

    name: str
    text: str = ""


_NOTHING, _TEXT, _NUMBER, _TEXTS = Takes.NOTHING, Takes.TEXT, Takes.NUMBER, Takes.TEXTS

SECTIONS: dict[str, tuple[Switch, ...]] = {
    "Control": (
        Switch("control", "s", _TEXTS, "TYPE:ADDR", "take commands on this socket"),
        Switch("control_allow", "", _TEXTS, "NET", "who may command over UDP, TCP and TLS"),
        Switch("control_policy", "", _TEXTS, "SOCKET=COMMANDS", "commands a socket takes, or -not"),
        Switch("control_rate", "", _NUMBER, "N", "commands a second per source (2000; 0: any)"),
        Switch("tls_cert", "", _TEXT, "FILE", "certificate of tls: control sockets, PEM"),
        Switch("tls_key", "", _TEXT, "FILE", "its key, if that is in a file of its own"),
        Switch("tls_ca", "", _TEXT, "FILE", "whose certificates tls: clients must have"),
        Switch("tls_no_client_cert", "", _NOTHING, "", "tls: clients need no certificate"),
        Switch("overload_profile", "", _TEXT, "PROXY", "refuse as original, kamailio or opensips"),
        Switch("notify", "n", _TEXTS, "SOCKET", "allow timeout notices to this socket"),
        Switch(
            "overload_prot",
            "",
            Takes.PERHAPS,
            "LIMITS",
            "refuse new sessions under overload",
            original=True,
        ),
    ),
    "Addresses and ports": (
        Switch("listen", "l", _TEXTS, "[LABEL@]ADDR[=ADV]", "IPv4 media address, or INT/EXT"),
        Switch("listen6", "6", _TEXTS, "[LABEL@]ADDR[=ADV]", "IPv6 media address, or INT/EXT"),
        Switch("advertised", "A", _TEXT, "ADV[/ADV]", "address told instead of our own"),
        Switch("stun_server", "", _TEXT, "HOST[:PORT]", "asks it what addresses auto and stun are"),
        Switch("min_port", "m", _NUMBER, "PORT", "lowest media port (35000)"),
        Switch("max_port", "M", _NUMBER, "PORT", "highest media port (65000)"),
        Switch("sequential", "b", _NOTHING, "", "hand out ports in ascending order"),
        Switch("no_resolve", "", _NOTHING, "", "take no names with -l and -6", original=True),
        Switch("deny_private", "", _NOTHING, "", "send no media to private addresses"),
    ),
    "Media": (
        Switch("tos", "t", _NUMBER, "TOS", "IP TOS of IPv4 media packets (184)"),
        Switch("send_twice", "2", _NOTHING, "", "send packets under 128 octets twice"),
        Switch(
            "bridge_symmetric",
            "",
            _NOTHING,
            "",
            "parties are symmetric when bridging, too",
            original=True,
        ),
        Switch(
            "force_asymmetric", "", _NOTHING, "", "parties are asymmetric by default", original=True
        ),
        Switch("latching", "", _TEXT, "POLICY", "whose source is believed: strict or rtpproxy"),
        Switch("no_rebinding", "", _NOTHING, "", "strict: follow no stream without a command"),
        Switch("fast_path", "", _TEXT, "PATH", "relay in the kernel: auto, ebpf or none"),
        Switch("media_plane", "", _TEXT, "PLANE", "what reads media sockets: auto, epoll, plain"),
        Switch("media_processes", "", _NUMBER, "N", "processes that relay what settled (0)"),
    ),
    "Sessions": (
        Switch("ttl", "T", _NUMBER, "SEC", "silence that ends a session (60)"),
        Switch("setup_ttl", "W", _NUMBER, "SEC", "the same until both parties are known (as -T)"),
        Switch("independent_ttl", "i", _NOTHING, "", "each direction has its own time to live"),
        Switch("hold_timeout", "", _NUMBER, "SEC", "silence that ends a held session (0: as -T)"),
        Switch("max_duration", "", _NUMBER, "SEC", "longest life of a session (0: no limit)"),
        Switch("max_sessions", "", _NUMBER, "N", "most sessions at a time (0: no limit)"),
        Switch("max_media", "", _NUMBER, "N", "most media of one call (32)"),
    ),
    "Recordings and prompts": (
        Switch("record_dir", "r", _TEXT, "DIR", "where recordings go"),
        Switch("spool_dir", "S", _TEXT, "DIR", "where unfinished recordings are, needs -r"),
        Switch("no_record_rtcp", "R", _NOTHING, "", "do not record RTCP"),
        Switch("record_pcap", "P", _NOTHING, "", "record as pcap files"),
        Switch("record_all", "a", _NOTHING, "", "record every session"),
        Switch("record_resume", "", _NOTHING, "", "R after N goes on in the same files"),
        Switch("record_min_free", "", _NUMBER, "MB", "disk space recordings leave (100)"),
        Switch("record_low_space", "", _TEXT, "POLICY", "stop, reject-new or delete-oldest"),
        Switch("record_export", "", _TEXT, "FORMAT", "make sound files: wav, mp3, opus, flac"),
        Switch("record_export_mixed", "", _NOTHING, "", "both parties in one channel"),
        Switch("record_command", "", _TEXT, "COMMAND", "run this when recordings begin and end"),
        Switch("record_webhook", "", _TEXT, "URL", "post what becomes of recordings here"),
        Switch("copy_allow", "", _TEXTS, "NET", "where C may send copies of media"),
        Switch("prompt_dir", "", _TEXTS, "DIR", "look for prompts here"),
    ),
    "Insight": (
        Switch("http", "", _TEXTS, "ENDPOINT", "serve HTTP here; none: nowhere"),
        Switch("http_token_file", "", _TEXT, "FILE", "tokens that clients over TCP must have"),
        Switch("http_client_ca", "", _TEXT, "FILE", "ssl endpoints want certificates of this CA"),
        Switch("rtpengine_metrics", "", _NOTHING, "", "metrics under rtpengine's names as well"),
        Switch("record_calls", "", _TEXT, "FILE", "append a line of JSON for each session"),
        Switch("webhook", "", _TEXT, "URL", "post that JSON here, until it is taken"),
        Switch("webhook_spool", "", _TEXT, "DIR", "what is still to be posted waits here"),
        Switch("hep", "", _TEXT, "udp:HOST:PORT", "report to Homer by HEP3"),
        Switch("hep_id", "", _NUMBER, "N", "our number there (2001)"),
        Switch("trace", "", _NUMBER, "SEC", "keep packet headers of so many seconds (0: none)"),
        Switch("log_format", "", _TEXT, "FORMAT", "text, json or journald"),
    ),
    "Several relays": (
        Switch("redis", "", _TEXT, "URL", "share calls with other relays by way of Redis"),
        Switch("node", "", _TEXT, "NAME", "our name among them (the host's)"),
        Switch("standby", "", _TEXTS, "ADDR", "media address of another to be taken over"),
        Switch("cluster_listen", "", _TEXT, "HOST:PORT", "take other relays' commands here"),
        Switch("lease", "", _NUMBER, "MS", "silence by which a relay is known to be dead (1000)"),
    ),
    "Process": (
        Switch("foreground", "f", _NOTHING, "", "stay in the foreground, log to stderr"),
        Switch("pid_file", "p", _TEXT, "FILE", "write the process id here"),
        Switch("user", "u", _TEXT, "USER[:GROUP]", "become this user once sockets are open"),
        Switch("socket_mode", "w", _NUMBER, "MODE", "mode of UNIX control sockets, in decimal"),
        Switch("allow_root", "F", _NOTHING, "", "do not mind being root"),
        Switch("core_dumps", "", _NOTHING, "", "a crash may leave an image of the memory"),
        Switch("keep_capabilities", "", _NOTHING, "", "do not give up what the kernel path needed"),
        Switch("keeper", "", _NOTHING, "", "in the foreground, too: start again after a crash"),
        Switch("no_keeper", "", _NOTHING, "", "a daemon is not started again after a crash"),
        Switch("nofile", "L", _NUMBER, "N", "limit of open files"),
        Switch("scheduler", "c", _TEXT, "fifo|rr", "real-time scheduling"),
        Switch("nice", "", _NUMBER, "N", "nice level, -20 to 20", original=True),
        Switch("log", "d", _TEXT, "LEVEL[:FACILITY]", "DBUG, INFO, WARN, ERR or CRIT"),
        Switch("no_chdir", "D", _NOTHING, "", "do not change to the root directory"),
        Switch("no_redirect", "", _NOTHING, "", "a daemon keeps stdout and stderr", original=True),
    ),
    "Configuration": (
        Switch("config", "", _TEXTS, "FILE", "read FILE.toml, or a file of modules", False, True),
        Switch("dso", "", _TEXTS, "FILE", "load the module rtpp_NAME.so", False, True),
        Switch("print_config", "", _NOTHING, "", "print the settings as TOML and exit", False),
        Switch(
            "check", "", _NOTHING, "", "tell whether it would start, and safely, and exit", False
        ),
        Switch("json", "", _NOTHING, "", "with --check: as one JSON value", False),
    ),
    "Information": (
        Switch("help", "h", _NOTHING, "", "print this text and exit", False),
        Switch("version", "V", _NOTHING, "", "print the version and exit", False),
        Switch("extensions", "v", _NOTHING, "", "print the protocol extensions and exit", False),
        Switch("clock", "C", _NOTHING, "", "print the name of the clock and exit", False),
        Switch("check_fast_path", "", _NOTHING, "", "prove the fast path with packets", False),
    ),
}

SWITCHES = {switch.name: switch for section in SECTIONS.values() for switch in section}

INFORMATIVE = frozenset(switch.name for switch in SECTIONS["Information"])
"""Options that print something at once: what follows them is not looked at."""

_SHORT = {switch.short: switch for switch in SWITCHES.values() if switch.short}


def spelled(name: str) -> str:
    """How the operator may have written the option: ``-T/--ttl``, ``--nice``."""
    switch = SWITCHES[name]
    return f"-{switch.short}/{_long(switch)}" if switch.short else _long(switch)


def _long(switch: Switch) -> str:
    return f"--{switch.name}" if switch.original else f"--{switch.name.replace('_', '-')}"


def read_arguments(arguments: Sequence[str]) -> list[Given]:
    """The options in ``arguments`` (without the program's name), in their order.

    An informative option ends the list. Raises CommandLineError.
    """
    given: list[Given] = []
    for item in _Reader(arguments).read():
        given.append(item)
        if item.name in INFORMATIVE:
            break
    return given


class _Reader:
    """One pass over a command line."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._rest = list(arguments)

    def read(self) -> Iterator[Given]:
        operands: list[str] = []
        while self._rest:
            word = self._rest.pop(0)
            if word == "--":
                operands += self._rest
                break
            if word.startswith("--"):
                yield self._long(word[2:])
            elif word.startswith("-") and word != "-":
                yield from self._bundle(word[1:])
            else:
                operands.append(word)
        if operands:
            raise CommandLineError(f"{' '.join(operands)}: this is not an option's value")

    def _long(self, word: str) -> Given:
        name, equals, value = word.partition("=")
        switch = _named(name)
        match switch.takes:
            case Takes.NOTHING:
                if equals:
                    raise CommandLineError(f"{spelled(switch.name)} takes no value ({value})")
                return Given(switch.name)
            case Takes.PERHAPS:
                return Given(switch.name)
            case Takes.TEXT | Takes.NUMBER | Takes.TEXTS:
                return Given(switch.name, value if equals else self._next(switch))

    def _bundle(self, letters: str) -> Iterator[Given]:
        while letters:
            letter, letters = letters[0], letters[1:]
            switch = _SHORT.get(letter)
            if switch is None:
                raise CommandLineError(f"-{letter}: there is no such option")
            if switch.takes is Takes.NOTHING:
                yield Given(switch.name)
            else:
                yield Given(switch.name, letters or self._next(switch))
                return

    def _next(self, switch: Switch) -> str:
        if not self._rest:
            raise CommandLineError(f"{spelled(switch.name)} needs a value: {switch.meta}")
        return self._rest.pop(0)


def _named(name: str) -> Switch:
    """The switch with that long name, or the only one whose name begins so.

    The original's names come first: what is unambiguous there must stay so here.
    """
    wanted = name.replace("-", "_")
    if wanted in SWITCHES:
        return SWITCHES[wanted]
    found = [switch for switch in SWITCHES.values() if wanted and switch.name.startswith(wanted)]
    found = [switch for switch in found if switch.original] or found
    if not found:
        raise CommandLineError(f"--{name}: there is no such option")
    if len(found) > 1:
        names = ", ".join(_long(switch) for switch in found)
        raise CommandLineError(f"--{name} could be any of {names}")
    return found[0]


def usage(program: str) -> str:
    """The text of ``--help``."""
    lines = [f"Usage: {program} [options]"]
    for title, switches in SECTIONS.items():
        lines += ["", f"{title}:"]
        lines += [line for switch in switches for line in _usage_of(switch)]
    return "\n".join(lines)


def _usage_of(switch: Switch) -> list[str]:
    letter = f"-{switch.short}, " if switch.short else "    "
    value = ""
    if switch.takes is Takes.PERHAPS:
        value = f"[={switch.meta}]"
    elif switch.takes is not Takes.NOTHING:
        value = f" {switch.meta}"
    head = f"  {letter}{_long(switch)}{value}"
    about = switch.about + ("; repeatable" if switch.takes is Takes.TEXTS else "")
    body = textwrap.wrap(about, 80 - 38)
    first = f"{head:<36}  {body.pop(0)}" if len(head) <= 36 else head
    return [first, *(" " * 38 + line for line in body)]
