"""Text of others without the tokens and signatures in it."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

SECRET = re.compile(r"((?:X-Amz-[\w-]+|Signature|AWSAccessKeyId|Key-Pair-Id|Policy|token)=)[^&\s\"')]+|(\btoken )[\w.-]{8,}", re.IGNORECASE)


def redacted(text: str) -> str:
    """Text of others with signatures and tokens left out."""
    return SECRET.sub(lambda match: f"{match[1] or match[2]}…", text)


def shown(url) -> str:
    """A URL that may be shown: without its query, where signatures are, and without a user's name and password."""
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


class _Redacting(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        return True


def redact_logs(*names: str) -> None:
    """Whatever these loggers say from now on is redacted."""
    for name in names:
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Redacting) for known in logger.filters):
            logger.addFilter(_Redacting())
