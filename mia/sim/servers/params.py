"""Parameters of one request, read and judged as the venue does: each complaint has its code and wording."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from mia.sim.servers.errors import ApiError, missing

CLIENT_ID: Final = "^[a-zA-Z0-9-_]{1,36}$"
_CLIENT_ID: Final = re.compile(r"[a-zA-Z0-9\-_]{1,36}\Z")
_DECIMAL_TEXT: Final = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"
_DECIMAL: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?\Z")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}\Z")
_DIGITS_MAX: Final = 8
_SECURITY: Final = frozenset(("apiKey", "signature", "timestamp", "recvWindow"))


class Params:
    """Named values of a request. Reading notes the name, so that `refuse_unread` finds what no one asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._read: set[str] = set(_SECURITY)

    def has(self, name: str) -> bool:
        """It was sent and is not empty."""
        self._read.add(name)
        return self._values.get(name) not in (None, "")

    def text(self, name: str, default: str | None = None) -> str:
        """A string; -1102 when it is absent and has no default."""
        if not self.has(name):
            if default is None:
                raise missing(name)
            return default
        return str(self._values[name])

    def choice(self, name: str, allowed: tuple[str, ...], code: int, what: str, default: str | None = None) -> str:
        """One of a few words."""
        value = self.text(name, default)
        if value not in allowed:
            raise ApiError(code, f"Invalid {what}.")
        return value

    def integer(self, name: str) -> int | None:
        """A whole number, None when absent; -1100 when it is something else."""
        if not self.has(name):
            return None
        text = str(self._values[name])
        if not _INTEGER.match(text):
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        return int(text)

    def limit(self, default: int, most: int) -> int:
        """`limit`, cut to what is given at most."""
        value = self.integer("limit")
        return max(1, min(most, default if value is None else value))

    def decimal(self, name: str) -> Decimal | None:
        """A positive decimal with at most eight digits, None when absent."""
        if not self.has(name):
            return None
        text = str(self._values[name])
        if not _DECIMAL.match(text):
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{_DECIMAL_TEXT}'.")
        value = Decimal(text)
        if len(text.partition(".")[2].rstrip("0")) > _DIGITS_MAX:
            raise ApiError(-1111, f"Parameter '{name}' has too much precision.")
        return value

    def client_id(self, name: str) -> str | None:
        """A client order id, None when absent."""
        if not self.has(name):
            return None
        text = str(self._values[name])
        if not _CLIENT_ID.match(text):
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{CLIENT_ID}'.")
        return text

    def flag(self, name: str) -> bool:
        """A boolean, false when absent."""
        return self.has(name) and str(self._values[name]).lower() == "true"

    def refuse_unread(self) -> None:
        """-1104 when something was sent that the operation does not know."""
        sent = [name for name in self._values if name not in _SECURITY]
        read = [name for name in sent if name in self._read]
        if len(read) != len(sent):
            n = len(self._values) - len(sent)
            raise ApiError(
                -1104, f"Not all sent parameters were read; read '{len(read) + n}' parameter(s) but was sent '{len(self._values)}'."
            )


def refuse_sent(params: Params, *names: str) -> None:
    """-1106 for parameters that the chosen kind of order does not take."""
    for name in names:
        if params.has(name):
            raise ApiError(-1106, f"Parameter '{name}' sent when not required.")
