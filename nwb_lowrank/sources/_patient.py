"""HTTP that keeps trying, says so, can be interrupted, and never shows a token or a signed URL."""

from __future__ import annotations

import logging
import threading
from urllib.parse import urlsplit

import requests

from ._secrets import redacted, shown

log = logging.getLogger("nwb_lowrank.dandi")
WAITS = (0.5, 1, 2, 4, 8)  # seconds before each further try
AGAIN = (408, 429, 500, 502, 503, 504)
TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
LONGEST = 60  # seconds that a server may ask us to wait
stopping = threading.Event()  # set by whoever interrupts threads that may be waiting here


class Unreachable(ConnectionError):
    """No answer, whatever was tried. A built-in ConnectionError: the DANDI client's own, silent retries leave it alone."""


def wait(seconds: float, why: str) -> None:
    """Say why, then wait; Ctrl-C (or `stopping`, in a thread) ends it."""
    log.warning("%s; trying again in %.3g s (Ctrl-C stops)", redacted(why), seconds)
    if stopping.wait(seconds):
        raise KeyboardInterrupt


class PatientSession(requests.Session):
    """A requests session with timeouts and visible retries on refused connections and on answers of a server in trouble.

    Parameters
    ----------
    who : str
        With which its sentences begin.

    Raises
    ------
    Unreachable, TimeoutError
        After the last try, one sentence without secrets.
    """

    def __init__(self, who: str = "dandi"):
        super().__init__()
        self.who = who

    def request(self, method, url, **options):
        options["timeout"] = options.get("timeout") or TIMEOUT
        for delay in (*WAITS, None):
            try:
                answer = super().request(method, url, **options)
            except (requests.ConnectionError, requests.Timeout) as error:
                late = isinstance(error, requests.Timeout)
                if delay is None:
                    raise _gave_up(self.who, url, late) from None
                wait(delay, f"{self.who}: {shown(url)} {'did not answer in time' if late else 'cannot be reached'}")
                continue
            if answer.status_code not in AGAIN:
                return answer
            if delay is None:
                raise Unreachable(
                    f"{self.who}: {shown(url)} answered {answer.status_code} {len(WAITS) + 1} times: it is in trouble. Try again later."
                )
            wait(max(delay, _asked(answer)), f"{self.who}: {shown(url)} answered {answer.status_code}")


def _gave_up(who: str, url, late: bool) -> OSError:
    host = urlsplit(str(url)).netloc.rsplit("@", 1)[-1]
    if late:
        return TimeoutError(f"{who}: {host} did not answer within {TIMEOUT[1]} s, {len(WAITS) + 1} times. Check the network, or try later.")
    return Unreachable(f"{who}: cannot reach {host} ({len(WAITS) + 1} tries). Check the network or the proxy, or use what is in the cache.")


def _asked(answer: requests.Response) -> float:
    """Seconds that the server asks for (Retry-After)."""
    text = answer.headers.get("Retry-After", "")
    return min(float(text), LONGEST) if text.isdigit() else 0.0
