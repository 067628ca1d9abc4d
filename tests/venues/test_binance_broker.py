"""The order path on real sockets against a venue that misbehaves on request: what is certain is said once, nothing is sent twice."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from mia.domain.effects import CancelOrder, QueryOrder, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.events import (
    BalanceReported,
    CancelRejected,
    OpenOrdersReported,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    PositionReported,
    ReplaceRejected,
    RequestTimedOut,
)
from mia.ports import Link
from mia.venues.binance import queries
from mia.venues.binance.connect import BinanceSpot, Credentials
from tests.venues.scripted import FAST, SECRET, SILENCE, RecordingHost, Refusal, ScriptedVenue, spot, venue_and_client

pytestmark = pytest.mark.asyncio
NAME = "mia0100010000010"


def submit(name: str = NAME, qty: int = 1000, order_type: str = "market", price: int = 6_000_000) -> SubmitOrder:
    return SubmitOrder(name, 0, 1, order_type, qty, price if order_type == "limit" else 0, 0, False, False, "entry", 1, "")


def state(status: str, executed: str = "0.00000000", name: str = NAME, **more: Any) -> dict[str, Any]:
    base = {
        "symbol": "BTCUSDT", "orderId": 42930001, "orderListId": -1, "clientOrderId": name, "transactTime": 1790000000100,
        "price": "60000.00000000", "origQty": "0.01000000", "executedQty": executed, "status": status, "timeInForce": "GTC",
        "type": "LIMIT", "side": "BUY",
    }  # fmt: skip
    return base | more


def report(execution: str, status: str, name: str = NAME, **more: Any) -> dict[str, Any]:
    base = {
        "e": "executionReport", "E": 1790000000101, "s": "BTCUSDT", "c": name, "S": "BUY", "o": "LIMIT", "f": "GTC", "q": "0.01000000",
        "p": "60000.00000000", "P": "0.00000000", "C": "", "x": execution, "X": status, "r": "NONE", "i": 42930001, "l": "0.00000000",
        "z": "0.00000000", "L": "0.00000000", "n": "0", "N": None, "T": 1790000000100, "t": -1, "w": True, "m": False, "M": False,
    }  # fmt: skip
    return base | more


def traded(trade_id: int = 7, qty: str = "0.01000000", filled: str = "0.01000000", status: str = "FILLED", **more: Any) -> dict[str, Any]:
    return report("TRADE", status, l=qty, z=filled, L="60000.00000000", t=trade_id, n="0.60000000", N="USDT", **more)


def own_trade(trade_id: int = 7, qty: str = "0.01000000", order_id: int = 42930001) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "id": trade_id, "orderId": order_id, "price": "60000.00000000", "qty": qty, "quoteQty": "600", "commission":
        "0.60000000", "commissionAsset": "USDT", "time": 1790000001100, "isBuyer": True, "isMaker": False, "isBestMatch": True,
    }  # fmt: skip


@pytest.fixture
def quick_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment after which an order cannot arrive any more comes soon."""
    monkeypatch.setattr(queries, "ARRIVAL_MAX_MS", 400)
    monkeypatch.setattr(queries, "ASK_AGAIN_S", (0.05, 0.1))


def asks_back(host: RecordingHost, client: BinanceSpot) -> None:
    """Do as the engine does: an unknown outcome is asked for."""

    def on_report(event: Any) -> None:
        if type(event) is RequestTimedOut:
            client.send([QueryOrder(event.client_order_id, 0)], 0)

    host.on_report = on_report


# --- placing ------------------------------------------------------------------------------------------------------------------
async def test_an_accepted_order_is_said_once_whether_answer_or_event_comes_first() -> None:
    async with venue_and_client() as (venue, host, client):

        async def event_first(_: Any) -> Any:
            await venue.push(report("NEW", "NEW"))
            return state("NEW")

        venue.answers["order.place"] = event_first
        client.send([submit(order_type="limit")], host.now_ns())
        await host.until(lambda: client.counters()["api_answers"] >= 3)

        venue.answers["order.place"] = lambda r: state("NEW", name=r["params"]["newClientOrderId"], orderId=2)
        client.send([submit("mia0100010000020", order_type="limit")], host.now_ns())
        await host.until(lambda: len(host.of(OrderAccepted)) == 2)
        await venue.push(report("NEW", "NEW", "mia0100010000020", i=2))
        await asyncio.sleep(0.1)

        assert [(e.client_order_id, e.venue_order_id) for e in host.of(OrderAccepted)] == [(NAME, "42930001"), ("mia0100010000020", "2")]


