"""The WebSocket API of the demo exchange: one request a frame, user events by subscription."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mia.sim.servers.errors import ApiError
from mia.sim.servers.operations import known
from mia.sim.servers.security import websocket_payload
from mia.sim.servers.websocket import WebSocket
from mia.sim.servers.wire import encode_json, in_unit

if TYPE_CHECKING:
    from mia.sim.servers.server import DemoServer

_DECODER: Final = msgspec.json.Decoder(float_hook=str)  # a number keeps its text: the signature was made over it
_LIFE_SUBSCRIPTIONS_MAX: Final = 65_535


class ApiConnection:
    """One connection to `/ws-api/v3`."""

    def __init__(self, server: DemoServer, socket: WebSocket, is_micro: bool, shows_limits: bool) -> None:
        self._server = server
        self.socket = socket
        self._is_micro = is_micro
        self._shows_limits = shows_limits
        self._subscription: int | None = None
        self._subscriptions = 0

    def on_ping(self) -> None:
        """Nothing to do."""

    def on_closed(self) -> None:
        """Forget the connection."""
        self._server.api_connections.discard(self)

    def on_text(self, payload: bytes, received_ns: int) -> None:
        """One request, answered before this returns."""
        self._server.pump()
        number: Any = None
        shows_limits, is_order = self._shows_limits, False
        try:
            request = self._read(payload)
            number, params = request["id"], request["params"]
            if isinstance(params.get("returnRateLimits"), bool):
                shows_limits = params.pop("returnRateLimits")
            method = request["method"]
            is_order = method.startswith("order.")
            answer = {"id": number, "status": 200, "result": self._do(method, params, received_ns)}
        except ApiError as e:
            answer = {"id": number, "status": e.status, "error": e.body()}
        if shows_limits:
            answer["rateLimits"] = self._server.limits.rows(self._server.now_us(), is_order)
        self._server.commit()
        self.socket.send(encode_json(answer))
        self._server.send_events()

    @staticmethod
    def _read(payload: bytes) -> dict[str, Any]:
        try:
            request = _DECODER.decode(payload)
        except msgspec.DecodeError:
            raise ApiError(-1135, "Invalid JSON Request") from None
        if not isinstance(request, dict) or not isinstance(request.get("method"), str) or not isinstance(request.get("params", {}), dict):
            raise ApiError(-1135, "Invalid JSON Request")
        return {"id": request.get("id"), "method": request["method"], "params": request.get("params", {})}

    def _do(self, method: str, params: dict[str, Any], received_ns: int) -> Any:
        server = self._server
        if method == "session.logon":
            server.limits.spend(2, server.now_us())
            server.guard.check_key(params.get("apiKey"))
            raise ApiError(-4056, "HMAC_SHA256 API key is not supported.")
        if method in ("session.status", "session.logout"):
            return {"apiKey": None, "authorizedSince": None, "connectedSince": None, "returnRateLimits": self._shows_limits,
                    "serverTime": time.time_ns() // 1_000_000, "userDataStream": self._subscription is not None}  # fmt: skip
        if method == "userDataStream.subscribe.signature":
            server.limits.spend(2, server.now_us())
            server.authorize(params.get("apiKey"), websocket_payload(params), params.get("signature"), params)
            return {"subscriptionId": self._subscribe()}
        if method == "userDataStream.unsubscribe":
            server.limits.spend(2, server.now_us())
            return self._unsubscribe(params.get("subscriptionId"))
        if method == "session.subscriptions":
            return [] if self._subscription is None else [{"subscriptionId": self._subscription}]
        if method == "userDataStream.subscribe":
            raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        operation = known(server.operations.table, method)
        if operation.is_order and server.trace is not None and method == "order.place":
            server.trace.order(received_ns, str(params.get("newClientOrderId", "")), str(params.get("symbol", "")))
        if operation.is_signed:
            server.authorize(params.get("apiKey"), websocket_payload(params), params.get("signature"), params)
        return server.call(operation, params, 1 if self._is_micro else 1000)

    # --- user data -------------------------------------------------------------------------------------------------
    def _subscribe(self) -> int:
        if self._subscription is not None:
            raise ApiError(-2035, "User Data Stream subscription already active.")
        if self._subscriptions >= _LIFE_SUBSCRIPTIONS_MAX:
            raise ApiError(-2042, "The subscription ids of this connection are used up; open another.")
        self._subscription = self._subscriptions
        self._subscriptions += 1
        return self._subscription

    def _unsubscribe(self, wanted: object) -> dict[str, Any]:
        if self._subscription is None or wanted not in (None, self._subscription):
            raise ApiError(-2036, "User Data Stream subscription not active.")
        ended, self._subscription = self._subscription, None
        self.socket.send(encode_json({"subscriptionId": ended, "event": {"e": "eventStreamTerminated", "E": self._stamp()}}))
        return {}

    def _stamp(self) -> int:
        now = self._server.now_us()
        return now if self._is_micro else now // 1000

    def send_event(self, event: dict[str, Any]) -> None:
        """One user event, when it is subscribed to."""
        if self._subscription is not None:
            self.socket.send(encode_json({"subscriptionId": self._subscription, "event": in_unit(event, self._is_micro)}))

    def shut_down(self) -> None:
        """The end is near."""
        self.socket.send(encode_json({"event": {"e": "serverShutdown", "E": self._stamp()}}))
