"""What names and short texts may look like.

Each function answers what is wrong, to follow the field's name, or None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

KEY_MAX: Final = 255
NAME_MAX: Final = 255
ENCODING_MAX: Final = 63
NOTE_MAX: Final = 1024
LABELS_MAX: Final = 16
LABEL_KEY_MAX: Final = 63
LABEL_VALUE_MAX: Final = 255

_NAMESPACE = re.compile(r"[a-z0-9-]{1,63}")
_TASK = re.compile(r"[A-Za-z0-9_-]{1,64}")


def namespace_problem(name: str) -> str | None:
    """Namespaces: [a-z0-9-]{1,63}."""
    return None if _NAMESPACE.fullmatch(name) else "must be 1 to 63 characters of a-z, 0-9 and '-'"


def queue_problem(name: str) -> str | None:
    """Queues: [a-z0-9-]{1,63}."""
    return namespace_problem(name)


def task_problem(name: str) -> str | None:
    """Tasks: [A-Za-z0-9_-]{1,64}."""
    return None if _TASK.fullmatch(name) else "must be 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'"


def text_problem(text: str, *, limit: int) -> str | None:
    """Free text of at most `limit` characters."""
    if len(text) > limit:
        return f"is {len(text)} characters; the limit is {limit}"
    return "must not contain U+0000" if "\0" in text else None


def labels_problem(labels: Mapping[str, str]) -> str | None:
    """Labels: at most 16, keys of 1 to 63 and values of at most 255 characters."""
    if len(labels) > LABELS_MAX:
        return f"are {len(labels)}; the limit is {LABELS_MAX}"
    for key, value in labels.items():
        if not key:
            return "must not have an empty key"
        if wrong := text_problem(key, limit=LABEL_KEY_MAX):
            return f"has a key that {wrong}"
        if wrong := text_problem(value, limit=LABEL_VALUE_MAX):
            return f"has a value (of '{key}') that {wrong}"
    return None
