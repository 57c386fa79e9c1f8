"""Settings as a TOML text that says the same when it is read again (``--print-config``)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.errors import ConfigError


def to_toml(settings: Settings) -> str:
    """The text; what is only a default of this machine is a comment in it.

    Raises ConfigError where a path or name is not Unicode, which TOML cannot express.
    """
    lines = [f"{key} = {_value(value)}" for key, value in _stored(settings) if value is not None]
    if not settings.control[0].named:
        default = _value([address.text for address in settings.control])
        lines.insert(0, f"# control = {default} by default")
    if settings.http_default is not None:
        lines.append(f"# http = {_value(['unix:' + settings.http_default])} by default")
    if settings.pid_file is not None and not settings.pid_file_named:
        lines.append(f"# pid_file = {_value(settings.pid_file)} by default")
    lines += (f"\n[modules.{name}]" for name in settings.modules)
    return "\n".join(lines) + "\n"


def _stored(settings: Settings) -> Iterator[tuple[str, object]]:
    """The keys and their values, None where a key is to be left out."""
    addresses = settings.addresses
    yield "control", [address.text for address in settings.control if address.named] or None
    yield "control_allow", list(settings.control_allow)
    yield "control_policy", [policy.text for policy in settings.control_policy]
    yield "control_rate", settings.control_rate
    yield "tls_cert", settings.tls_cert
    yield "tls_key", settings.tls_key
    yield "tls_ca", settings.tls_ca
    yield "tls_no_client_cert", not settings.tls_client_cert
    yield "notify", list(settings.notify)
    yield "overload_prot", settings.overload_protection
    yield "listen", _listen(addresses)
    yield "advertised", _advertised(addresses)
    yield "stun_server", _host_port(settings.stun_server)
    yield "min_port", settings.min_port
    yield "max_port", settings.max_port + 1
    yield "sequential", settings.sequential
    yield "no_resolve", not settings.resolve
    yield "deny_private", settings.deny_private
    yield "tos", settings.tos
    yield "send_twice", settings.send_twice
    yield "bridge_symmetric", addresses.bridging and not settings.asymmetric
    yield "force_asymmetric", settings.asymmetric and not addresses.bridging
    yield "latching", settings.latching
    yield "no_rebinding", not settings.rebinding
    yield "fast_path", settings.fast_path
    yield "media_plane", settings.media_plane
    yield "media_processes", settings.media_processes
    yield "ttl", settings.ttl
    yield "setup_ttl", settings.setup_ttl
    yield "independent_ttl", settings.independent_ttl
    yield "hold_timeout", settings.hold_timeout
    yield "max_duration", settings.max_duration
    yield "max_sessions", settings.max_sessions
    yield "max_media", settings.max_media
    yield "record_dir", settings.record_dir
    yield "spool_dir", settings.spool_dir
    yield "no_record_rtcp", not settings.record_rtcp
    yield "record_pcap", settings.record_pcap
    yield "record_all", settings.record_all
    yield "record_resume", settings.record_resume
    yield "record_min_free", settings.record_min_free
    yield "record_low_space", settings.record_low_space
    yield "record_export", settings.record_export
    yield "record_export_mixed", settings.record_export_mixed
    yield "record_command", shlex.join(settings.record_command) or None
    yield "record_webhook", settings.record_webhook
    yield "copy_allow", list(settings.copy_allow)
    yield "prompt_dir", list(settings.prompt_dirs)
    yield from _insight(settings)
    yield from _cluster(settings)
    yield "foreground", settings.foreground
    if settings.pid_file is None or settings.pid_file_named:
        yield "pid_file", settings.pid_file or "/dev/null"
    yield "user", _user(settings)
    yield "socket_mode", settings.socket_mode
    yield "allow_root", settings.allow_root
    yield "core_dumps", settings.core_dumps
    yield "keep_capabilities", settings.keep_capabilities
    yield "keeper", settings.keeper and settings.foreground
    yield "no_keeper", not settings.keeper and not settings.foreground
    yield "nofile", settings.nofile
    yield "scheduler", settings.scheduler
    yield "nice", settings.nice
    yield "log", f"{settings.log_level}:{settings.log_facility}"
    yield "no_chdir", not settings.chdir
    yield "no_redirect", not settings.redirect


def _insight(settings: Settings) -> Iterator[tuple[str, object]]:
    if settings.http:
        yield "http", list(settings.http)
    elif settings.http_default is None:
        yield "http", "none"
    yield "http_token_file", settings.http_token_file
    yield "http_client_ca", settings.http_client_ca
    yield "rtpengine_metrics", settings.rtpengine_metrics
    yield "record_calls", settings.record_calls
    yield "webhook", settings.webhook
    yield "webhook_spool", settings.webhook_spool
    yield "hep", _collector(settings.hep)
    yield "hep_id", settings.hep_id
    yield "trace", settings.trace
    yield "log_format", settings.log_format


def _cluster(settings: Settings) -> Iterator[tuple[str, object]]:
    yield "overload_profile", settings.overload_profile
    yield "redis", settings.redis
    yield "node", settings.node
    yield "standby", list(settings.standby)
    listen = settings.cluster_listen
    yield "cluster_listen", None if listen is None else f"{listen[0]}:{listen[1]}"
    yield "lease", settings.lease


def _collector(collector: tuple[str, int] | None) -> str | None:
    if collector is None:
        return None
    return f"udp:{_host_port(collector)}"


def _host_port(address: tuple[str, int] | None) -> str | None:
    if address is None:
        return None
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(addresses: LocalAddresses) -> list[str]:
    first, *further = addresses.configured
    if addresses.external is None:
        return [_local(local) for local in addresses.configured]
    return [f"{first.host}/{addresses.external.host}", *map(_local, further)]


def _local(local: LocalAddress) -> str:
    label = f"{local.label}@" if local.label is not None else ""
    advertised = f"={local.advertised}" if local.advertised is not None else ""
    return f"{label}{local.host}{advertised}"


def _advertised(addresses: LocalAddresses) -> str | None:
    """What ``-A`` gave to the two halves of a bridge; elsewhere each address has its own."""
    external = addresses.external
    if external is None or external.advertised is None:
        return None
    return f"{addresses.default.advertised}/{external.advertised}"


def _user(settings: Settings) -> str | None:
    if settings.group is None:
        return settings.user
    return f"{settings.user or ''}:{settings.group}"


def _value(value: object) -> str:
    """One value of TOML."""
    match value:
        case bool(flag):
            return "true" if flag else "false"
        case int(number):
            return str(number)
        case str(text):
            return string(text)
        case list(items):
            return f"[{', '.join(_value(item) for item in items)}]"
    raise TypeError(value)


def string(text: str) -> str:
    """A basic string; TOML's escapes are those of JSON, but it wants DEL escaped as well."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{text!r}: not Unicode, so it cannot be printed as TOML") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
