"""The names of places: local paths, and URLs with a query that stays at their end. Pure text, nothing is opened."""

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit


def is_remote(place: str) -> bool:
    """Whether a place is none of this machine's file system (which a shared folder is part of)."""
    return "://" in place and not place.startswith("file://")


def local_path(place: str) -> Path:
    """The path of a place that is not remote."""
    return Path(unquote(urlsplit(place).path)) if place.startswith("file://") else Path(place)


def join(place: str, *names: str) -> str:
    """A place inside another; the query of a URL (``?region=...``) stays at its end."""
    if not is_remote(place):
        return str(local_path(place).joinpath(*names))
    base, mark, query = place.partition("?")
    return "/".join([base.rstrip("/"), *map(quote, names)]) + mark + query


def last_name(place: str) -> str:
    """What a place is called in its folder."""
    if not is_remote(place):
        return local_path(place).name
    return unquote(place.partition("?")[0].rstrip("/").rpartition("/")[2])


def beside(place: str, name: str) -> str:
    """The place of that name in the same folder."""
    if not is_remote(place):
        return str(local_path(place).with_name(name))
    base, mark, query = place.partition("?")
    return f"{base.rstrip('/').rpartition('/')[0]}/{quote(name)}{mark}{query}"