async def test_a_fill_that_comes_twice_is_reported_once_with_the_venues_trade_id() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: state("FILLED", "0.01000000")
        client.send([submit()], host.now_ns())
        await host.until(lambda: bool(host.of(OrderAccepted)))

        await venue.push(traded())
        await venue.push(traded())
        await host.until(lambda: client.counters()["fills_repeated"] == 1)

        (fill,) = host.of(OrderFilled)
        assert (fill.client_order_id, fill.fill_id, fill.side, fill.price_ticks, fill.qty_lots) == (NAME, "7", 1, 6_000_000, 1000)
        assert (fill.fee_e8, fill.base_fee_e8, fill.ts_event_ns) == (60_000_000, 0, 1790000000100 * 1_000_000)


async def test_a_fee_in_the_base_asset_is_told_in_coins_and_in_what_they_are_worth() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: state("FILLED", "0.01000000")
        client.send([submit()], host.now_ns())
        await venue.push(traded() | {"n": "0.00001000", "N": "BTC"})
        await host.until(lambda: bool(host.of(OrderFilled)))

        assert (host.of(OrderFilled)[0].fee_e8, host.of(OrderFilled)[0].base_fee_e8) == (60_000_000, 1000)


async def test_a_fee_in_a_third_asset_is_counted_and_warned_of() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: state("FILLED", "0.01000000")
        client.send([submit()], host.now_ns())
        await venue.push(traded() | {"n": "0.00075000", "N": "BNB"})
        await host.until(lambda: bool(host.of(OrderFilled)))

        assert (host.of(OrderFilled)[0].fee_e8, host.of(OrderFilled)[0].base_fee_e8) == (0, 0)
        assert client.counters()["fees_in_other_assets"] == 1
        assert any("BNB" in line for line in client.warnings())


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [(400, -2010, "Account has insufficient balance for requested action."), (400, -1013, "Filter failure: LOT_SIZE"),
     (400, -1111, "too much precision"), (429, -1015, "Too many new orders"), (400, -1021, "Timestamp outside"),
     (401, -2015, "Invalid key")],
)  # fmt: skip
async def test_a_definite_no_is_a_rejection_with_its_code(status: int, code: int, text: str) -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: Refusal(status, code, text)

        client.send([submit()], host.now_ns())
        await host.until(lambda: bool(host.of(OrderRejected)))

        assert [(e.client_order_id, e.code, e.reason) for e in host.of(OrderRejected)] == [(NAME, str(code), text)]
        assert not host.of(RequestTimedOut)


@pytest.mark.parametrize(
    "answer",
    [
        SILENCE,
        Refusal(500, -1006, "An unexpected response was received from the message bus."),
        Refusal(408, -1007, "Timeout waiting for response from backend server."),
        Refusal(400, -1007, "Timeout"),
        Refusal(400, -1000, "An unknown error occurred"),
        Refusal(503, 0, "Service Unavailable"),
        Refusal(400, -2010, "Duplicate order sent."),
        Refusal(400, -9999, "a code of tomorrow"),
        "<html>captcha</html>",
        {"orderId": 1},
    ],
)
async def test_anything_else_is_an_unknown_outcome_and_nothing_is_sent_again(answer: Any) -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: answer
        client.send([submit()], host.now_ns())
        await host.until(lambda: bool(host.of(RequestTimedOut)))
        await asyncio.sleep(2 * FAST.request_timeout_ms / 1000)

        assert [(e.client_order_id, e.request) for e in host.of(RequestTimedOut)] == [(NAME, "submit")]
        assert not host.of(OrderRejected)
        assert len(venue.of("order.place")) == 1


