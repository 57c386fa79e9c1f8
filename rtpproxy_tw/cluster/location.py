"""Where Redis is: URLs, as the operator writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

PORT = 6379
SENTINEL_PORT = 26379

FORMS = "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss://…[?ca=FILE], unix:///PATH or"
FORMS += " sentinel://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT],…/NAME[/DB]"


@dataclass(frozen=True, slots=True)
class Location:
    """Where, and as whom."""

    places: tuple[tuple[str, int], ...] = ()
    """Of the server, or of the sentinels."""
    path: str | None = None
    tls: bool = False
    ca: str | None = None
    """The file with the authorities that vouch for it; None: those of the system."""
    master: str | None = None
    """What the sentinels call the server."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0

    @property
    def text(self) -> str:
        """For people, without the password."""
        if self.path is not None:
            return f"unix://{self.path}"
        places = ",".join(f"{host}:{port}" for host, port in self.places)
        if self.master is not None:
            return f"sentinel://{places}/{self.master}"
        return f"{'rediss' if self.tls else 'redis'}://{places}/{self.database}"


def read_location(text: str) -> Location:
    """Read a URL. Raises ValueError."""
    scheme, _, rest = text.partition("://")
    if scheme not in ("redis", "rediss", "unix", "sentinel") or not rest.isprintable():
        raise ValueError(f"must be {FORMS}")
    if scheme == "unix":
        parts = urlsplit(f"unix://{rest}")
        user, password = _who(parts.netloc.rpartition("@")[0])
        if not parts.path.startswith("/"):
            raise ValueError("the path of the socket is missing: unix:///PATH")
        return Location(path=unquote(parts.path), user=user, password=password)
    rest, _, query = rest.partition("?")
    ca = dict(parse_qsl(query, keep_blank_values=True))
    if ca and (scheme != "rediss" or set(ca) != {"ca"} or not ca["ca"].startswith("/")):
        raise ValueError("after ? there can only be ca=/PATH, for rediss://")
    before, _, after = rest.partition("/")
    who, _, hosts = before.rpartition("@")
    user, password = _who(who)
    names = [word for word in after.split("/") if word]
    master = None
    if scheme == "sentinel":
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
        tls=scheme == "rediss",
        ca=ca.get("ca"),
        master=master,
        user=user,
        password=password,
        database=int(names[0]) if names else 0,
    )


def _who(text: str) -> tuple[str | None, str | None]:
    user, colon, password = text.partition(":")
    return unquote(user) or None, unquote(password) if colon else None


def _place(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or default
