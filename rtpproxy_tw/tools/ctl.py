"""``rtpproxy-ctl``: look into a running relay and act on its calls, from a terminal or a script.

======  =========================================================================================
status  meaning
======  =========================================================================================
0       done; of ``why``: the call exists, whatever the verdict
1       the relay refuses, or the demo call was not good
2       the command line is wrong
3       there is no such call
4       the relay cannot be reached
======  =========================================================================================
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence

from rtpproxy_tw.tools import ctl_words as words
from rtpproxy_tw.tools.ctl_client import (
    Client,
    Credentials,
    Refused,
    Target,
    Unreachable,
    call_path,
    read_target,
)

DONE, REFUSED, USAGE, NO_CALL, UNREACHABLE, STOPPED = 0, 1, 2, 3, 4, 130

API = "RTPPROXY_API"
TOKEN_FILE = "RTPPROXY_TOKEN_FILE"
"""Variables of the environment for what would have to be given each time."""

_USUAL = {"--json": False, "-h": False, "--help": False}

FOR_RELAYS = {
    "check": {**_USUAL, "--calls": True},
    "doctor": {
        **_USUAL,
        **dict.fromkeys(("--from", "--from-token-file", "--stun", "--slice"), True),
    },
}
"""Commands that take the options of a relay; their own options, and whether these have a value."""

Command = Callable[[Client, argparse.Namespace], int | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    parser = make_parser()
    words_given, relay = divided(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(words_given)
    options.relay = relay
    # A call-id may hold anything; what the terminal's encoding lacks is escaped, no more.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(parser, options)
    except Refused as refused:
        print(f"rtpproxy-ctl: {words.visible(refused)}", file=sys.stderr)
        return NO_CALL if refused.code == "no-such-call" else REFUSED
    except Unreachable as error:
        print(f"rtpproxy-ctl: {words.visible(error)}", file=sys.stderr)
        return UNREACHABLE
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        # Whoever read us has seen enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.command == "completion":
        from rtpproxy_tw.tools.ctl_completion import script

        print(script(parser, options.shell), end="")
        return DONE
    if options.command == "call":
        return _demo(options)
    if options.command == "certs":
        return _certs(options)
    if options.command == "fleet" and options.redis is not None:
        return _fleet_of_redis(options)
    if options.command == "check":
        return _check(options)
    if options.command == "doctor":
        return _doctor(options)
    try:
        client = Client(options.api or _default(), _credentials(options))
    except OSError as error:
        raise Unreachable(f"{error.filename}: {error.strerror}") from error
    command: Command = options.run
    return command(client, options) or DONE


def _default() -> Target:
    from rtpproxy_tw.configuration.host import Host
    from rtpproxy_tw.errors import ConfigError

    given = os.environ.get(API)
    try:
        return read_target(given) if given else Target("unix", Host().http_socket_to_ask())
    except (ConfigError, ValueError) as error:
        raise Unreachable(str(error)) from error


def _credentials(options: argparse.Namespace) -> Credentials:
    """Raises OSError."""
    path = options.token_file or os.environ.get(TOKEN_FILE)
    token = None
    if path:
        with open(path, encoding="ascii", errors="surrogateescape") as file:
            lines = (line.strip() for line in file)
            token = next((line for line in lines if line and not line.startswith("#")), None)
    return Credentials(token, options.cert, options.key, options.ca)


def _tell(options: argparse.Namespace, answer: words.View, lines: Iterable[str]) -> None:
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for line in lines:
            print(line)


def _list(client: Client, options: argparse.Namespace) -> None:
    answer = client.ask(
        "/api/v1/calls",
        search=options.search,
        verdict=options.verdict,
        state=options.state,
        limit=options.limit,
    )
    if options.ids:
        print("\n".join(words.visible(call["call_id"]) for call in answer["calls"]))
    else:
        _tell(options, answer, words.table(words.call_rows(answer["calls"])))


def _show(client: Client, options: argparse.Namespace) -> None:
    answer = client.ask(call_path(options.call))
    _tell(options, answer, words.show(answer))


def _why(client: Client, options: argparse.Namespace) -> None:
    answer = client.ask(call_path(options.call, "why"))
    _tell(options, answer, words.why(answer))


def _top(client: Client, options: argparse.Namespace) -> None:
    from rtpproxy_tw.tools.ctl_top import top

    if options.json:
        print(json.dumps(client.ask("/api/v1/calls"), indent=2))
    else:
        top(client, once=options.once)


def _trace(client: Client, options: argparse.Namespace) -> int:
    octets = client.fetch(call_path(options.call, "trace"))
    if options.output == "-":
        if sys.stdout.isatty():
            print("rtpproxy-ctl: a capture is not for terminals; use -o FILE", file=sys.stderr)
            return USAGE
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()
        return DONE
    try:
        with open(options.output, "wb") as file:
            file.write(octets)
    except OSError as error:
        print(f"rtpproxy-ctl: {options.output}: {error.strerror}", file=sys.stderr)
        return REFUSED
    answer = {"file": options.output, "octets": len(octets)}
    _tell(options, answer, [f"{len(octets)} octets in {words.visible(options.output)}"])
    return DONE


def _record(client: Client, options: argparse.Namespace) -> None:
    path = call_path(options.call, "record")
    if options.stop:
        answer = client.ask(path, "DELETE")
        _tell(options, answer, [f"{answer['stopped']} recordings ended"])
    else:
        answer = client.ask(path, "POST", {"single": options.single})
        _tell(options, answer, [f"{answer['recorded']} parties are recorded"])


def _delete(client: Client, options: argparse.Namespace) -> None:
    answer = client.ask(call_path(options.call), "DELETE")
    _tell(options, answer, [f"{answer['deleted']} sessions ended"])


def _debug(client: Client, options: argparse.Namespace) -> None:
    answer = client.ask(call_path(options.call, "debug"), "DELETE" if options.off else "PUT")
    how = "in detail" if answer["debug"] else "as usual"
    _tell(options, answer, [f"the call is logged {how}"])


def _drain(client: Client, options: argparse.Namespace) -> None:
    method = "GET" if options.status else "DELETE" if options.off else "PUT"
    body = {"exit": options.exit}
    if options.limit is not None:
        body["limit"] = options.limit
    answer = client.ask("/api/v1/drain", method, body if method == "PUT" else None)
    _tell(options, answer, words.drain(answer))


def _fleet(client: Client, options: argparse.Namespace) -> None:
    answer = client.ask("/api/v1/fleet")
    _tell(options, answer, words.fleet(answer))


def _fleet_of_redis(options: argparse.Namespace) -> int:
    try:
        from rtpproxy_tw.tools.ctl_fleet import ask
    except ImportError:
        print(
            "rtpproxy-ctl: --redis needs txredisapi: pip install 'rtpproxy-tw[redis]'",
            file=sys.stderr,
        )
        return REFUSED
    try:
        answer = ask(options.redis)
    except (OSError, ValueError) as error:
        raise Unreachable(f"Redis: {error}") from error
    _tell(options, answer, words.fleet(answer))
    return DONE


def _take_over(client: Client, options: argparse.Namespace) -> None:
    body = {} if options.address is None else {"address": options.address}
    answer = client.ask("/api/v1/takeover", "POST", body)
    _tell(options, answer, words.fleet(answer))


def _reload(client: Client, options: argparse.Namespace) -> None:
    answer = client.ask("/api/v1/reload", "POST")
    _tell(options, answer, [f"read again: {', '.join(answer['reloaded']) or 'nothing is there'}"])


def _upgrade(client: Client, options: argparse.Namespace) -> None:
    body = {"options": options.options} if options.options else None
    answer = client.ask("/api/v1/upgrade", "POST", body)
    _tell(options, answer, [f"process {answer['process']} goes on with everything"])


def _stats(client: Client, options: argparse.Namespace) -> None:
    answer = client.ask("/api/v1/stats")
    _tell(options, answer, words.stats(answer))


def _capacity(client: Client, options: argparse.Namespace) -> None:
    answer = client.ask("/api/v1/capacity")
    _tell(options, answer, words.capacity(answer))


def _demo(options: argparse.Namespace) -> int:
    from rtpproxy_tw.tools import demo

    given = ["--seconds", str(options.seconds)]
    if options.control is not None:
        given += ["--control", options.control]
    if options.json:
        given.append("--json")
    return demo.main(given)


def _check(options: argparse.Namespace) -> int:
    from rtpproxy_tw.tools.check import check

    report = check(options.relay, options.calls)
    print(report.json() if options.json else report.text())
    return report.status


def _doctor(options: argparse.Namespace) -> int:
    from rtpproxy_tw.tools.doctor import Wish, doctor

    options.token_file = options.from_token_file or options.token_file
    try:
        credentials = _credentials(options)
    except OSError as error:
        raise Unreachable(f"{error.filename}: {error.strerror}") from error
    wish = Wish(options.helper, credentials, options.stun, options.slice)
    report = doctor(options.relay, wish)
    text = report.json() if options.json else report.text()
    print("\n".join(words.visible(line) for line in text.splitlines()))
    return report.status


def _positive(text: str) -> int:
    """A number of things of which there must be some."""
    if not text.isdecimal() or int(text[:10]) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number, 1 or more")
    return int(text[:10])


def _certs(options: argparse.Namespace) -> int:
    try:
        from rtpproxy_tw.tools import certs
    except ImportError:
        print(
            "rtpproxy-ctl: certs needs pyOpenSSL: pip install 'rtpproxy-tw[tls]'", file=sys.stderr
        )
        return REFUSED
    try:
        made = certs.make(
            options.directory, options.server or certs.own_names(), options.client, options.days
        )
    except OSError as error:
        print(f"rtpproxy-ctl: {error.filename}: {error.strerror}", file=sys.stderr)
        return REFUSED
    except ValueError as error:
        print(f"rtpproxy-ctl: {words.visible(error)}", file=sys.stderr)
        return REFUSED
    _tell(
        options, dict(made), certs.advice(options.directory, options.client, made, options.server)
    )
    return DONE


def divided(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are ours, and those that are options of a relay.

    Commands of ``FOR_RELAYS`` take the relay's own command line, whose options argparse would not
    know, beside the few that are named there.
    """
    ours = list(arguments)
    at = 0
    while at < len(ours) and ours[at].startswith("-"):
        at += 1 if "=" in ours[at] or ours[at] in ("--json", "-h", "--help") else 2
    if at >= len(ours) or ours[at] not in FOR_RELAYS:
        return ours, []
    known = FOR_RELAYS[ours[at]]
    rest, ours, relay = ours[at + 1 :], ours[: at + 1], []
    while rest:
        word = rest.pop(0)
        takes = known.get(word.partition("=")[0])
        if takes is None:
            relay.append(word)
        else:
            ours.append(word)
            if takes and "=" not in word and rest:
                ours.append(rest.pop(0))
    return ours, relay


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="rtpproxy-ctl",
        description="Look into a running relay and act on its calls.",
        epilog="Exit status: 0 done, 1 refused, 2 wrong command line, 3 no such call, 4 the relay"
        " cannot be reached.",
    )
    parser.add_argument(
        "--api",
        type=_target,
        metavar="URL",
        help="the relay's HTTP interface: a path, unix:PATH, http://HOST:PORT or https://…"
        f" (${API}, else the default socket)",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help=f"its first line is the token to show (${TOKEN_FILE})"
    )
    parser.add_argument("--cert", metavar="FILE", help="client certificate (PEM)")
    parser.add_argument("--key", metavar="FILE", help="its key, if that is in a file of its own")
    parser.add_argument("--ca", metavar="FILE", help="whom to trust instead of the system's list")
    parser.add_argument("--redis", metavar="URL", help="of fleet: ask Redis instead of a relay")
    parser.add_argument("--json", action="store_true", help="print one JSON value and no more")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, about: str, run: Command | None = None) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        # Once more, so that it can also stand behind the command; the default is the outer one.
        made.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
        made.set_defaults(run=run)
        return made

    def add_for_call(name: str, about: str, run: Command) -> argparse.ArgumentParser:
        made = add(name, about, run)
        made.add_argument("call", metavar="CALL", help="the call-id")
        return made

    made = add("list", "list the calls", _list)
    made.add_argument("--search", metavar="TEXT", help="only call-ids with this text")
    made.add_argument("--verdict", metavar="CODE", help="only with this verdict on a leg")
    made.add_argument("--state", metavar="STATE", help="setup, one_way, both, held or silent")
    made.add_argument("--limit", type=int, metavar="N", help="at most so many")
    made.add_argument("--ids", action="store_true", help="print call-ids only")
    add_for_call("show", "show all that is known of a call", _show)
    add_for_call("why", "tell why a call has no audio, or that it has", _why)
    add("top", "watch the calls, those with troubles first", _top).add_argument(
        "--once", action="store_true", help="print it once"
    )
    add_for_call("trace", "fetch the last packets' headers as pcap", _trace).add_argument(
        "-o", "--output", default="-", metavar="FILE", help="where to (standard output)"
    )
    made = add_for_call("record", "record both parties of a call", _record)
    made.add_argument("--single", action="store_true", help="into one file, if the format allows")
    made.add_argument("--stop", action="store_true", help="end its recordings")
    add_for_call("delete", "end a call", _delete)
    add_for_call("debug", "log everything of a call, at any log level", _debug).add_argument(
        "--off", action="store_true", help="log it as usual again"
    )
    made = add("drain", "refuse new sessions without ending", _drain)
    made.add_argument("--off", action="store_true", help="take new sessions again")
    made.add_argument("--status", action="store_true", help="change nothing, tell how it is")
    made.add_argument("--exit", action="store_true", help="end the relay with its last session")
    made.add_argument(
        "--limit",
        type=float,
        metavar="SEC",
        help="then leave what still lives to other nodes, or end it",
    )
    add("fleet", "list the relays that share calls, and who has which address", _fleet)
    add("takeover", "go on with the calls of a media address, or of all", _take_over).add_argument(
        "address", nargs="?", metavar="ADDR", help="ours, or one that we stand by for (all)"
    )
    add("stats", "show the totals", _stats)
    add("capacity", "tell how many calls there can be", _capacity)
    made = add("call", "place a call between two built-in phones through a relay")
    made.add_argument(
        "--control",
        metavar="URL",
        help="its control socket, on this host or another: udp:HOST:PORT",
    )
    made.add_argument("--seconds", type=float, default=10.0, metavar="N", help="how long (10)")
    made = add("check", "tell whether a relay with these options would start here, and safely")
    made.usage = "rtpproxy-ctl check [--json] [--calls N] [options of rtpproxy-tw]"
    made.add_argument(
        "--calls", type=_positive, metavar="N", help="how many calls there are to be at once"
    )
    made = add("doctor", "prove with packets that a relay with these options would be reached")
    made.usage = (
        "rtpproxy-ctl doctor [--json] [--from URL] [--from-token-file FILE] [--stun SERVER]"
        " [--slice N] [options of rtpproxy-tw]"
    )
    made.add_argument(
        "--from", dest="helper", metavar="URL", help="HTTP interface of another relay, outside"
    )
    made.add_argument("--from-token-file", metavar="FILE", help="token for that")
    made.add_argument("--stun", metavar="SERVER", help="a STUN server, where there is no relay")
    made.add_argument(
        "--slice", type=int, default=256, metavar="N", help="ports bound at a time (256)"
    )
    made = add("certs", "make a private authority and certificates of it for tls: sockets")
    made.add_argument("directory", metavar="DIR", help="where to; what is there is kept")
    made.add_argument(
        "--server",
        action="append",
        metavar="NAME",
        help="host name or address of the relay, repeatable (this host's name and localhost)",
    )
    made.add_argument(
        "--client", default="client", metavar="NAME", help="name of the client's files (client)"
    )
    made.add_argument("--days", type=float, default=825, metavar="N", help="validity (825)")
    made = add("upgrade", "have a new process go on with all calls", _upgrade)
    made.usage = "rtpproxy-ctl upgrade [-- OPTIONS OF rtpproxy-tw]"
    made.add_argument("options", nargs="*", help="in place of those of the present process (same)")
    add("reload", "read certificates again; connections and calls stay", _reload)
    add("completion", "print completion for a shell, to be evaluated").add_argument(
        "shell", choices=("bash", "zsh")
    )
    return parser


def _target(text: str) -> Target:
    try:
        return read_target(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
