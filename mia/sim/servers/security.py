"""Who may ask: API key, HMAC-SHA256 signature, and the time window of signed requests."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from mia.sim.servers.errors import ApiError, missing
from mia.sim.servers.state_files import Credentials

RECV_WINDOW_MS: Final = Decimal(5_000)
_RECV_WINDOW_MS_MAX: Final = 60_000
_KEY: Final = re.compile(r"[A-Za-z0-9]{16,128}\Z")
_MICRO_FROM: Final = 10**14  # a timestamp as large as this is in microseconds


class Guard:
    """Judges the security parameters of requests to one account."""

    def __init__(self, credentials: Credentials) -> None:
        self._key = credentials.api_key
        self._secret = credentials.secret.encode()

    def check_key(self, api_key: str | None) -> None:
        """ApiError -2014 or -2015 unless it is the account's key."""
        if not api_key or not _KEY.match(api_key):
            raise ApiError(-2014, "API-key format invalid.", 401)
        if not hmac.compare_digest(api_key, self._key):
            raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)

    def check_signature(self, payload: str, signature: str | None) -> None:
        """ApiError -1022 unless `signature` is the HMAC-SHA256 of the payload as hex, in either case of letters."""
        if not signature:
            raise missing("signature")
        expected = hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature.lower()):
            raise ApiError(-1022, "Signature for this request is not valid.")

    @staticmethod
    def check_time(params: Mapping[str, Any], now_us: int) -> None:
        """ApiError -1021 unless timestamp < now + 1 s and now - timestamp <= recvWindow."""
        try:
            timestamp = int(str(params["timestamp"]))
        except (KeyError, ValueError):
            raise missing("timestamp") from None
        try:
            window_ms = Decimal(str(params.get("recvWindow", RECV_WINDOW_MS)))
        except InvalidOperation:
            raise ApiError(-1100, "Illegal characters found in parameter 'recvWindow'.") from None
        if not (0 < window_ms <= _RECV_WINDOW_MS_MAX):
            raise ApiError(-1131, f"recvWindow must be less than {_RECV_WINDOW_MS_MAX}")
        sent_us = timestamp if timestamp >= _MICRO_FROM else timestamp * 1000
        if sent_us >= now_us + 1_000_000:
            raise ApiError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        # A millisecond stamp cannot say more than its millisecond: compare in whole ones.
        if (now_us - sent_us) // 1000 > window_ms:
            raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")


def websocket_payload(params: Mapping[str, Any]) -> str:
    """What a WebSocket API request signs: all parameters but the signature, sorted by name, `k=v` joined by `&`."""
    return "&".join(f"{k}={_plain(params[k])}" for k in sorted(params) if k != "signature")


def _plain(value: object) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)


def rest_payload(query: str, body: str) -> tuple[str, str | None]:
    """(what a REST request signs, its signature): query and body as sent, without the signature parameter."""
    signature = None
    parts = []
    for text in (query, body):
        kept = []
        for pair in text.split("&") if text else []:
            if pair.startswith("signature="):
                signature = pair[len("signature=") :]
            else:
                kept.append(pair)
        parts.append("&".join(kept))
    return "".join(parts), signature