async def test_a_frame_that_is_html_is_counted_and_the_order_times_out() -> None:
    async with venue_and_client() as (venue, host, client):

        async def html(_: Any) -> Any:
            await venue.api_sockets[0].send_str("<html>maintenance</html>")
            return SILENCE

        venue.answers["order.place"] = html
        client.send([submit()], host.now_ns())
        await host.until(lambda: bool(host.of(RequestTimedOut)))

        assert client.counters()["api_malformed"] == 1


async def test_an_answer_after_the_time_out_still_counts() -> None:
    async with venue_and_client() as (venue, host, client):

        async def late(_: Any) -> Any:
            await asyncio.sleep(2 * FAST.request_timeout_ms / 1000)
            return state("NEW")

        venue.answers["order.place"] = late
        client.send([submit(order_type="limit")], host.now_ns())
        await host.until(lambda: bool(host.of(OrderAccepted)))

        assert [type(e) for e in host.reports] == [RequestTimedOut, OrderAccepted]
        assert client.counters()["api_late_answers"] == 1


async def test_a_connection_that_drops_mid_order_leaves_its_outcome_open_until_the_venue_tells() -> None:
    async with venue_and_client() as (venue, host, client):
        asks_back(host, client)

        def drop(_: Any) -> Any:
            venue.cut_api()
            return SILENCE

        venue.answers["order.place"] = drop
        venue.answers["order.status"] = lambda _: state("FILLED", "0.01000000")
        venue.answers["myTrades"] = lambda _: [own_trade()]
        client.send([submit()], host.now_ns())
        await host.until(lambda: bool(host.of(OrderFilled)) and host.states("broker")[-1] is Link.UP)

        assert len(venue.of("order.place")) == 1
        assert [e.request for e in host.of(RequestTimedOut)] == ["submit"]
        assert not host.of(OrderRejected)


async def test_after_a_reconnection_the_account_is_reconciled_before_the_link_is_up() -> None:
    async with venue_and_client() as (venue, host, _):
        venue.answers["account.status"] = lambda _: {"balances": [{"asset": "BTC", "free": "0.01", "locked": "0.005009"}]}
        seen: list[Any] = []
        host.on_report = seen.append
        links = len(host.links)

        venue.cut_api()
        await host.until(lambda: host.states("broker")[links:].count(Link.UP) == 1)

        assert [type(e) for e in seen] == [OpenOrdersReported, PositionReported, BalanceReported]
        assert seen[1].position_lots == 1500  # whole lots of free and locked


async def test_an_order_asked_for_while_the_link_is_down_is_refused_and_never_sent_late() -> None:
    async with venue_and_client() as (venue, host, client):
        port = venue.port
        await venue.stop()
        await host.until(lambda: host.states("broker")[-1] is Link.DEGRADED)

        client.send([submit(), CancelOrder("mia0100010000030", 0)], host.now_ns())
        assert not host.reports  # never inside of the engine's own step
        await host.until(lambda: bool(host.of(OrderRejected)) and bool(host.of(CancelRejected)))
        await venue.start(port)
        await host.until(lambda: host.states("broker")[-1] is Link.UP)
        await asyncio.sleep(0.1)

        assert host.of(OrderRejected)[0].code == "link_down"
        assert not venue.of("order.place")
        assert not venue.of("order.cancel")
        assert host.states("broker").count(Link.DEGRADED) == 1


async def test_no_order_leaves_after_a_reconnection_before_the_account_is_reconciled() -> None:
    async with venue_and_client() as (venue, host, client):
        links = len(host.links)
        host.on_report = lambda e: client.send([submit()], host.now_ns()) if type(e) is OpenOrdersReported else None

        venue.cut_api()
        await host.until(lambda: Link.UP in host.states("broker")[links:])
        await host.until(lambda: bool(host.of(OrderRejected)))

        assert host.of(OrderRejected)[0].code == "link_down"
        assert venue.of("order.place") == []


