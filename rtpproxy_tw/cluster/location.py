"""Where Redis is: URLs, as the operator writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

PORT = 6379
SENTINEL_PORT = 26379

FORMS = "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss://…[?ca=FILE], unix:///PATH or"
FORMS += " sentinel://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT],…/NAME[/DB]"
FORMS += "[?sentinel=[USER:]PASSWORD], sentinels://…[?ca=FILE&sentinel=…]"

SCHEMES = {
    "redis": frozenset[str](),
    "rediss": frozenset({"ca"}),
    "unix": frozenset[str](),
    "sentinel": frozenset({"sentinel"}),
    "sentinels": frozenset({"ca", "sentinel"}),
}
"""What may stand behind the question mark of each."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where, and as whom."""

    places: tuple[tuple[str, int], ...] = ()
    """Of the server, or of the sentinels."""
    path: str | None = None
    tls: bool = False
    """To the server, and to the sentinels."""
    ca: str | None = None
    """The file with the authorities that vouch for it; None: those of the system."""
    master: str | None = None
    """What the sentinels call the server."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    """The sentinels' own; None: they ask for none."""

    @property
    def text(self) -> str:
        """For people, without the password."""
        if self.path is not None:
            return f"unix://{self.path}"
        places = ",".join(f"{host}:{port}" for host, port in self.places)
        if self.master is not None:
            return f"sentinel{'s' if self.tls else ''}://{places}/{self.master}"
        return f"{'rediss' if self.tls else 'redis'}://{places}/{self.database}"


def read_location(text: str) -> Location:
    """Read a URL. Raises ValueError."""
    scheme, _, rest = text.partition("://")
    if scheme not in SCHEMES or not rest.isprintable():
        raise ValueError(f"must be {FORMS}")
    if scheme == "unix":
        parts = urlsplit(f"unix://{rest}")
        user, password = _who(parts.netloc.rpartition("@")[0])
        if not parts.path.startswith("/"):
            raise ValueError("the path of the socket is missing: unix:///PATH")
        return Location(path=unquote(parts.path), user=user, password=password)
    rest, _, query = rest.partition("?")
    more = _more(query, SCHEMES[scheme])
    sentinel_user, sentinel_password = None, None
    if "sentinel" in more:
        name, _, secret = more["sentinel"].rpartition(":")
        sentinel_user, sentinel_password = unquote(name) or None, unquote(secret)
    before, _, after = rest.partition("/")
    who, _, hosts = before.rpartition("@")
    user, password = _who(who)
    names = [word for word in after.split("/") if word]
    master = None
    if scheme.startswith("sentinel"):
        if not names:
            raise ValueError("the name of the master is missing: sentinel://HOST,HOST/NAME")
        master = names.pop(0)
    if len(names) > 1 or (names and not names[0].isdecimal()):
        raise ValueError(f"must be {FORMS}")
    places = tuple(_place(word, SENTINEL_PORT if master else PORT) for word in hosts.split(","))
    if len(places) > 1 and master is None:
        raise ValueError("several hosts are only for sentinel://")
    return Location(
        places=places,
        tls="ca" in SCHEMES[scheme],
        ca=unquote(more["ca"]) if "ca" in more else None,
        master=master,
        user=user,
        password=password,
        database=int(names[0]) if names else 0,
        sentinel_user=sentinel_user,
        sentinel_password=sentinel_password,
    )


def _more(query: str, known: frozenset[str]) -> dict[str, str]:
    """What stands behind the question mark, still quoted."""
    found = dict(each.partition("=")[::2] for each in query.split("&") if each)
    if not known.issuperset(found):
        allowed = " and ".join(f"{each}=" for each in sorted(known)) or "nothing"
        raise ValueError(f"after ? there can only be {allowed} here")
    if not found.get("ca", "/").startswith("/"):
        raise ValueError("ca= must be the path of a file: ca=/PATH")
    if not found.get("sentinel", "x"):
        raise ValueError("the sentinels' password is missing: sentinel=[USER:]PASSWORD")
    return found


def _who(text: str) -> tuple[str | None, str | None]:
    user, colon, password = text.partition(":")
    return unquote(user) or None, unquote(password) if colon else None


def _place(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or default
