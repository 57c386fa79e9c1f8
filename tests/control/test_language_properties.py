"""What holds for any input: parsing is total, replies are one short line."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rtpproxy_tw.commands import (
    Allocated,
    Command,
    Failed,
    NotFound,
    Number,
    Reply,
    Text,
    WithResults,
)
from rtpproxy_tw.control.render import MAX_REPLY
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.errors import CommandError
from tests.control.grammar import RIGHT, WRONG, damaged

CODES = {0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 31, 32, 35, 37}
"""What parsing alone can find wrong."""

dialects = st.builds(RtpproxyDialect, bridging=st.booleans())
lines = st.one_of(RIGHT, WRONG, damaged(), damaged(WRONG)).map(
    lambda line: line.encode("utf-8", "surrogateescape")
)


def outcome(dialect: RtpproxyDialect, command: bytes) -> Command | CommandError:
    """What parsing gives, one way or the other."""
    try:
        return dialect.parse(command)
    except CommandError as error:
        return error


def check(dialect: RtpproxyDialect, command: bytes) -> None:
    """Parsing gives a command, the same each time, or an error fit to be told and logged."""
    parsed = outcome(dialect, command)
    if isinstance(parsed, CommandError):
        assert parsed.code in CODES
        assert parsed.reason.isprintable()
        assert 0 < len(parsed.reason) < 300
    else:
        assert parsed == dialect.parse(command)
        assert parsed == dialect.parse(b" " + command + b"\r\n")


@settings(deadline=None)
@given(dialects, st.binary(max_size=300))
def test_any_bytes_are_a_command_or_an_error(dialect: RtpproxyDialect, command: bytes) -> None:
    check(dialect, command)


@settings(deadline=None)
@given(dialects, lines)
def test_nearly_right_commands_are_a_command_or_an_error(
    dialect: RtpproxyDialect, command: bytes
) -> None:
    check(dialect, command)


@settings(deadline=None)
@given(lines, st.integers(0, 300), st.binary(min_size=1, max_size=3))
def test_damaged_bytes_are_a_command_or_an_error(line: bytes, at: int, noise: bytes) -> None:
    check(RtpproxyDialect(bridging=True), line[:at] + noise + line[at:])


@settings(deadline=None)
@given(RIGHT)
def test_right_commands_have_no_fault(line: str) -> None:
    parsed = outcome(RtpproxyDialect(), line.encode())
    # Only what follows && depends on what stands in front of it.
    assert not isinstance(parsed, CommandError) or parsed.code in (1, 3)


@settings(deadline=None)
@given(RIGHT)
def test_case_of_command_and_letters_means_nothing(line: str) -> None:
    head, _, rest = line.partition(" ")
    lower, upper = (
        outcome(RtpproxyDialect(), f"{spelt} {rest}".encode())
        for spelt in (head.lower(), head.upper())
    )
    if isinstance(lower, CommandError):
        assert isinstance(upper, CommandError)
        assert lower.code == upper.code
    else:
        assert lower == upper


ports = st.integers(1, 65534)
hosts = st.sampled_from(["127.0.0.1", "::1", "relay.example.org"]) | st.text(
    st.characters(codec="utf-8", exclude_characters=" \r\n&", exclude_categories=["Cc", "Zs"]),
    min_size=1,
    max_size=300,
)
allocations = st.builds(Allocated, ports, st.none() | hosts, st.booleans())
results = st.lists(st.sampled_from([0, 0, -1]) | allocations, max_size=15).map(tuple)
texts = st.builds(Text, st.text("ab=0 ", max_size=1500), st.sampled_from([25, 26]))
mains = st.builds(Number, st.integers(0)) | allocations | texts
replies: st.SearchStrategy[Reply] = st.one_of(
    mains, st.builds(Failed, st.integers(0, 99)), st.builds(NotFound)
) | st.builds(WithResults, mains, results)
cookies = st.none() | st.binary(min_size=1, max_size=512)


@settings(deadline=None)
@given(replies, cookies)
def test_a_reply_fits_and_ends_with_its_only_line_end(reply: Reply, cookie: bytes | None) -> None:
    line = RtpproxyDialect().render(reply, cookie)
    assert len(line) <= MAX_REPLY
    body = line if cookie is None else line.removeprefix(cookie + b" ")
    assert body.endswith(b"\n")
    assert body.count(b"\n") == 1


@settings(deadline=None)
@given(mains, results)
def test_a_client_that_takes_missing_results_for_0_reads_what_was_meant(
    main: Number | Allocated | Text, results: tuple[int | Allocated, ...]
) -> None:
    line = RtpproxyDialect().render(WithResults(main, results)).decode()
    if line.startswith("E"):
        return  # the main reply did not fit
    told = line.removesuffix("\n").split(" && ")[1:]
    failed = next((at for at, result in enumerate(results) if result == -1), len(results))
    for at, result in enumerate(results[: failed + 1]):
        seen = told[at] if at < len(told) else "0"
        if seen == "-1":
            return  # it failed, or it did not fit
        assert seen.split(" ")[0] == str(result.port if isinstance(result, Allocated) else result)
    assert len(told) <= failed + 1
