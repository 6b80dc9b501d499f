"""What can go wrong between here and a DANDI server, in one sentence each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests


def token_variable(instance: str) -> str:
    """Environment variable that holds the token of an instance: DANDI_API_KEY for the archive itself."""
    name = re.sub(r"\W", "_", instance.upper())
    return f"{'DANDI_' if name[:1].isdigit() else ''}{name}_API_KEY"


@contextmanager
def sentences(instance: str, subject: str) -> Iterator[None]:
    """Errors of the client and of HTTP as one sentence each, without URLs that may be signed.

    Raises
    ------
    FileNotFoundError (404), PermissionError (401, 403), ConnectionError (anything else from the server), ValueError (no DANDI server)
    """
    from dandi.exceptions import FailedToConnectError, NotFoundError, UnknownURLError

    try:
        yield
    except NotFoundError:
        raise _not_found(instance, subject) from None
    except requests.exceptions.JSONDecodeError:
        raise ValueError(f"dandi: {instance} does not answer as a DANDI server does. Check DANDI_INSTANCE or the URL.") from None
    except requests.HTTPError as error:
        raise refused(instance, subject, getattr(error.response, "status_code", 0)) from None
    except (requests.RequestException, FailedToConnectError):
        raise ConnectionError(f"dandi: the connection to {instance} was lost at {subject}. Check the network and try again.") from None
    except UnknownURLError:
        raise ValueError(f"dandi: the DANDI client does not know what '{subject}' is. Pass DANDI:ID/VERSION or dandi://dandi/ID.") from None


def _not_found(instance: str, subject: str) -> FileNotFoundError:
    return FileNotFoundError(f"dandi: {instance} has no {subject} (404). Check the id, the version and the path.")


def refused(instance: str, subject: str, status: int) -> OSError:
    """The error for an answer of the server, by its HTTP status."""
    variable = token_variable(instance)
    if status == 404:
        return _not_found(instance, subject)
    if status == 401 and not os.environ.get(variable):
        return PermissionError(f"dandi: {subject} on {instance} is embargoed or private and needs a token (401). "
                               f"Set {variable} to your API key (on the archive's page, under your initials).")  # fmt: skip
    if status == 401:
        return PermissionError(f"dandi: {instance} does not accept the token in {variable} (401). Get a new API key and set it.")
    if status == 403:
        return PermissionError(f"dandi: you may not read {subject} on {instance} (403). Ask its owners for access, then set {variable}.")
    return ConnectionError(f"dandi: {instance} answered {status} for {subject}. Try again later.")
