"""What people write for a place on DANDI, and one spelling for all of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

ID, VERSION = r"(?P<dandiset>\d{6})", r"(?P<version>\d+(?:\.\d+)+|draft)"
FORMS = (
    rf"dandi://(?:(?P<instance>[A-Za-z][-\w.]*|[-\w.]+:\d+)/)?{ID}(?:[@/]{VERSION})?(?:/(?P<path>.*))?",
    rf"(?:DANDI:)?{ID}(?:[@/]{VERSION})?(?:/(?P<path>.*))?",
    rf"https?://(?:gui\.)?dandiarchive\.org/(?:#/)?dandiset/{ID}(?:/{VERSION})?(?:/(?:files(?:\?location=(?P<path>[^&]*).*)?)?)?",
)
ON_DANDI = re.compile(r"dandi://.*|DANDI:.*|https?://[^?]*/(#/)?(dandisets?/\d{6}|assets/[-0-9a-f]{36})\b.*", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """A dandiset, or one or several assets in it.

    instance : name of the archive, None for the one of DANDI_INSTANCE;  dandiset : six digits, None for a bare asset URL;
    version : None for the latest published one;  path : asset, folder (ends with "/") or glob;  url : as the client takes it.
    """

    dandiset: str | None = None
    version: str | None = None
    path: str = ""
    instance: str | None = None
    url: str | None = None

    @property
    def is_glob(self) -> bool:
        return any(mark in self.path for mark in "*?[")

    def with_glob(self, glob: str | None) -> Address:
        """The same dandiset, narrowed to the paths that match."""
        return self if glob is None else replace(self, path=glob)


def is_dandi(source) -> bool:
    """True for text that names a place on DANDI (six digits alone could be a file)."""
    return isinstance(source, str) and ON_DANDI.fullmatch(source.strip()) is not None


def is_url(source) -> bool:
    """True for the text of an http(s) URL that is no place on DANDI."""
    return isinstance(source, str) and re.match(r"https?://", source.strip(), re.IGNORECASE) is not None and not is_dandi(source)


def parse(text: str) -> Address:
    """Read `dandi://dandi/ID@VERSION/PATH`, `dandi://dandi/ID/VERSION/PATH`, `DANDI:ID/VERSION/PATH`, an id, or a URL.

    Raises
    ------
    ValueError
        Nothing of the kind.
    """
    text = text.strip()
    for form in FORMS:
        match = re.fullmatch(form, text, re.IGNORECASE)
        if match:
            found = match.groupdict()
            folder = "location=" in text  # the web page shows folders
            path = unquote(found["path"] or "").lstrip("/")
            path += "/" if folder and path and not path.endswith("/") else ""
            instance = found.get("instance") or ("dandi" if "dandiarchive.org" in text else None)
            return Address(found["dandiset"], (found["version"] or "").lower() or None, path, instance and instance.lower())
    if re.match(r"https?://", text, re.IGNORECASE) and is_dandi(text):
        return Address(url=text)
    raise ValueError(
        f"dandi: expected a place such as DANDI:000140/0.220113.0408, dandi://dandi/000140/draft/sub-1/file.nwb or a "
        f"https://dandiarchive.org/dandiset/… page; got {text!r}. Write one of these."
    )


def spelled(instance: str, dandiset: str | None, version: str | None, path: str) -> str:
    """The one spelling that is stored: it names the version, and the client itself reads it too."""
    return f"dandi://{instance}/{dandiset or 'asset'}{'@' + version if version else ''}/{quote(path, safe='/+@ ')}"
