"""REST of the demo exchange: routes to operations, parameters from query and body, headers with what was used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from aiohttp import web

from mia.sim.servers.errors import ApiError
from mia.sim.servers.security import rest_payload
from mia.sim.servers.wire import encode_json

if TYPE_CHECKING:
    from mia.sim.servers.server import DemoServer

ROUTES: Final = {
    ("GET", "ping"): "ping",
    ("GET", "time"): "time",
    ("GET", "exchangeInfo"): "exchangeInfo",
    ("GET", "depth"): "depth",
    ("GET", "trades"): "trades.recent",
    ("GET", "historicalTrades"): "trades.historical",
    ("GET", "aggTrades"): "trades.aggregate",
    ("GET", "klines"): "klines",
    ("GET", "ticker/bookTicker"): "ticker.book",
    ("GET", "ticker/price"): "ticker.price",
    ("GET", "ticker/24hr"): "ticker.24hr",
    ("POST", "order"): "order.place",
    ("POST", "order/test"): "order.test",
    ("GET", "order"): "order.status",
    ("DELETE", "order"): "order.cancel",
    ("POST", "order/cancelReplace"): "order.cancelReplace",
    ("PUT", "order/amend/keepPriority"): "order.amend.keepPriority",
    ("GET", "openOrders"): "openOrders.status",
    ("DELETE", "openOrders"): "openOrders.cancelAll",
    ("GET", "allOrders"): "allOrders",
    ("GET", "myTrades"): "myTrades",
    ("GET", "account"): "account.status",
    ("GET", "account/commission"): "account.commission",
    ("GET", "rateLimit/order"): "account.rateLimits.orders",
}


def add_routes(app: web.Application, server: DemoServer) -> None:
    """`/api/v3/*`."""

    async def handle(request: web.Request) -> web.Response:
        body = (await request.read()).decode("utf-8", "replace")
        return _answer(server, request, body)

    app.router.add_route("*", "/api/v3/{path:.*}", handle)


def _answer(server: DemoServer, request: web.Request, body: str) -> web.Response:
    name = ROUTES.get((request.method, request.match_info["path"]))
    if name is None:
        return web.Response(status=404, text="<html><body><h2>404 Not found</h2></body></html>", content_type="text/html")
    server.pump()
    query = request.raw_path.partition("?")[2]
    headers: dict[str, str] = {}
    is_order = False
    try:
        params = _params(query, body)
        operation = server.operations.table[name]
        is_order = operation.is_order
        if server.trace is not None and name == "order.place":
            server.trace.order(server.monotonic_ns(), params.get("newClientOrderId", ""), params.get("symbol", ""))
        if operation.is_signed:
            payload, signature = rest_payload(query, body)
            server.authorize(request.headers.get("X-MBX-APIKEY"), payload, signature, params)
        is_micro = request.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND"
        status, content = 200, encode_json(server.call(operation, params, 1 if is_micro else 1000))
    except ApiError as e:
        status, content = e.status, encode_json(e.body())
        if e.data and "retryAfter" in e.data:
            status, content = e.status, encode_json({"code": e.code, "msg": e.msg})
            headers["Retry-After"] = str(max(1, (e.data["retryAfter"] - e.data["serverTime"]) // 1000))
    server.commit()
    server.send_events()
    now_us = server.now_us()
    headers["X-MBX-USED-WEIGHT"] = headers["X-MBX-USED-WEIGHT-1M"] = str(server.limits.weight.count(now_us))
    if is_order:
        headers["X-MBX-ORDER-COUNT-10S"] = str(server.limits.orders_10s.count(now_us))
        headers["X-MBX-ORDER-COUNT-1D"] = str(server.limits.orders_day.count(now_us))
    return web.Response(status=status, body=content, content_type="application/json", headers=headers)


def _params(query: str, body: str) -> dict[str, str]:
    params: dict[str, str] = {}
    for text in (query, body):
        for name, value in parse_qsl(text, keep_blank_values=True):
            if name in params:
                raise ApiError(-1101, f"Duplicate values for parameter '{name}'.")
            params[name] = value
    return params
