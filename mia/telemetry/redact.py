"""No secret leaves the process in a log: what is logged becomes plain, bounded data with its secrets taken out.

Runs first in the chain, so that no later step ever sees a raw object. Three nets: keys that name a secret, values that were
registered as secrets, and shapes of text that carry one (URLs with a password, signed queries, keys after key-like words).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

HIDDEN: Final = "[redacted]"
SECRET_CHARS_MIN: Final = 6  # a shorter value would blank half of the log; its key still hides it
TEXT_CHARS_MAX: Final = 8192
_DEPTH_MAX: Final = 6
_ITEMS_MAX: Final = 100
_INT_MAX: Final = 1 << 63

_SECRET_PARTS: Final = (
    "password", "passwd", "passphrase", "secret", "apikey", "token", "signature", "authorization", "credential", "privatekey",
    "listenkey", "cookie", "mbxapikey",
)  # fmt: skip
_SECRET_NAMES: Final = frozenset({"auth", "pwd", "pass", "pin", "otp"})
_NOT_WORD: Final = re.compile(r"[^a-z0-9]")

_WORD: Final = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|api[_-]?key|token|signature|authorization|credential"
    r"|private[_-]?key|listen[_-]?key|cookie)"
)
# Any text without one of these is left as it is; the costly shapes are tried on the rest only.
_HINT: Final = re.compile(r"pass|pwd|secret|key|token|signature|auth|credential|cookie|bearer|basic|://", re.IGNORECASE)
_SHAPES: Final = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"(://)[^\s/@'\"]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\b(bearer|basic|digest)\s+[\w+/=.~-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # name=value, name: value, "name": "value" and names with more around them (X-MBX-APIKEY, mqtt_password)
    (
        re.compile(rf"([\w-]*{_WORD}[\w-]*\\?[\"']?\s*[=:]\s*)(\\?\"[^\"]*\"|\\?'[^']*'|[^\s\"'&,;)}}\]]+)", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    # "invalid key abcdef...", "signature for this request: 0f3a...": long hex or base64 a few words after a key-like word
    (
        re.compile(rf"((?:{_WORD}|\bkey)s?\b(?:\W{{1,4}}\w{{1,12}}){{0,4}}?\W{{1,4}})[A-Za-z0-9+/_-]{{32,}}={{0,2}}", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
)  # fmt: skip


def names_secret(key: str) -> bool:
    """Whether a key's name says that its value is a secret: api_key, X-MBX-APIKEY, mqttPassword, ..."""
    plain = _NOT_WORD.sub("", key.lower())
    return plain in _SECRET_NAMES or any(part in plain for part in _SECRET_PARTS)


class Redactor:
    """Turns values into plain data without secrets. One for the process; registering is thread-safe."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()
        self._verdicts: Final[dict[str, bool]] = {}

    def register(self, value: str) -> bool:
        """Hide a value from now on, in every form that text gives it; False when it is too short to be found in text."""
        value = value.strip()
        if len(value) < SECRET_CHARS_MIN:
            return False
        lines = value.splitlines()
        found = {value, *(line.strip() for line in lines if len(lines) > 1 and len(line.strip()) >= 16)}
        forms = set(self._secrets)
        for text in found:
            forms |= {text, repr(text)[1:-1], json.dumps(text)[1:-1], quote(text, safe=""), quote(text), quote_plus(text)}
            forms.add(base64.b64encode(text.encode()).decode().rstrip("="))
        self._secrets = tuple(sorted(forms, key=len, reverse=True))  # the longest first: one may contain another
        return True

    def text(self, text: str) -> str:
        """Text without secrets, at most TEXT_CHARS_MAX long."""
        length = len(text)
        if length > TEXT_CHARS_MAX:  # cut with a margin first: a secret across the final cut is still seen whole
            text = text[: 2 * TEXT_CHARS_MAX]
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        if _HINT.search(text):
            for shape, replacement in _SHAPES:
                text = shape.sub(replacement, text)
        if length > TEXT_CHARS_MAX:
            margin = 256 + (len(self._secrets[0]) if self._secrets else 0)  # the first cut may have gone through a secret
            text = f"{text[: min(TEXT_CHARS_MAX, max(0, len(text) - margin))]}… ({length} characters)"
        if not text.isascii():
            text = text.encode("utf-8", "backslashreplace").decode()  # lone surrogates would not encode later
        return text

    def value(self, key: str, value: Any, depth: int = 0) -> Any:
        """A value as text, number, bool, None, or list or dict of such; hidden when its key names a secret."""
        if value is None or value is True or value is False:
            return value
        if key and self._names_secret(key):
            return HIDDEN
        kind = type(value)
        if kind is int:
            return value if -_INT_MAX <= value < _INT_MAX and not self._secrets else self._number(value)
        if kind is float:
            return value if math.isfinite(value) else str(value)
        if kind is str:
            return self.text(value)
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(value, depth)
        return self.text(_words(value))

    def _names_secret(self, key: str) -> bool:
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = names_secret(key)
            if len(self._verdicts) < 4096:
                self._verdicts[key] = verdict
        return verdict

    def _number(self, value: int) -> int | str:
        if not -_INT_MAX <= value < _INT_MAX:
            return self.text(hex(value))
        return value if str(value) not in self._secrets else HIDDEN

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        if depth >= _DEPTH_MAX:
            return f"{{… {len(value)} keys}}"
        plain = {}
        for i, (key, item) in enumerate(list(value.items())):
            if i == _ITEMS_MAX:
                plain["…"] = f"{len(value)} keys"
                break
            name = key if type(key) is str else _words(key)
            plain[self.text(name)] = self.value(name, item, depth + 1)
        return plain

    def _items(self, value: Any, depth: int) -> Any:
        if depth >= _DEPTH_MAX:
            return f"[… {len(value)} items]"
        items = list(value)
        plain: list[Any] = []
        for i, item in enumerate(items[:_ITEMS_MAX]):
            # A pair such as ("api_key", "abc") of a header list names its secret by its first half.
            key = items[0] if i == 1 and len(items) == 2 and type(items[0]) is str else ""
            plain.append(self.value(key, item, depth + 1))
        if len(items) > _ITEMS_MAX:
            plain.append(f"… {len(items)} items")
        return plain


def _words(value: object) -> str:
    """An object as text; one whose own text fails is named by its type."""
    try:
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}"
        return str(value) if not isinstance(value, bytes | bytearray | memoryview) else repr(bytes(value[: 2 * TEXT_CHARS_MAX]))
    except Exception as e:
        return f"<{type(value).__name__} whose text raised {type(e).__name__}>"


REDACTOR: Final = Redactor()


def register_secret(value: str) -> bool:
    """Hide a value from every log line of this process; False when it is shorter than 6 characters and cannot be."""
    return REDACTOR.register(value)
