"""Strategies for commands: right ones, nearly right ones, and arbitrary damage.

Few call-ids and tags, so that commands of one script meet the same sessions. Lines are text
without newline in which surrogate escapes stand for bytes that are not UTF-8.
"""

from __future__ import annotations

from hypothesis import strategies as st


def _of(texts: str) -> st.SearchStrategy[str]:
    """One of the texts between the bars."""
    return st.sampled_from(texts.split("|"))


CALL_IDS = _of("c1|c1|c1|c2")
TAGS = _of("f|t|f;1|t;1|f;2|t;2")
HOSTS = _of("127.0.0.1|127.0.0.2|0.0.0.0|192.0.2.7|127.0.1")
ODD_HOSTS = _of(
    "999.1.1.1|garbage!!!|ignored|very.long.host.name|::1|2001:db8::1|1.1|0x7f000001|224.0.0.1"
    "|255.255.255.255|1.2.3.4%lo|127.0.0.1234567"
)
PORTS = _of("5000|6000|0|65535|+5")
ODD_PORTS = _of("abc|-1|5x|0x50||1e3|99999999999999999999")
LETTERS = st.lists(
    _of("a|S|w|n|c0,8|C0,8,101|z20|Z999|l127.0.0.1|L127.0.0.2|r127.0.0.1"),
    max_size=3,
    unique_by=lambda letter: letter[0].lower(),
).map("".join)
ODD_LETTERS = _of(
    "q|e|I|ie|t60|c|cx|z|z0|z1000|z-1|c0c8|z20z|c,|z+5|l|lx|l[]|l[::1|l{}|l{x|l.|l999.0.0.1"
    "|l[127.0.0.1]|l127.0.0.1.1|r|rx|r[]|r{x}|r999.1.1.1|l127.0.0.1{a}|z20.5|z00005|l[1:]"
    "|6|6q|L192.0.2.1|l192.0.2.1l127.0.0.1|c0z20c8|6l127.0.0.1"
)
SUBS = _of(
    "S ttl=30|Sr ttl=40|S tos=184|Sr tos=8|D|Dw|L 127.0.0.1 6002|Lc0,8 127.0.0.2 6004"
    "|L 0.0.0.0 0|C c2 f;1 t;1|C none x y"
)
ODD_SUBS = _of(
    "S|S ttl=0|S ttl=-1|S ttl=x|S ttl=|S ttl|Srr ttl=5|Sx ttl=5|S TTL=5|S ttl=2147483648"
    "|S ttl=5 tos=5|D x|Dx|L 127.0.0.1|Lq 127.0.0.1 5|V|Z|L 999.0.0.1 5|L 127.0.0.1 abc"
    "|Le 127.0.0.1 5|Cs a b c|C a b|M9:1 x|M|"
)
COUNTERS = _of("ttl|npkts_ina|nrelayed|rtpa_nlost|rtpa_javg|longest_ipi")
NAMES = _of("nsess_created|npkts_rcvd|npkts_played|ncmds_rcvd|ncmds_succd|ncmds_errs")


def _line(*words: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*words).map(lambda parts: " ".join(part for part in parts if part))


def _maybe(word: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.just("") | word


def _verb(verb: str, letters: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    both = st.sampled_from([verb, verb.lower()])
    return st.tuples(both, letters).map("".join)


def _any(*lines: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    # As one_of, but a single alternative where it stands in another one.
    return st.sampled_from(lines).flatmap(lambda line: line)


def _followed(subs: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(subs, max_size=3).map(lambda each: "".join(f" && {sub}" for sub in each))


def _commands(
    letters: st.SearchStrategy[str],
    hosts: st.SearchStrategy[str],
    ports: st.SearchStrategy[str],
    subs: st.SearchStrategy[str],
    notify: st.SearchStrategy[str],
    flag: st.SearchStrategy[str],
) -> st.SearchStrategy[str]:
    """All commands, made of these parts; ``flag`` is the modifiers of the simple ones."""
    to_tag = _maybe(TAGS)
    media = _line(_verb("U", letters), CALL_IDS, hosts, ports, TAGS, to_tag, _maybe(notify))
    answer = _line(_verb("L", letters), CALL_IDS, hosts, ports, TAGS, to_tag)
    codecs = _of("session|x|0,8")
    query = _line(_verb("Q", flag), CALL_IDS, TAGS, to_tag)
    counters = _line(_verb("Q", flag), CALL_IDS, TAGS, TAGS, COUNTERS, _maybe(COUNTERS))
    sessionless = _any(
        _line(_verb("G", flag), _maybe(NAMES), _maybe(NAMES)),
        _line(_verb("V", flag), _maybe(_of("20050322|20170313"))),
        _line(_of("VF|vf"), _of("20050322|20170313|20081224")),
        _line(_verb("I", flag)),
        _line(_verb("X", flag)),
    )
    return st.one_of(
        st.tuples(media, _followed(subs)).map("".join),
        st.tuples(answer, _followed(subs)).map("".join),
        st.tuples(query | counters, _followed(subs)).map("".join),
        _line(_verb("D", flag), CALL_IDS, TAGS, to_tag),
        _line(_verb("P", flag), CALL_IDS, st.just("nothing"), codecs, TAGS, to_tag),
        _line(_verb("S", flag), CALL_IDS, TAGS, to_tag),
        _line(_verb("R", flag), CALL_IDS, TAGS, to_tag),
        _line(_verb("C", flag), CALL_IDS, _of("name|other"), TAGS, to_tag),
        _line(_verb("N", flag), CALL_IDS, TAGS, to_tag),
        sessionless,
    )


ODD_FLAGS = _of("|v|w|s|a|b|l|p|x|vx|ab|sp|0|-1")
NOTIFY = _of("unix:/nowhere tag%201|tcp:127.0.0.10:9 x")
ODD_NOTIFY = _of("s %zz|s %4|s %")

RIGHT = _commands(LETTERS, HOSTS, PORTS, SUBS, NOTIFY, st.just(""))
"""Commands without a fault; whether their session exists is another question."""

WRONG = _commands(
    LETTERS | ODD_LETTERS,
    HOSTS | ODD_HOSTS,
    PORTS | ODD_PORTS,
    SUBS | ODD_SUBS,
    NOTIFY | ODD_NOTIFY,
    ODD_FLAGS,
)
"""Commands that may have any of the faults the language knows."""

CALLS = st.lists(
    st.builds(
        "{} {} {} {} {}".format,
        st.builds("{}{}".format, _of("U|U|L"), LETTERS),
        CALL_IDS,
        HOSTS,
        PORTS,
        _of("f t|f t|f|t f|f;1|f;1 t;1|t;1 f;1|f;2 t;2"),
    ),
    min_size=1,
    max_size=4,
)
"""The beginning of a script after which there are sessions."""


@st.composite
def damaged(draw: st.DrawFn, lines: st.SearchStrategy[str] = RIGHT) -> str:
    """A command with a word lost, doubled, swapped or overwritten, or characters put in."""
    words = draw(lines).split(" ")
    at = draw(st.integers(0, len(words) - 1))
    noise = st.text(st.sampled_from("&0159,.:;%[]{}-+xXé\udcff\t\x0b"), max_size=4)
    match draw(_of("lose|double|swap|overwrite|insert")):
        case "lose":
            del words[at]
        case "double":
            words.insert(at, words[at])
        case "swap":
            words[0], words[at] = words[at], words[0]
        case "overwrite":
            words[at] = draw(noise)
        case _:
            where = draw(st.integers(0, len(words[at])))
            words[at] = words[at][:where] + draw(noise) + words[at][where:]
    return " ".join(words)
