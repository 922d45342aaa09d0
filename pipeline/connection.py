"""The parts of a database connection: libpq's keywords and their values.

libpq parses a URL once. After that only the parts are used and no URL is built from them, because SQLAlchemy,
libpq and the standard library read and write URLs differently. The error for a malformed URL names the part
and the reason but quotes nothing: what looks like a port or a host may be half of a password.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from functools import cache
from urllib.parse import unquote, unquote_to_bytes

import psycopg
from psycopg import conninfo, pq

from pipeline.errors import SettingsError
from pipeline.redaction import learn
from pipeline.words import did_you_mean

FORM = "postgresql://user:password@host:port/database"
_SCHEMES = {"postgresql", "postgres"}
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://")
_LAST_PORT = 65535


class Malformed(SettingsError, ValueError):
    """A connection URL or option is malformed; the message has the part and the reason."""

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part}: {reason}")


def is_url(text: str) -> bool:
    """Whether the text begins with a scheme, of any kind."""
    return bool(_SCHEME.match(text))


def parts_of_url(url: str) -> dict[str, str]:
    """A URL's parts by libpq's keywords; raises Malformed."""
    try:
        return _parts_of_url(url)
    except Malformed:
        _learn_what_may_be_secret(url)
        raise


def _parts_of_url(url: str) -> dict[str, str]:
    match = _SCHEME.match(url)
    if not match:
        raise Malformed("scheme", f"it is missing; the form is {FORM}")
    check_scheme(match[1])
    rest = url[match.end() :].strip()
    for part, reason in _problems(rest):
        raise Malformed(part, reason)
    try:
        parts = conninfo.conninfo_to_dict(f"postgresql://{rest}")
    except psycopg.Error:
        raise Malformed("URL", f"libpq cannot read it; the form is {FORM}") from None
    return {keyword: str(value) for keyword, value in parts.items()}


def check_scheme(scheme: str) -> None:
    """Raise Malformed for a scheme other than PostgreSQL's; SQLAlchemy's driver after a + is ignored."""
    if scheme.lower().partition("+")[0] not in _SCHEMES:
        raise Malformed("scheme", f"{scheme}:// is not a PostgreSQL database; the form is {FORM}")


def options_of_url(url: str) -> dict[str, str]:
    """The options after the question mark of a URL that :func:`parts_of_url` accepts."""
    # The user and the password before the only @ may hold question marks.
    options = [each.partition("=") for each in url.strip().rpartition("@")[2].partition("?")[2].split("&")]
    return {unquote(keyword): unquote(value) for keyword, equals, value in options if equals}


def split_hosts(text: str) -> dict[str, str]:
    """Hosts and ports of ``h1:5432,h2:5433``; an IPv6 address needs no brackets, a socket is a path."""
    text = text.strip()
    if not text or ":" not in text or text.startswith(("/", "@")) or _is_ipv6(text):
        return {"host": text} if text else {}
    for part, reason in _host_problems(text):
        raise Malformed(part, reason)
    return {
        keyword: str(value) for keyword, value in conninfo.conninfo_to_dict(f"postgresql://{text}").items()
    }


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6  # noqa: PLR2004
    except ValueError:
        return False


def make(parts: Mapping[str, str]) -> str:
    """The conninfo string of these parts; registers their secrets for redaction. Raises Malformed."""
    learn(*(parts.get(keyword) for keyword in secret_keywords()))
    for keyword, value in parts.items():
        if keyword not in _keywords():
            raise Malformed(
                f"option {keyword}", f"libpq has no such option{did_you_mean(keyword, _keywords())}"
            )
        if problem := _undecodable(value):
            raise Malformed(keyword, problem)
    if not (parts.get("dbname") or parts.get("service")):
        raise Malformed("database", f"it is missing; the form is {FORM}")
    _check_hosts(parts)
    return conninfo.make_conninfo("", **parts)


def of(text: str) -> str:
    """The conninfo string of a URL, or of a conninfo string; raises Malformed."""
    if is_url(text):
        return make(parts_of_url(text))
    return make(parts_of(text))


def parts_of(text: str) -> dict[str, str]:
    """The parts of a conninfo string that :func:`make` returned."""
    try:
        return {keyword: str(value) for keyword, value in conninfo.conninfo_to_dict(text).items()}
    except psycopg.Error:
        raise Malformed("connection", f"is neither {FORM} nor what libpq reads") from None


def place(text: str) -> str:
    """The server and database, or service, of a conninfo string as ``host:port/database``."""
    parts = parts_of(text)
    port = parts.get("port", "").strip(",") or 5432
    return f"{parts.get('host') or 'localhost'}:{port}/{parts.get('dbname') or parts.get('service')}"


@cache
def secret_keywords() -> frozenset[str]:
    """The options whose values are secret."""
    hidden = {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar == b"*"}
    return frozenset({*hidden, "scram_client_key", "scram_server_key"})


@cache
def _keywords() -> frozenset[str]:
    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())


def _learn_what_may_be_secret(url: str) -> None:
    """Register everything in a malformed URL that may be a password or a part of one."""
    _, _, rest = url.partition("://")
    password = rest.rpartition("@")[0].partition(":")[2]
    # Parsers may take parts of a password for a host, a port or a database.
    fragments = re.split(r"[@/?#:\s\[\]]+", password)
    in_options = [text for name in secret_keywords() for text in re.findall(rf"[?&]{name}=([^&]*)", rest)]
    for text in (password, *fragments, *in_options):
        learn(text, unquote(text))


def _problems(rest: str) -> Iterator[tuple[str, str]]:
    """What libpq would refuse or misread in a URL without its scheme, as part and reason."""
    user_info, at, place = rest.partition("@")
    if not at or "/" in user_info:
        user_info, place = "", rest
    if "@" in place:
        sign, code = ("@", "%40") if user_info else ("/", "%2F")
        part = "password" if "@" in place.partition("?")[0] else "password or options"
        yield part, f"it contains a raw {sign}; write it as {code}"
        return
    place, _, query = place.partition("?")
    hostspec, _, database = place.partition("/")
    user, _, password = user_info.partition(":")
    options = [option.partition("=") for option in query.split("&")] if query else []
    named = [("user", user), ("password", password), ("host", hostspec), ("database", database)]
    named += [(_named(keyword), value) for keyword, _, value in options]
    for part, text in named:
        if problem := _unreadable(text):
            yield part, problem
    yield from _host_problems(hostspec)
    keywords = [keyword for keyword, _, _ in options]
    for keyword, equals, value in options:
        if keywords.count(keyword) > 1:
            yield _named(keyword), "it occurs twice; several hosts are written h1:5432,h2:5433"
        elif not equals:
            yield "options", "one has no value; they are written ?name=value&name=value"
        elif "=" in value:
            yield _named(keyword), "its value contains a raw =; write it as %3D"
        elif keyword not in _keywords() and (keyword, value) != ("ssl", "true"):
            yield _named(keyword), f"libpq has no such option{did_you_mean(keyword, _keywords())}"


def _named(keyword: str) -> str:
    return f"option {keyword}" if re.fullmatch(r"\w{1,40}", keyword) else "options"


def _unreadable(text: str) -> str | None:
    """The problem with a percent-encoded part, if any."""
    if any(sign.isspace() for sign in text):
        return "it contains white space; write a space as %20"
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return "it contains a raw %; write it as %25"
    try:
        return _undecodable(unquote_to_bytes(text).decode())
    except UnicodeError:
        return "it is not UTF-8 when decoded"


def _undecodable(value: str) -> str | None:
    """The problem with a decoded value, if any."""
    if "\0" in value:
        return "it contains the character NUL (%00), which Postgres does not accept"
    try:
        value.encode()
    except UnicodeError:
        return "it is not UTF-8"
    return None


def _host_problems(hostspec: str) -> Iterator[tuple[str, str]]:
    for each in hostspec.split(","):
        found = re.fullmatch(r"(?:\[[^\[\]]+\]|[^:\[\]]*)(?::(.*))?", each)
        if found is None or (found[1] and not each.startswith("[") and ":" in found[1]):
            yield (
                "host",
                f"brackets or colons are wrong; an IPv6 address is written [::1]; the form is {FORM}",
            )
        elif found[1] and not _is_port(found[1]):
            yield "port", f"it is not a number from 1 to {_LAST_PORT}; the form is {FORM}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= _LAST_PORT


def _check_hosts(parts: Mapping[str, str]) -> None:
    hosts = (parts.get("host") or parts.get("hostaddr") or "").split(",")
    if any(
        ":" in host and not (host.startswith(("/", "@")) or _is_ipv6(host.partition("%")[0]))
        for host in hosts
    ):
        raise Malformed("host", "it contains a port or a colon; the form is " + FORM)
    ports = [port.strip() for port in parts.get("port", "").split(",")]
    if not all(port == "" or _is_port(port) for port in ports):
        raise Malformed("port", f"it is not a number from 1 to {_LAST_PORT}")
    if len(ports) not in {1, len(hosts)}:
        raise Malformed(
            "port", f"there are {len(ports)} for {len(hosts)} hosts; give one for each, or one for all"
        )