async def test_what_recovery_steps_again_never_leaves_however_soon_the_connection_is_up() -> None:
    venue, host = ScriptedVenue(), RecordingHost()
    await venue.start()
    venue.answers["openOrders.status"] = lambda _: [state("NEW")]
    client = spot(host, venue)
    client.send([submit(), CancelOrder(NAME, 0), QueryOrder(NAME, 0)], host.now_ns())
    task = asyncio.create_task(client.run_api())
    await client.wait_api()
    await client.reconcile()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await venue.stop()

    assert venue.of("order.place") == venue.of("order.cancel") == []
    assert not host.of(OrderRejected)
    assert [o.client_order_id for o in host.of(OpenOrdersReported)[0].orders] == [NAME]


async def test_while_the_socket_takes_nothing_an_order_is_refused_instead_of_leaving_late() -> None:
    async with venue_and_client() as (venue, host, client):
        connection = client._api._connection
        assert connection is not None
        connection.pause_writing()
        client.send([submit()], host.now_ns())
        connection.resume_writing()
        await host.until(lambda: bool(host.of(OrderRejected)))
        await client.reconcile()

        assert host.of(OrderRejected)[0].code == "link_down"
        assert venue.of("order.place") == []
        assert client.counters()["api_write_stalls"] == 1


async def test_under_a_ban_no_order_is_sent() -> None:
    async with venue_and_client() as (venue, host, client):
        data = {"serverTime": 1790000000200, "retryAfter": 1790000060200}
        venue.answers["order.place"] = lambda _: Refusal(418, -1003, "IP banned until 1790000060200", data)
        client.send([submit()], host.now_ns())
        await host.until(lambda: len(host.of(OrderRejected)) == 1)
        client.send([submit("mia0100010000020")], host.now_ns())
        await host.until(lambda: len(host.of(OrderRejected)) == 2)

        assert [e.code for e in host.of(OrderRejected)] == ["-1003", "rate_limited"]
        assert len(venue.of("order.place")) == 1


async def test_an_order_is_not_sent_a_second_time_whoever_asks() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: state("NEW")
        client.send([submit(), submit()], host.now_ns())
        await host.until(lambda: bool(host.of(OrderAccepted)))
        client.send([submit()], host.now_ns())
        await asyncio.sleep(0.05)

        assert len(venue.of("order.place")) == 1


# --- asking ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("quick_absence")
async def test_an_order_is_absent_only_when_it_can_no_longer_arrive_and_nothing_shows_it() -> None:
    async with venue_and_client() as (venue, host, client):
        asks_back(host, client)
        venue.answers["order.place"] = lambda _: SILENCE
        venue.answers["order.status"] = lambda _: Refusal(400, -2013, "Order does not exist.")
        venue.answers["myTrades"] = lambda _: []
        sent = host.now_ns()
        client.send([submit()], sent)
        await host.until(lambda: bool(host.of(OrderRejected)))

        assert host.now_ns() - sent >= queries.ARRIVAL_MAX_MS * 1_000_000
        assert host.of(OrderRejected)[0].code == "unknown_order"
        assert len(venue.of("openOrders.status")) == 1
        assert len(venue.of("myTrades")) == 1
        assert len(venue.of("order.place")) == 1


@pytest.mark.usefixtures("quick_absence")
async def test_an_early_not_found_proves_nothing() -> None:
    async with venue_and_client() as (venue, host, client):
        asks_back(host, client)
        venue.answers["order.place"] = lambda _: SILENCE
        answers = iter([Refusal(400, -2013, "Order does not exist."), Refusal(400, -2013, "Order does not exist."), state("NEW")])
        venue.answers["order.status"] = lambda _: next(answers)
        client.send([submit(order_type="limit")], host.now_ns())
        await host.until(lambda: bool(host.of(OrderAccepted)))

        assert not host.of(OrderRejected)


@pytest.mark.usefixtures("quick_absence")
async def test_an_order_that_only_our_trades_show_is_found() -> None:
    async with venue_and_client() as (venue, host, client):
        asks_back(host, client)
        venue.answers["order.place"] = lambda _: SILENCE
        venue.answers["myTrades"] = lambda _: [own_trade()]

        def status(request: Any) -> Any:
            return state("FILLED", "0.01000000") if "orderId" in request["params"] else Refusal(400, -2013, "Order does not exist.")

        venue.answers["order.status"] = status
        client.send([submit()], host.now_ns())
        await host.until(lambda: bool(host.of(OrderFilled)))

        assert not host.of(OrderRejected)


