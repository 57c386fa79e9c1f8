"""What the operator decided: one frozen value, checked once, from which the relay is wired."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from rtpproxy_tw.addresses import LocalAddresses
from rtpproxy_tw.advertising import policy_of
from rtpproxy_tw.configuration.switches import spelled
from rtpproxy_tw.errors import ConfigError

UNIX_KINDS = ("unix", "cunix")
TLS_KINDS = ("tls", "tls6")
INET_KINDS = ("tcp", "tcp6", "udp", "udp6", *TLS_KINDS)
BARE_KINDS = ("stdio", "stdioc", "systemd")
"""Kinds of control sockets that have no address."""

_RESOURCES = {
    **{"unix": "unix", "cunix": "unix", "stdio": "stdio", "stdioc": "stdio"},
    **{"tcp": "tcp", "tcp6": "tcp", "tls": "tcp", "tls6": "tcp"},
    **{"udp": "udp", "udp6": "udp", "systemd": "systemd"},
}
"""What two sockets of these kinds would have to share if their addresses are the same."""

LATCHINGS = ("strict", "rtpproxy")
FAST_PATHS = ("auto", "ebpf", "none")
MEDIA_PLANES = ("auto", "epoll", "plain")
SCHEDULERS = ("fifo", "rr")
OVERLOAD_PROFILES = ("original", "kamailio", "opensips")
LOW_SPACES = ("stop", "reject-new", "delete-oldest")
EXPORTS = ("wav", "mp3", "opus", "flac")
LOG_LEVELS = ("DBUG", "INFO", "WARN", "ERR", "CRIT")
LOG_FORMATS = ("text", "json", "journald")
LOG_FACILITIES = (
    *("KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON"),
    *("AUTHPRIV", "FTP", *(f"LOCAL{number}" for number in range(8))),
)

MAX_LISTEN = 16
"""Media addresses; the original's limit."""
MAX_NOTIFY = 64
MAX_NOTIFY_WILDCARDS = 2
"""Notification sockets, exact ones and wildcards; the original's limits."""
CC_SELF = "%%CC_SELF%%"
"""In a notification socket: the host that sent the command."""

INT_MAX = 2**31 - 1

BOUNDS = {
    "tos": (0, 255),
    "ttl": (1, INT_MAX),
    "setup_ttl": (1, INT_MAX),
    "hold_timeout": (0, INT_MAX),
    "max_duration": (0, INT_MAX),
    "max_sessions": (0, INT_MAX),
    "max_media": (1, INT_MAX),
    "control_rate": (0, INT_MAX),
    "socket_mode": (0, 4095),
    # The interpreter, the reactor, the log and one control socket need about twenty.
    "nofile": (64, INT_MAX),
    "nice": (-20, 20),
    "hep_id": (0, INT_MAX),
    # Each relayed packet costs the ring some 96 octets: a minute of G.711 is half a megabyte.
    "trace": (0, 60),
    "media_processes": (0, 64),
    "record_min_free": (0, 1 << 30),
    # Less would be taken for death whenever a process is held up.
    "lease": (200, 600_000),
}
"""Least and greatest value of the settings that are numbers."""


class ControlAddress(NamedTuple):
    """Where commands are taken.

    ``host`` is the path of a UNIX socket or a numeric address, ``named`` whether the operator
    asked for it: a default that cannot be had is left out, a named one is an error.
    """

    kind: str
    host: str = ""
    port: int = 0
    named: bool = True

    @property
    def text(self) -> str:
        """As ``-s`` takes it."""
        if self.kind in INET_KINDS:
            return f"{self.kind}:{self.host}:{self.port}"
        return f"{self.kind}:{self.host}"


