"""Words of an output that differ from run to run, and the sign that stands for them: clocks, durations, ports, ids.

What is masked says so: `ready after … s`, `https://127.0.0.1:…`, `--:--:--`. Plain numbers are never touched. Blanks
next to a mask are the padding of a column whose width followed the value, so they shrink to two.
"""

from __future__ import annotations

import re
from typing import Any

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?"), "----T--:--:--"),
    (re.compile(r"\b\d{2}:\d{2}:\d{2}(?:[.,]\d+)?\b"), "--:--:--"),
    (re.compile(r"\b\d+ m \d{2} s\b|\b\d+ h \d{2} m\b|\b\d+ d \d+ h\b"), "… s"),
    (re.compile(r"(?<![\w.#-])\d+(?:\.\d+)? ?(?:ns|µs|us|ms|s)\b(?!\w)"), "… s"),
    (re.compile(r"(?:started|running) at (?=https?://127\.)"), "running at "),
    (re.compile(r"private: --kubeconfig \S+?(?=[\s<]|$)"), "kaos-default is current"),
    (re.compile(r"(?P<name>\bkaos-[\w-]+ is current) \(was [^)]*\)"), r"\g<name>"),
    (re.compile(r"\b(?:127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost):\d+\b"), "127.0.0.1:…"),
    (re.compile(r"\b127\.(?!0\.0\.1\b)\d{1,3}\.\d{1,3}\.\d{1,3}\b"), "127.…"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "…"),
    (re.compile(r"\b(?P<kind>task|chat|session|msg|ctx|run)_[0-9a-f]{8,}\b"), r"\g<kind>_…"),
    (re.compile(rf"-[{_LETTERS}]{{8,10}}-[{_LETTERS}]{{5}}\b"), "-…"),
    (re.compile(r"\bv\d+\.\d+\.\d+[\w.+-]*"), "v…"),
)
_PADDED = re.compile(r"(?<=\S) {2,}(?=(?:… s|--:--:--|----T))|(?<=… s) {2,}|(?<=127\.0\.0\.1:…) {2,}")
_TIMES = frozenset(
    {"at", "seconds", "next_run_at", "now", "since", "created", "timestamp", "age_seconds", "duration_seconds"}
)  # fmt: skip


def masked(text: str) -> str:
    """The text with everything that differs from run to run replaced; masking twice changes nothing more."""
    for pattern, sign in MASKS:
        text = pattern.sub(sign, text)
    return _PADDED.sub("  ", text)


def masked_json(value: Any, key: str = "") -> Any:
    """JSON of a view: times are null, strings masked."""
    if isinstance(value, dict):
        return {name: masked_json(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [masked_json(item, key) for item in value]
    if isinstance(value, str):
        return masked(value)
    if key in _TIMES and isinstance(value, int | float) and not isinstance(value, bool):
        return None
    return value