async def test_a_canceled_order_is_told_after_its_fills() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.status"] = lambda _: state("CANCELED", "0.00400000")
        venue.answers["myTrades"] = lambda _: [own_trade(qty="0.00400000")]

        client.send([QueryOrder(NAME, 0)], host.now_ns())
        await host.until(lambda: bool(host.of(OrderCanceled)))

        assert [type(e) for e in host.reports] == [OrderFilled, OrderCanceled]


async def test_fills_that_the_answer_spoke_of_and_no_event_brought_are_asked_for() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: state("FILLED", "0.01000000")
        venue.answers["order.status"] = lambda _: state("FILLED", "0.01000000")
        venue.answers["myTrades"] = lambda _: [own_trade()]

        client.send([submit()], host.now_ns())
        await host.until(lambda: bool(host.of(OrderFilled)))

        assert [type(e) for e in host.reports if type(e) is not OrderAccepted] == [OrderFilled]
        assert client.counters()["resolutions"] == 1


# --- canceling and replacing ------------------------------------------------------------------------------------------------------
async def test_a_cancel_is_keyed_by_the_orders_own_id_not_by_that_of_the_cancel() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: state("NEW")
        client.send([submit(order_type="limit")], host.now_ns())
        await host.until(lambda: bool(host.of(OrderAccepted)))

        def canceled(request: Any) -> Any:
            return state("CANCELED", name=request["params"]["newClientOrderId"], origClientOrderId=NAME)

        venue.answers["order.cancel"] = canceled
        client.send([CancelOrder(NAME, 0)], host.now_ns())
        await host.until(lambda: bool(host.of(OrderCanceled)))
        request = venue.of("order.cancel")[0]
        await venue.push(report("CANCELED", "CANCELED", request["newClientOrderId"], C=NAME))
        # of an order that we never heard of, as after a restart
        await venue.push(report("CANCELED", "CANCELED", "cxl9-mia0000000000000", C="mia0000000000000", i=5))
        await host.until(lambda: len(host.of(OrderCanceled)) == 2)

        assert [e.client_order_id for e in host.of(OrderCanceled)] == [NAME, "mia0000000000000"]
        assert request["origClientOrderId"] == NAME
        assert request["newClientOrderId"] != NAME
        assert len(request["newClientOrderId"]) <= 36


async def test_a_cancel_that_lost_the_race_ends_in_the_fill() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.cancel"] = lambda _: Refusal(400, -2011, "Unknown order sent.")
        venue.answers["order.status"] = lambda _: state("FILLED", "0.01000000")
        venue.answers["myTrades"] = lambda _: [own_trade()]

        client.send([CancelOrder(NAME, 0)], host.now_ns())
        await host.until(lambda: bool(host.of(OrderFilled)))
        await asyncio.sleep(0.05)

        assert not host.of(CancelRejected)


async def test_a_cancel_without_an_answer_is_unknown_and_rejected_only_when_it_can_no_longer_arrive(quick_absence: None) -> None:
    async with venue_and_client() as (venue, host, client):
        asks_back(host, client)
        venue.answers["order.place"] = lambda _: state("NEW")
        venue.answers["order.cancel"] = lambda _: SILENCE
        venue.answers["order.status"] = lambda _: state("NEW")
        client.send([submit(order_type="limit")], host.now_ns())
        await host.until(lambda: bool(host.of(OrderAccepted)))
        sent = host.now_ns()
        client.send([CancelOrder(NAME, 0)], sent)
        await host.until(lambda: bool(host.of(CancelRejected)))

        assert host.now_ns() - sent >= queries.ARRIVAL_MAX_MS * 1_000_000
        assert [e.request for e in host.of(RequestTimedOut)] == ["cancel"]