class ControlPolicy(NamedTuple):
    """Which commands a control socket does not take: ``denied`` holds their letters."""

    socket: str
    """As :attr:`ControlAddress.text` has it."""
    denied: frozenset[str]

    @property
    def text(self) -> str:
        """As ``--control-policy`` takes it."""
        return f"{self.socket}=-{''.join(sorted(self.denied))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the operator can decide; times are seconds. Raises ConfigError when made.

    ``min_port`` and ``max_port`` are the lowest and the highest RTP port, both even, RTCP being
    the next one. Zero stands for no limit in ``hold_timeout``, ``max_duration`` and
    ``max_sessions``. ``asymmetric`` is what parties are until a command says otherwise.
    """

    control: tuple[ControlAddress, ...]
    addresses: LocalAddresses
    stun_server: tuple[str, int] | None = None
    """Host and port; the host may be a name."""
    control_allow: tuple[str, ...] = ()
    """Networks whose members may command; none: loopback and our own networks."""
    control_policy: tuple[ControlPolicy, ...] = ()
    control_rate: int = 2000
    """Commands a second that one source may send for long; 0: any number."""
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_ca: str | None = None
    tls_client_cert: bool = True
    """Whether clients of ``tls:`` sockets must have a certificate."""
    deny_private: bool = False
    core_dumps: bool = False
    keep_capabilities: bool = False
    keeper: bool = False
    """Whether a process of our own starts the relay again after a crash."""
    min_port: int = 35000
    max_port: int = 64998
    sequential: bool = False
    tos: int = 0xB8
    send_twice: bool = False
    ttl: int = 60
    setup_ttl: int = 60
    independent_ttl: bool = False
    hold_timeout: int = 0
    max_duration: int = 0
    max_sessions: int = 0
    max_media: int = 32
    notify: tuple[str, ...] = ()
    record_dir: str | None = None
    spool_dir: str | None = None
    record_rtcp: bool = True
    record_pcap: bool = False
    record_all: bool = False
    record_resume: bool = False
    record_min_free: int = 100
    """In units of 2**20 octets."""
    record_low_space: str = "stop"
    record_export: str | None = None
    record_export_mixed: bool = False
    record_command: tuple[str, ...] = ()
    """A program and its arguments."""
    record_webhook: str | None = field(default=None, repr=False)
    """May hold a password, as the next one may."""
    copy_allow: tuple[str, ...] = ()
    """Networks to which media may be copied; none: loopback and our own networks."""
    prompt_dirs: tuple[str, ...] = ()
    http: tuple[str, ...] = ()
    """Endpoints asked for."""
    http_default: str | None = None
    """Path of a UNIX socket that is done without where it cannot be had."""
    http_token_file: str | None = None
    http_client_ca: str | None = None
    rtpengine_metrics: bool = False
    record_calls: str | None = None
    webhook: str | None = field(default=None, repr=False)
    webhook_spool: str | None = None
    hep: tuple[str, int] | None = None
    """Host and port of the collector; the host may be a name."""
    hep_id: int = 2001
    trace: int = 0
    log_format: str = "text"
    fast_path: str = "auto"
    media_plane: str = "auto"
    media_processes: int = 0
    """How many processes relay settled streams; 0: the relay's own does."""
    latching: str = "strict"
    rebinding: bool = True
    asymmetric: bool = False
    overload_protection: bool = False
    modules: tuple[str, ...] = ()
    overload_profile: str = "original"
    redis: str | None = field(default=None, repr=False)
    """Where relays share what they know; the URL may hold a password."""
    node: str | None = None
    standby: tuple[str, ...] = ()
    """Media addresses of other relays, numeric."""
    cluster_listen: tuple[str, int] | None = None
    """A numeric host and a port."""
    lease: int = 1000
    """Milliseconds."""
    pid_file: str | None = None
    pid_file_named: bool = False
    user: str | None = None
    group: str | None = None
    socket_mode: int | None = None
    nofile: int | None = None
    scheduler: str | None = None
    nice: int | None = None
    log_level: str = "WARN"
    log_facility: str = "DAEMON"
    chdir: bool = True
    redirect: bool = True
    resolve: bool = True
    foreground: bool = False
    allow_root: bool = False

    def __post_init__(self) -> None:
        for name in BOUNDS:
            _check_bounds(name, getattr(self, name))
        _check_choice("fast_path", self.fast_path, FAST_PATHS)
        _check_choice("media_plane", self.media_plane, MEDIA_PLANES)
        if self.media_processes and self.media_plane == "plain":
            raise ConfigError(
                f"{spelled('media_processes')} {self.media_processes}: needs"
                f" {spelled('media_plane')} epoll"
            )
        _check_choice("latching", self.latching, LATCHINGS)
        _check_choice("record_low_space", self.record_low_space, LOW_SPACES)
        if self.record_export is not None:
            _check_choice("record_export", self.record_export, EXPORTS)
        _check_choice("log_format", self.log_format, LOG_FORMATS)
        _check_choice("log", self.log_level, LOG_LEVELS)
        _check_choice("log", self.log_facility, LOG_FACILITIES)
        _check_choice("overload_profile", self.overload_profile, OVERLOAD_PROFILES)
        _check_cluster(self)
        if self.scheduler is not None:
            _check_choice("scheduler", self.scheduler, SCHEDULERS)
        _check_ports(self.min_port, self.max_port)
        _check_control(self.control, self.foreground)
        _check_policies(self.control_policy, self.control)
        _check_tls(self)
        _check_advertised(self)
        hook = self.webhook or self.record_webhook
        if hook is not None and self.webhook_spool is None:
            name = "webhook" if self.webhook is not None else "record_webhook"
            raise ConfigError(
                f"{spelled(name)} {masked(hook)}: needs {spelled('webhook_spool')} DIR, where"
                " records wait until they are taken"
            )
        if self.spool_dir is not None and self.record_dir is None:
            raise ConfigError(
                f"{spelled('spool_dir')} {self.spool_dir}: a spool directory needs a recording"
                f" directory, {spelled('record_dir')}"
            )


