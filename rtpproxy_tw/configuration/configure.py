"""From options, as they were given, to settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rtpproxy_tw.addresses import LocalAddresses
from rtpproxy_tw.configuration.host import PID_FILE, Host
from rtpproxy_tw.configuration.listen import Resolve, advertised, local_addresses
from rtpproxy_tw.configuration.modules_file import of_file_name
from rtpproxy_tw.configuration.settings import (
    MAX_NOTIFY,
    MAX_NOTIFY_WILDCARDS,
    ControlAddress,
    Settings,
)
from rtpproxy_tw.configuration.switches import Given, spelled
from rtpproxy_tw.configuration.toml_reader import read_file
from rtpproxy_tw.configuration.values import (
    Account,
    LogTarget,
    account,
    allowed_network,
    collector,
    control_address,
    control_policy,
    http_endpoint,
    is_wildcard,
    log_target,
    media_host,
    node_name,
    notify_socket,
    path,
    peer_address,
    port_number,
    store,
    stun_server,
    url,
    whole_number,
    words,
)
from rtpproxy_tw.errors import ConfigError

MIN_PORT = "35000"
MAX_PORT = "65000"
"""The original's default range."""

NO_PID_FILE = "/dev/null"
"""As a pid file it means none; it is never opened, let alone removed."""


NO_HTTP = "none"
"""In place of an endpoint: not even the default one."""


class Configured(NamedTuple):
    """The settings, and remarks on them for the log, a sentence each."""

    settings: Settings
    notes: tuple[str, ...] = ()


def configure(given: Sequence[Given], host: Host) -> Configured:
    """The settings that the options ``given`` on a command line amount to.

    Files named by ``--config`` are read; what the command line says wins. Names of media and
    control addresses are resolved, which may block. Raises ConfigError.
    """
    files = [read_file(item.text) for item in given if item.name == "config"]
    chosen = _Chosen([*(file.given for file in files), given])
    named = [of_file_name(text) for text in chosen.texts("dso")]
    modules = [*(name for file in files for name in file.modules), *named]
    settings = _settings(chosen, tuple(dict.fromkeys(modules)), host)
    return Configured(settings, tuple(_notes(settings, chosen)))


class _Chosen:
    """Options out of several sources, of which a later one replaces what an earlier one says."""

    def __init__(self, sources: Iterable[Sequence[Given]]) -> None:
        self._given: list[Given] = []
        for source in sources:
            named = {_group(item) for item in source}
            self._given = [item for item in self._given if _group(item) not in named]
            self._given += source

    def all(self, *names: str) -> list[Given]:
        """Every occurrence of these options, in order."""
        return [item for item in self._given if item.name in names]

    def texts(self, name: str) -> list[str]:
        """Every value of this option."""
        return [item.text for item in self.all(name)]

    def text(self, name: str) -> str | None:
        """Its last value."""
        return next(reversed(self.texts(name)), None)

    def word(self, name: str, default: str) -> str:
        """Its last value, or what it is by default."""
        text = self.text(name)
        return default if text is None else text

    def flag(self, name: str) -> bool:
        """Whether it was given."""
        return bool(self.all(name))

    def number(self, name: str, default: int) -> int:
        """Its last value as a number. Raises ConfigError."""
        number = self.optional_number(name)
        return default if number is None else number

    def optional_number(self, name: str) -> int | None:
        """The same without a default."""
        text = self.text(name)
        return None if text is None else whole_number(name, text)

    def path(self, name: str) -> str | None:
        """Its last value as an absolute path. Raises ConfigError."""
        text = self.text(name)
        return None if text is None else path(name, text)


def _keeper(chosen: _Chosen, foreground: bool) -> bool:
    """Whether there is to be one. Raises ConfigError."""
    wanted, unwanted = chosen.flag("keeper"), chosen.flag("no_keeper")
    if wanted and unwanted:
        raise ConfigError(f"{spelled('keeper')} and {spelled('no_keeper')} exclude each other")
    return wanted or not (foreground or unwanted)


def _group(item: Given) -> str:
    """Both families of media addresses are one list, so that one of them replaces both."""
    return "listen" if item.name == "listen6" else item.name