async def test_an_order_that_only_shrinks_keeps_its_place_and_its_id() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: state("NEW")
        amended = {"symbol": "BTCUSDT", "orderId": 42930001, "clientOrderId": NAME, "qty": "0.00600000", "executedQty": "0.00000000"}
        venue.answers["order.amend.keepPriority"] = lambda _: {"transactTime": 5, "executionId": 1, "amendedOrder": amended}
        client.send([submit(order_type="limit")], host.now_ns())
        await host.until(lambda: bool(host.of(OrderAccepted)))

        client.send([ReplaceOrder(NAME, 0, 600, 6_000_000, 0)], host.now_ns())
        await host.until(lambda: bool(host.of(OrderReplaced)))
        await venue.push(report("REPLACED", "NEW", q="0.00600000", C=NAME))
        client.send([ReplaceOrder(NAME, 0, 500, 6_000_001, 0)], host.now_ns())
        await host.until(lambda: bool(host.of(ReplaceRejected)))

        assert venue.of("order.amend.keepPriority")[0]["newClientOrderId"] == NAME
        assert [(e.client_order_id, e.qty_lots) for e in host.of(OrderReplaced)] == [(NAME, 600)]
        assert host.of(ReplaceRejected)[0].reason == "unsupported"


async def test_an_order_that_the_venue_expired_is_told_with_its_reason() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: state("NEW")
        client.send([submit()], host.now_ns())
        await venue.push(report("EXPIRED", "EXPIRED", eR="EXECUTION_RULE_PRICE_RANGE_EXCEEDED"))
        await host.until(lambda: bool(host.of(OrderExpired)))

        assert host.of(OrderExpired)[0].reason == "EXECUTION_RULE_PRICE_RANGE_EXCEEDED"


