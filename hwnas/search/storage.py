"""URLs of storages: which are shared, how they are written for optuna, and where a password must not be seen."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

from hwnas.core.error_text import first_line
from hwnas.errors import ConfigError

__all__ = ["for_optuna", "hidden", "is_postgresql", "unusable", "without_password"]

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")


def is_postgresql(url: str) -> bool:
    """Whether several processes may work on the study at this URL."""
    return url.partition("://")[0] in _SCHEMES


def for_optuna(url: str) -> str:
    """The URL as SQLAlchemy reads it: PostgreSQL is reached by psycopg 3."""
    return "postgresql+psycopg://" + url.partition("://")[2] if is_postgresql(url) else url


def without_password(url: str) -> str:
    """The URL as it is kept in files."""
    return _replaced(url, "")


def hidden(url: str) -> str:
    """The URL as it is shown."""
    return _replaced(url, "***")


def unusable(url: str, error: BaseException) -> ConfigError:
    """What is said of a storage that cannot be opened."""
    return ConfigError(f"storage {hidden(url)!r} cannot be used: {first_line(error)}; check the URL and that it runs")


def _replaced(url: str, by: str) -> str:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    netloc = f"{name}{':' + by if colon and by else ''}{at}{host}"
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any(key == "password" for key, _ in query):
        kept = [(key, by if key == "password" else value) for key, value in query if by or key != "password"]
        parts = parts._replace(query=urlencode(kept, safe="/*"))
    if netloc == parts.netloc and parts.query == urlsplit(url).query:
        return url
    return f"{parts.scheme}://{netloc}{parts._replace(netloc='', scheme='').geturl()}"
