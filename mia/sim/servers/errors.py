"""The demo exchange's "no" as the venue words it: HTTP status, code, message."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """One request is refused; nothing was executed unless `data` says otherwise."""

    def __init__(self, code: int, msg: str, status: int = 400, data: dict[str, Any] | None = None) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.status = status
        self.data = data

    def body(self) -> dict[str, Any]:
        """The JSON object of the error."""
        body: dict[str, Any] = {"code": self.code, "msg": self.msg}
        if self.data is not None:
            body["data"] = self.data
        return body


def missing(name: str) -> ApiError:
    """A mandatory parameter that is absent, empty or malformed."""
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def filter_failure(name: str) -> ApiError:
    """An order that breaks a filter of the symbol."""
    return ApiError(-1013, f"Filter failure: {name}")


def new_order_rejected(text: str) -> ApiError:
    """The matching engine refuses an order."""
    return ApiError(-2010, text)