# --- reconciliation, limits, clock --------------------------------------------------------------------------------------------------
async def test_a_position_report_never_races_a_fill() -> None:
    async with venue_and_client(settings=msgspec.structs.replace(FAST, quiet_ms=200)) as (venue, host, client):
        venue.answers["order.place"] = lambda _: state("NEW")
        client.send([submit(order_type="limit")], host.now_ns())
        await host.until(lambda: bool(host.of(OrderAccepted)))
        calls = 0

        async def account(_: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:  # taken before the fill, whose report comes right behind the answer
                asyncio.get_running_loop().call_later(0.005, lambda: asyncio.ensure_future(venue.push(traded())))
            held = "0" if calls == 1 else "0.01"
            return {"balances": [{"asset": "BTC", "free": held, "locked": "0"}, {"asset": "USDT", "free": "9.5", "locked": "0.5"}]}

        venue.answers["account.status"] = account
        venue.answers["openOrders.status"] = lambda _: [state("NEW")]
        client.send([RequestReconciliation("demo")], host.now_ns())
        await host.until(lambda: bool(host.of(BalanceReported)))

        kinds = [type(e) for e in host.reports]
        assert kinds.index(OrderFilled) < kinds.index(PositionReported)
        assert host.of(PositionReported)[0].position_lots == 1000
        assert (host.of(BalanceReported)[0].currency, host.of(BalanceReported)[0].cash_e8) == ("USDT", 1_000_000_000)


async def test_a_reconciliation_that_the_venue_did_not_answer_is_asked_for_again() -> None:
    async with venue_and_client() as (venue, host, client):
        answers = iter([SILENCE, Refusal(500, -1000, "An unknown error occurred"), "<html>", []])
        venue.answers["openOrders.status"] = lambda _: next(answers)

        await client.reconcile()

        assert [type(e) for e in host.reports] == [OpenOrdersReported, PositionReported, BalanceReported]


async def test_open_orders_are_told_as_the_venue_has_them() -> None:
    async with venue_and_client() as (venue, host, client):
        open_orders = [state("PARTIALLY_FILLED", "0.00400000"), state("NEW", name="somebody-else", orderId=9)]
        venue.answers["openOrders.status"] = lambda _: open_orders

        await client.reconcile()

        (orders,) = host.of(OpenOrdersReported)
        assert orders.venue == "demo"
        assert [(o.client_order_id, o.qty_lots, o.filled_lots) for o in orders.orders] == [(NAME, 1000, 400), ("somebody-else", 1000, 0)]


async def test_a_rate_limit_holds_questions_back_and_lets_cancels_go() -> None:
    async with venue_and_client() as (venue, host, client):
        server_ms = 1790000000200
        data = {"serverTime": server_ms, "retryAfter": server_ms + 300}
        answers = iter([Refusal(429, -1003, "Too much request weight used", data), state("NEW")])
        asked: list[int] = []

        def status(_: Any) -> Any:
            asked.append(host.now_ns())
            return next(answers)

        venue.answers["order.status"] = status
        venue.answers["order.cancel"] = lambda _: state("CANCELED")
        client.send([QueryOrder(NAME, 0)], host.now_ns())
        await host.until(lambda: client.counters()["api_rate_limited"] == 1)
        client.send([CancelOrder(NAME, 0)], host.now_ns())
        await host.until(lambda: bool(host.of(OrderCanceled)))
        canceled_ns = host.now_ns()
        await host.until(lambda: len(asked) == 2)

        assert asked[1] - asked[0] >= 300_000_000
        assert canceled_ns < asked[1]


async def test_a_wrong_clock_is_measured_and_later_requests_carry_the_venues_time() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["time"] = lambda _: {"serverTime": host.now_ns() // 1_000_000 + 90_000}
        venue.answers["order.place"] = lambda _: Refusal(400, -1021, "Timestamp for this request is outside of the recvWindow.")
        client.send([submit()], host.now_ns())
        await host.until(lambda: client.counters()["clock_offset_ms"] > 80_000)
        client.send([submit("mia0100010000020")], host.now_ns())
        await host.until(lambda: len(venue.of("order.place")) == 2)

        first, second = (r["timestamp"] for r in venue.of("order.place"))
        assert second - first > 80_000
        assert any("clock" in line for line in client.warnings())


async def test_a_shutdown_notice_moves_orders_to_a_new_connection_and_loses_no_answer() -> None:
    async with venue_and_client() as (venue, host, client):

        async def slow(_: Any) -> Any:
            await asyncio.sleep(0.1)
            return state("NEW")

        venue.answers["order.place"] = slow
        client.send([submit(order_type="limit")], host.now_ns())
        await venue.answer(venue.api_sockets[0], {"event": {"e": "serverShutdown", "E": 1}})
        await host.until(lambda: client.counters()["api_handovers"] == 1 and bool(host.of(OrderAccepted)))
        await host.until(lambda: venue.api_sockets[0].closed)

        assert not host.of(RequestTimedOut)
        assert host.states("broker")[-1] is Link.UP


async def test_the_venue_may_come_back_elsewhere() -> None:
    async with venue_and_client() as (venue, host, client):
        other = ScriptedVenue()
        await other.start()
        try:
            client.point_at(other.endpoints, Credentials("OTHER", b"s"))
            await host.until(lambda: bool(other.of("account.status")) and host.states("broker")[-1] is Link.UP)
            other.answers["order.place"] = lambda _: state("NEW")
            client.send([submit()], host.now_ns())
            await host.until(lambda: bool(host.of(OrderAccepted)))

            assert other.of("order.place")[0]["apiKey"] == "OTHER"
            assert not venue.of("order.place")
        finally:
            await other.stop()


async def test_history_is_paged_oldest_first() -> None:
    async with venue_and_client() as (venue, _, client):

        def page(request: Any) -> Any:
            start = int(request["params"].get("fromId", 1))
            lines = [{"a": i, "p": "60000.00", "q": "0.00100", "f": i, "l": i, "T": 1000 + i, "m": i % 2 == 0} for i in range(start, 2501)]
            return lines[: request["params"]["limit"]]

        venue.answers["trades.aggregate"] = page

        trades = await client.trades_since(0, 1_000_000_000)

        assert [t.venue_trade_id for t in trades] == list(range(1, 2501))
        assert (trades[0].ts_event_ns, trades[0].ts_recv_ns) == (1_001_000_000, 1_001_000_000)
        assert (trades[0].aggressor, trades[1].aggressor) == (1, -1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tickSize": "0.10"}, "tick_size is 0.01 here and 0.10"),
        ({"stepSize": "0.00100"}, "lot_size is 0.00001 here and 0.00100"),
        ({"minNotional": "10.0"}, "min_notional is 5 here and 10.0"),
        ({"status": "HALT"}, "status is HALT"),
        ({}, ""),
    ],
)
async def test_an_instrument_that_differs_from_the_venues_is_named_with_both_values(change: dict[str, str], words: str) -> None:
    async with venue_and_client() as (venue, _, client):
        values = {"tickSize": "0.01000000", "stepSize": "0.00001000", "minNotional": "5.00000000", "status": "TRADING"} | change
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": values["tickSize"]},
            {"filterType": "LOT_SIZE", "stepSize": values["stepSize"]},
            {"filterType": "NOTIONAL", "minNotional": values["minNotional"], "applyMinToMarket": True},
        ]
        symbol = {"symbol": "BTCUSDT", "status": values["status"], "baseAsset": "BTC", "quoteAsset": "USDT", "filters": filters}
        venue.answers["exchangeInfo"] = lambda _: {"symbols": [symbol]}

        if words:
            with pytest.raises(Exception, match=words):
                await client.check_instruments()
        else:
            await client.check_instruments()