def _settings(chosen: _Chosen, modules: tuple[str, ...], host: Host) -> Settings:
    addresses = _addresses(chosen, host)
    foreground = chosen.flag("foreground")
    ttl = chosen.number("ttl", 60)
    min_port, max_port = _ports(chosen)
    pid_file = chosen.text("pid_file")
    who = chosen.text("user")
    user, group = Account() if who is None else account(who, host)
    log = chosen.text("log")
    # A daemon that tells its log of every command would fill the machine's.
    level, facility = (
        LogTarget("DBUG" if foreground else "WARN") if log is None else log_target(log)
    )
    symmetric = not addresses.bridging or chosen.flag("bridge_symmetric")
    return Settings(
        control=_control(chosen, host),
        **_commanding(chosen, host),
        addresses=addresses,
        stun_server=_stun_server(chosen),
        deny_private=chosen.flag("deny_private"),
        core_dumps=chosen.flag("core_dumps"),
        keep_capabilities=chosen.flag("keep_capabilities"),
        keeper=_keeper(chosen, foreground),
        min_port=min_port,
        max_port=max_port,
        sequential=chosen.flag("sequential"),
        tos=chosen.number("tos", 0xB8),
        send_twice=chosen.flag("send_twice"),
        ttl=ttl,
        setup_ttl=chosen.number("setup_ttl", ttl),
        independent_ttl=chosen.flag("independent_ttl"),
        hold_timeout=chosen.number("hold_timeout", 0),
        max_duration=chosen.number("max_duration", 0),
        max_sessions=chosen.number("max_sessions", 0),
        max_media=chosen.number("max_media", 32),
        notify=_notify(chosen),
        record_dir=chosen.path("record_dir"),
        spool_dir=chosen.path("spool_dir"),
        record_rtcp=not chosen.flag("no_record_rtcp"),
        record_pcap=chosen.flag("record_pcap"),
        record_all=chosen.flag("record_all"),
        **_recording(chosen),
        prompt_dirs=tuple(path("prompt_dir", text) for text in chosen.texts("prompt_dir")),
        **_insight(chosen, host),
        fast_path=chosen.word("fast_path", "auto"),
        media_plane=chosen.word("media_plane", "auto"),
        media_processes=chosen.number("media_processes", 0),
        latching=chosen.word("latching", "strict"),
        rebinding=not chosen.flag("no_rebinding"),
        asymmetric=chosen.flag("force_asymmetric") or not symmetric,
        overload_protection=chosen.flag("overload_prot"),
        **_cluster(chosen),
        modules=modules,
        pid_file=_pid_file(pid_file),
        pid_file_named=pid_file is not None,
        user=user,
        group=group,
        socket_mode=chosen.optional_number("socket_mode"),
        nofile=chosen.optional_number("nofile"),
        scheduler=chosen.text("scheduler"),
        nice=chosen.optional_number("nice"),
        log_level=level,
        log_facility=facility or "DAEMON",
        chdir=not chosen.flag("no_chdir"),
        redirect=not chosen.flag("no_redirect"),
        resolve=not chosen.flag("no_resolve"),
        foreground=foreground,
        allow_root=chosen.flag("allow_root"),
    )


def _recording(chosen: _Chosen) -> dict[str, Any]:
    """The settings of what recordings leave free and what follows them."""
    hook, command = chosen.text("record_webhook"), chosen.text("record_command")
    return {
        "record_resume": chosen.flag("record_resume"),
        "record_min_free": chosen.number("record_min_free", 100),
        "record_low_space": chosen.word("record_low_space", "stop"),
        "record_export": chosen.text("record_export"),
        "record_export_mixed": chosen.flag("record_export_mixed"),
        "record_command": () if command is None else words("record_command", command),
        "record_webhook": None if hook is None else url("record_webhook", hook),
    }


def _insight(chosen: _Chosen, host: Host) -> dict[str, Any]:
    """The settings that decide how the relay can be looked into."""
    texts = chosen.texts("http")
    hook, homer = chosen.text("webhook"), chosen.text("hep")
    return {
        "http": tuple(http_endpoint(text) for text in texts if text != NO_HTTP),
        "http_default": None if texts else _default_http(host),
        "http_token_file": chosen.path("http_token_file"),
        "http_client_ca": chosen.path("http_client_ca"),
        "rtpengine_metrics": chosen.flag("rtpengine_metrics"),
        "record_calls": chosen.path("record_calls"),
        "webhook": None if hook is None else url("webhook", hook),
        "webhook_spool": chosen.path("webhook_spool"),
        "hep": None if homer is None else collector(homer),
        "hep_id": chosen.number("hep_id", 2001),
        "trace": chosen.number("trace", 0),
        "log_format": chosen.word("log_format", "text"),
    }