def masked(url: str) -> str:
    """``url`` as it can be shown: without a password, and without its query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    who = "***@" if "@" in parts.netloc else ""
    query = "?***" if parts.query else ""
    return f"{parts.scheme}://{who}{host}{parts.path}{query}"


def _check_bounds(name: str, value: int | None) -> None:
    least, greatest = BOUNDS[name]
    if value is None or least <= value <= greatest:
        return
    upper = f"to {greatest}" if greatest != INT_MAX else "upwards"
    raise ConfigError(f"{spelled(name)} {value}: must be a whole number from {least} {upper}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{spelled(name)} {value}: must be one of {', '.join(choices)}")


def _check_ports(least: int, greatest: int) -> None:
    both = f"{spelled('min_port')}, {spelled('max_port')}"
    if not 0 < least <= greatest:
        raise ConfigError(
            f"{both}: no pair of an even port and the next one lies between them"
            f" (from {least} to {greatest + 1} after rounding)"
        )
    if least % 2 or greatest % 2 or greatest > 65534:
        raise ConfigError(f"{both}: RTP ports are even and at most 65534, not {least}, {greatest}")


def _check_control(control: tuple[ControlAddress, ...], foreground: bool) -> None:
    if not control:
        raise ConfigError(f"{spelled('control')}: there must be at least one control socket")
    seen: set[tuple[str, str, int]] = set()
    for address in control:
        kind = address.kind
        _check_choice("control", kind, UNIX_KINDS + INET_KINDS + BARE_KINDS)
        if kind in ("stdio", "stdioc") and not foreground:
            raise ConfigError(
                f"{spelled('control')} {kind}: commands on standard input need"
                f" {spelled('foreground')}"
            )
        # Port 0 stands for any free one, so it may be wanted more than once.
        place = (_RESOURCES[kind], address.host, address.port)
        if place in seen and (kind not in INET_KINDS or address.port):
            raise ConfigError(f"{spelled('control')} {address.text}: given twice")
        seen.add(place)


def _check_policies(
    policies: tuple[ControlPolicy, ...], control: tuple[ControlAddress, ...]
) -> None:
    known = [address.text for address in control]
    seen: set[str] = set()
    for policy in policies:
        if policy.socket not in known:
            raise ConfigError(
                f"{spelled('control_policy')} {policy.socket}: commands are not taken there, only"
                f" on {', '.join(known)}"
            )
        if policy.socket in seen:
            raise ConfigError(f"{spelled('control_policy')} {policy.socket}: given twice")
        seen.add(policy.socket)


def _check_cluster(settings: Settings) -> None:
    """Several relays can know what belongs to whom, or the configuration is wrong."""
    if settings.redis is None:
        for name in ("node", "standby", "cluster_listen"):
            if getattr(settings, name):
                raise ConfigError(f"{spelled(name)} has a meaning only with {spelled('redis')}")
        return
    wildcard = next((each for each in settings.addresses.all() if each.wildcard), None)
    if wildcard is not None:
        raise ConfigError(
            f"{spelled('redis')}: needs {spelled('listen')} ADDR, as what relays take over from"
            f" each other are media addresses, and {wildcard.host} is none"
        )


def _check_tls(settings: Settings) -> None:
    """A ``tls:`` socket has what it needs, or the configuration is wrong."""
    wanted = next((address for address in settings.control if address.kind in TLS_KINDS), None)
    if wanted is None:
        return
    if settings.tls_cert is None:
        raise ConfigError(f"{spelled('control')} {wanted.text}: needs {spelled('tls_cert')} FILE")
    if settings.tls_ca is None and settings.tls_client_cert:
        raise ConfigError(
            f"{spelled('control')} {wanted.text}: needs {spelled('tls_ca')} FILE, whose"
            f" certificates clients must have, or {spelled('tls_no_client_cert')}"
        )


def _check_advertised(settings: Settings) -> None:
    """Whoever is to be asked is known."""
    for local in settings.addresses.all():
        if local.advertised == "stun" and settings.stun_server is None:
            raise ConfigError(
                f"{spelled('listen')} {local.host}=stun: needs {spelled('stun_server')} HOST, or"
                " stun:HOST"
            )
        policy = policy_of(local.advertised)
        if policy is not None and policy.server is not None:
            _check_family(local.host, policy.server[0])


def _check_family(host: str, server: str) -> None:
    numeric = ":" in server or server.replace(".", "").isdecimal()
    if numeric and (":" in server) != (":" in host):
        raise ConfigError(f"{spelled('listen')} {host}: {server} is of the other family")