async def test_a_malformed_report_is_counted_and_the_account_asked() -> None:
    async with venue_and_client() as (venue, host, client):
        await venue.push(traded() | {"l": "NaN"})
        await venue.push({"e": "executionReport"})
        await venue.push({"e": "somethingNew", "x": {"y": [1]}})
        await host.until(lambda: client.counters()["events_malformed"] == 2 and bool(host.of(BalanceReported)))

        assert not host.of(OrderFilled)


async def test_the_secret_is_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: Refusal(400, -1022, "Signature for this request is not valid.")
        client.send([submit()], host.now_ns())
        await host.until(lambda: bool(host.of(OrderRejected)))

        inside = [client.__dict__, client._api.__dict__, client._broker.__dict__, client._broker.encoder.__dict__, client._feed.__dict__]
        everything = caplog.text + repr(inside) + repr(Credentials("KEY", SECRET)) + repr(host.reports) + repr(venue.requests)
        assert SECRET.decode() not in everything


async def test_an_order_that_ended_unheard_is_told_with_its_fill_before_the_list_that_lacks_it() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.place"] = lambda _: state("NEW")
        client.send([submit(order_type="limit")], host.now_ns())
        await host.until(lambda: bool(host.of(OrderAccepted)))
        venue.answers["order.status"] = lambda _: state("FILLED", "0.01000000")
        venue.answers["myTrades"] = lambda _: [own_trade()]

        await client.reconcile()

        kinds = [type(e) for e in host.reports]
        assert kinds.index(OrderFilled) < kinds.index(OpenOrdersReported)
        assert len(venue.of("openOrders.status")) == 2


async def test_without_the_account_a_reconciliation_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_ACCOUNT_TRIES", 2)
    monkeypatch.setattr(queries, "_RESOLVE_WAIT_S", 0.05)
    async with venue_and_client() as (venue, host, client):
        asks_back(host, client)
        venue.answers["order.place"] = lambda _: SILENCE
        venue.answers["order.status"] = lambda _: Refusal(400, -2013, "Order does not exist.")
        client.send([submit()], host.now_ns())
        await host.until(lambda: bool(host.of(RequestTimedOut)))

        work = asyncio.create_task(client.reconcile())
        await host.until(lambda: client.counters()["account_not_quiet"] >= 1)
        was_done = work.done()
        venue.answers["order.status"] = lambda _: state("CANCELED")
        await work

        assert not was_done
        assert host.of(OrderCanceled)
        assert host.of(PositionReported)


@pytest.mark.usefixtures("quick_absence")
async def test_an_order_of_an_earlier_process_is_looked_for_in_the_newest_trades_whenever_it_was_sent() -> None:
    async with venue_and_client() as (venue, host, client):
        venue.answers["order.status"] = lambda _: Refusal(400, -2013, "Order does not exist.")
        venue.answers["myTrades"] = lambda _: []
        client.send([QueryOrder(NAME, 0)], 0)
        await host.until(lambda: bool(host.of(OrderRejected)))

        assert "startTime" not in venue.of("myTrades")[0]