def _cluster(chosen: _Chosen) -> dict[str, Any]:
    """The settings of several relays as one service."""
    redis, node, listen = (chosen.text(name) for name in ("redis", "node", "cluster_listen"))
    return {
        "overload_profile": chosen.word("overload_profile", "original"),
        "redis": None if redis is None else store(redis),
        "node": None if node is None else node_name(node),
        "standby": tuple(media_host("standby", text) for text in chosen.texts("standby")),
        "cluster_listen": None if listen is None else peer_address(listen),
        "lease": chosen.number("lease", 1000),
    }


def _default_http(host: Host) -> str | None:
    """The path of the HTTP socket when none is asked for; None where it can have none."""
    try:
        return host.default_http_socket()
    except ConfigError:
        return None


def _addresses(chosen: _Chosen, host: Host) -> LocalAddresses:
    numeric = chosen.flag("no_resolve")
    told = chosen.text("advertised")
    return local_addresses(
        chosen.all("listen", "listen6"),
        None if told is None else advertised(told),
        lambda name, family: host.resolve(name, family, numeric=numeric),
    )


def _stun_server(chosen: _Chosen) -> tuple[str, int] | None:
    text = chosen.text("stun_server")
    return None if text is None else stun_server(text)


def _control(chosen: _Chosen, host: Host) -> tuple[ControlAddress, ...]:
    texts = chosen.texts("control")
    if not texts:
        return (ControlAddress("unix", host.default_socket(), named=False),)
    return tuple(control_address(text, _named(host)) for text in texts)


def _named(host: Host) -> Resolve:
    # --no_resolve is about media addresses; a control socket's name must be resolved anyway.
    return lambda name, family: host.resolve(name, family, numeric=False)


def _networks(chosen: _Chosen, name: str) -> tuple[str, ...]:
    return tuple(allowed_network(name, text) for text in chosen.texts(name))


def _commanding(chosen: _Chosen, host: Host) -> dict[str, Any]:
    """The settings that decide who may command, and what."""
    return {
        "control_allow": _networks(chosen, "control_allow"),
        "copy_allow": _networks(chosen, "copy_allow"),
        "control_policy": tuple(
            control_policy(text, _named(host)) for text in chosen.texts("control_policy")
        ),
        "control_rate": chosen.number("control_rate", 2000),
        "tls_cert": chosen.path("tls_cert"),
        "tls_key": chosen.path("tls_key"),
        "tls_ca": chosen.path("tls_ca"),
        "tls_client_cert": not chosen.flag("tls_no_client_cert"),
    }


def _ports(chosen: _Chosen) -> tuple[int, int]:
    """The lowest and the highest RTP port, such that both and the ports after them are inside."""
    least = port_number("min_port", chosen.word("min_port", MIN_PORT))
    greatest = port_number("max_port", chosen.word("max_port", MAX_PORT))
    return least + least % 2, greatest - (1 if greatest % 2 else 2)


def _notify(chosen: _Chosen) -> tuple[str, ...]:
    sockets = tuple(notify_socket(text) for text in chosen.texts("notify"))
    wildcards = sum(is_wildcard(text) for text in sockets)
    if wildcards > MAX_NOTIFY_WILDCARDS or len(sockets) - wildcards > MAX_NOTIFY:
        raise ConfigError(
            f"{spelled('notify')}: there can be {MAX_NOTIFY} sockets and {MAX_NOTIFY_WILDCARDS}"
            " wildcards"
        )
    return sockets


def _pid_file(text: str | None) -> str | None:
    if text is None:
        return PID_FILE
    return None if path("pid_file", text) == NO_PID_FILE else path("pid_file", text)


def _notes(settings: Settings, chosen: _Chosen) -> Iterable[str]:
    """What is allowed but hardly meant."""
    told = chosen.text("advertised")
    if told is not None and "/" in told and not settings.addresses.bridging:
        yield f"{spelled('advertised')} {told}: without bridging only the first half is used"
    if settings.record_all and settings.record_dir is None:
        yield f"{spelled('record_all')} records nothing without {spelled('record_dir')}"
    for name in ("record_export", "record_command", "record_webhook"):
        if getattr(settings, name) and settings.record_dir is None:
            yield f"{spelled(name)} has no effect without {spelled('record_dir')}"
    if settings.record_export_mixed and settings.record_export is None:
        yield f"{spelled('record_export_mixed')} has no effect without {spelled('record_export')}"
    if settings.rtpengine_metrics and not (settings.http or settings.http_default):
        yield f"{spelled('rtpengine_metrics')} has no effect without {spelled('http')}"
    if settings.socket_mode is not None and settings.group is None:
        yield f"{spelled('socket_mode')} has no effect without a group in {spelled('user')}"
