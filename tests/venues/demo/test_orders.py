"""Orders at the demo exchange: money to the last digit, refusals by their code, and the reports that follow."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

pytestmark = pytest.mark.asyncio
D = Decimal
ILLEGAL = "Illegal characters found in parameter"
LIMIT = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "50000.0", "quantity": "0.01000"}


async def test_a_market_buy_is_charged_in_the_base_asset(running: Any) -> None:
    async with running() as client:
        api = await client.api(user_data=True)

        result = (await api.order(side="BUY", type="MARKET", quantity="0.01000", newClientOrderId="buy-1"))["result"]
        report = await api.event(lambda e: e.get("x") == "TRADE")
        position = await api.event(lambda e: e["e"] == "outboundAccountPosition")
        balances = await api.balances()

        spent = sum(D(f["price"]) * D(f["qty"]) for f in result["fills"])
        fee = sum(D(f["commission"]) for f in result["fills"])
        assert result["status"] == "FILLED"
        assert {f["commissionAsset"] for f in result["fills"]} == {"SIM"}
        assert fee == D("0.01") * D("0.0005")
        assert balances == {"SIM": (D("0.01") - fee, D(0)), "USDT": (D(10_000) - spent, D(0))}
        assert D(result["cummulativeQuoteQty"]) == spent
        assert (report["N"], report["c"], report["C"], report["m"]) == ("SIM", "buy-1", "", False)
        assert position["B"][0] == {"a": "SIM", "f": str(D("0.00999500")), "l": "0.00000000"}


async def test_what_a_buy_received_is_less_than_its_quantity_and_the_whole_quantity_cannot_be_sold(running: Any) -> None:
    async with running() as client:
        api = await client.api()
        await api.order(side="BUY", type="MARKET", quantity="0.01000")

        refused = await api.order(side="SELL", type="MARKET", quantity="0.01000")
        sold = (await api.order(side="SELL", type="MARKET", quantity="0.00999"))["result"]

        assert refused["error"] == {"code": -2010, "msg": "Account has insufficient balance for requested action."}
        assert {f["commissionAsset"] for f in sold["fills"]} == {"USDT"}
        assert sum(D(f["commission"]) for f in sold["fills"]) >= D(sold["cummulativeQuoteQty"]) * D("0.0005")
        assert (await api.balances())["SIM"] == (D("0.00000500"), D(0))


async def test_an_open_order_locks_its_money_and_a_cancel_gives_it_back(running: Any) -> None:
    async with running() as client:
        api = await client.api(user_data=True)

        placed = (await api.order(**LIMIT, newClientOrderId="mia-1"))["result"]
        locked = await api.balances()
        canceled = (await api.signed("order.cancel", symbol="SIMUSDT", origClientOrderId="mia-1", newClientOrderId="cxl-1"))["result"]
        report = await api.event(lambda e: e.get("x") == "CANCELED")

        assert placed["status"] == "NEW"
        assert locked["USDT"] == (D(9_500), D(500))
        assert (await api.balances())["USDT"] == (D(10_000), D(0))
        assert (canceled["origClientOrderId"], canceled["clientOrderId"], canceled["status"]) == ("mia-1", "cxl-1", "CANCELED")
        assert (report["c"], report["C"], report["i"]) == ("cxl-1", "mia-1", placed["orderId"])


async def test_a_resting_order_is_filled_as_a_maker_by_the_market(running: Any) -> None:
    async with running(speed=100.0) as client:
        api = await client.api(user_data=True)
        bid = (await api.ask("ticker.book", symbol="SIMUSDT"))["result"]["bidPrice"]

        await api.order(side="BUY", type="LIMIT", timeInForce="GTC", price=str(D(bid) - D("3.0")), quantity="0.00100", newClientOrderId="m")
        first = await api.event(lambda e: e.get("x") == "TRADE")
        last = first if first["X"] == "FILLED" else await api.event(lambda e: e.get("X") == "FILLED")
        trades = (await api.signed("myTrades", symbol="SIMUSDT"))["result"]
        balances = await api.balances()

        assert first["m"] is True
        assert D(first["L"]) <= D(bid)
        assert D(last["Z"]) == sum(D(t["quoteQty"]) for t in trades)
        assert balances["SIM"][0] == D("0.00100") - sum(D(t["commission"]) for t in trades)
        assert balances["USDT"] == (D(10_000) - D(last["Z"]), D(0))


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"price": "50000.05"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"quantity": "0.000001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "0.000015"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "0.00009"}, -1013, "Filter failure: NOTIONAL"),
        ({"price": "1000.0"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        ({"quantity": "0.010000001"}, -1111, "Parameter 'quantity' has too much precision."),
        ({"quantity": "1e-2"}, -1100, f"{ILLEGAL} 'quantity'; legal range is '^([0-9]{{1,20}})(\\.[0-9]{{1,20}})?$'."),
        ({"newClientOrderId": "a.b"}, -1100, f"{ILLEGAL} 'newClientOrderId'; legal range is '^[a-zA-Z0-9-_]{{1,36}}$'."),
        ({"newClientOrderId": "x" * 37}, -1100, None),
        ({"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
        ({"type": "STOP"}, -1116, "Invalid orderType."),
        ({"side": "LONG"}, -1117, "Invalid side."),
        ({"symbol": "BTCUSDT"}, -1121, "Invalid symbol."),
        ({"price": ""}, -1102, "Mandatory parameter 'price' was not sent, was empty/null, or malformed."),
        ({"reduceOnly": "true"}, -1104, None),
        ({"stopPrice": "1.0"}, -1106, "Parameter 'stopPrice' sent when not required."),
        ({"quantity": "10.00000"}, -2010, "Account has insufficient balance for requested action."),
        ({"side": "SELL", "price": "70000.0"}, -2010, "Account has insufficient balance for requested action."),
    ],
)  # fmt: skip
async def test_a_bad_order_is_refused_by_its_code_and_leaves_no_trace(
    running: Any, changes: dict[str, str], code: int, text: str | None
) -> None:
    async with running() as client:
        api = await client.api(user_data=True)

        answer = await api.signed("order.place", **{"symbol": "SIMUSDT", **LIMIT, **changes})

        assert (answer["status"], answer["error"]["code"]) == (400, code)
        assert text in (None, answer["error"]["msg"])
        assert (await api.signed("allOrders", symbol="SIMUSDT"))["result"] == []
        assert api.events == []


async def test_a_client_id_is_refused_while_it_is_open_and_free_again_after(running: Any) -> None:
    async with running() as client:
        api = await client.api()
        await api.order(**LIMIT, newClientOrderId="once")

        second = await api.order(**LIMIT, newClientOrderId="once")
        await api.signed("order.cancel", symbol="SIMUSDT", origClientOrderId="once")
        third = await api.order(**LIMIT, newClientOrderId="once")

        assert second["error"] == {"code": -2010, "msg": "Duplicate order sent."}
        assert third["status"] == 200


async def test_post_only_that_would_take_and_a_stop_that_would_trigger_are_refused(running: Any) -> None:
    async with running() as client:
        api = await client.api()

        taker = await api.order(side="BUY", type="LIMIT_MAKER", price="65000.0", quantity="0.00100")
        stop = await api.order(side="BUY", type="STOP_LOSS", stopPrice="50000.0", quantity="0.00100")

        assert taker["error"] == {"code": -2010, "msg": "Order would immediately match and take."}
        assert stop["error"] == {"code": -2010, "msg": "Stop price would trigger immediately."}


async def test_ioc_fills_what_it_can_and_fok_all_or_nothing(running: Any) -> None:
    async with running(quote_balance=D(10**9)) as client:
        api = await client.api(user_data=True)
        ask = (await api.ask("ticker.book", symbol="SIMUSDT"))["result"]["askPrice"]
        order = {"side": "BUY", "type": "LIMIT", "price": ask, "quantity": "100.00000"}

        fok = (await api.order(**order, timeInForce="FOK"))["result"]
        fok_report = await api.event(lambda e: e.get("x") == "EXPIRED")
        ioc = (await api.order(**order, timeInForce="IOC"))["result"]
        ioc_report = await api.event(lambda e: e.get("x") == "EXPIRED")

        assert (fok["status"], D(fok["executedQty"]), fok["fills"]) == ("EXPIRED", D(0), [])
        assert fok_report["eR"] == "UNFILLED_FOK_ORDER_EXPIRED"
        assert ioc["status"] == "EXPIRED"
        assert D(0) < D(ioc["executedQty"]) < D(100)
        assert ioc_report["eR"] == "UNFILLED_IOC_QUANTITY_EXPIRED"
        assert (await api.balances())["USDT"][1] == 0


async def test_a_market_order_by_quote_quantity_spends_no_more_than_asked(running: Any) -> None:
    async with running() as client:
        api = await client.api()

        bought = (await api.order(side="BUY", type="MARKET", quoteOrderQty="100"))["result"]

        assert D("99") < D(bought["cummulativeQuoteQty"]) <= D(100)
        assert D(bought["origQuoteOrderQty"]) == D(100)


async def test_a_stop_waits_locked_and_sells_when_the_price_falls_to_it(running: Any) -> None:
    async with running(speed=200.0, base_balance=D("0.01")) as client:
        api = await client.api(user_data=True)
        bid = D((await api.ask("ticker.book", symbol="SIMUSDT"))["result"]["bidPrice"])

        placed = (await api.order(side="SELL", type="STOP_LOSS", stopPrice=str(bid - 2), quantity="0.01000"))["result"]
        report = await api.event(lambda e: e.get("x") == "TRADE")
        status = (await api.signed("order.status", symbol="SIMUSDT", orderId=placed["orderId"]))["result"]

        assert set(placed) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}  # ACK is the default of a stop
        assert (report["o"], report["m"], report["i"]) == ("STOP_LOSS", False, placed["orderId"])
        assert status["isWorking"] is True


async def test_an_amend_makes_smaller_keeps_the_order_and_reports_both_ids(running: Any) -> None:
    async with running() as client:
        api = await client.api(user_data=True)
        placed = (await api.order(**LIMIT, newClientOrderId="old"))["result"]

        bigger = await api.signed("order.amend.keepPriority", symbol="SIMUSDT", orderId=placed["orderId"], newQty="0.02000")
        amended = await api.signed(
            "order.amend.keepPriority", symbol="SIMUSDT", origClientOrderId="old", newQty="0.00500", newClientOrderId="new"
        )
        report = await api.event(lambda e: e.get("x") == "REPLACED")

        assert bigger["error"]["code"] == -2038
        assert (amended["result"]["amendedOrder"]["clientOrderId"], amended["result"]["amendedOrder"]["qty"]) == ("new", "0.00500000")
        assert (report["c"], report["C"], report["q"]) == ("new", "old", "0.00500000")
        assert (await api.balances())["USDT"] == (D(9_750), D(250))


async def test_an_amended_stop_gives_back_what_it_no_longer_promises(running: Any) -> None:
    async with running() as client:
        api = await client.api()
        stop = (await api.order(side="BUY", type="STOP_LOSS", stopPrice="70000.0", quantity="0.01000"))["result"]

        await api.signed("order.amend.keepPriority", symbol="SIMUSDT", orderId=stop["orderId"], newQty="0.00100")

        assert (await api.balances())["USDT"] == (D(9_930), D(70))


async def test_cancel_replace_tells_what_became_of_each_half(running: Any) -> None:
    async with running() as client:
        api = await client.api()
        old = (await api.order(**LIMIT))["result"]
        new = {"symbol": "SIMUSDT", **LIMIT, "cancelReplaceMode": "STOP_ON_FAILURE"}

        both = await api.signed("order.cancelReplace", **new, cancelOrderId=old["orderId"])
        neither = await api.signed("order.cancelReplace", **new, cancelOrderId=old["orderId"])
        fresh = both["result"]["newOrderResponse"]["orderId"]
        half = await api.signed("order.cancelReplace", **{**new, "quantity": "1.00000"}, cancelOrderId=fresh)

        assert (both["result"]["cancelResult"], both["result"]["newOrderResult"]) == ("SUCCESS", "SUCCESS")
        assert (neither["status"], neither["error"]["code"]) == (400, -2022)
        assert neither["error"]["data"]["newOrderResult"] == "NOT_ATTEMPTED"
        assert (half["status"], half["error"]["code"]) == (409, -2021)
        assert half["error"]["data"]["cancelResult"] == "SUCCESS"
        assert half["error"]["data"]["newOrderResponse"]["code"] == -2010
        assert (await api.signed("openOrders.status", symbol="SIMUSDT"))["result"] == []


async def test_unknown_orders_are_named_so_by_cancel_and_query(running: Any) -> None:
    async with running() as client:
        api = await client.api()

        cancel = await api.signed("order.cancel", symbol="SIMUSDT", orderId=99)
        query = await api.signed("order.status", symbol="SIMUSDT", origClientOrderId="never")
        all_of_none = await api.signed("openOrders.cancelAll", symbol="SIMUSDT")

        assert cancel["error"] == {"code": -2011, "msg": "Unknown order sent."}
        assert query["error"] == {"code": -2013, "msg": "Order does not exist."}
        assert all_of_none["error"]["code"] == -2011


async def test_a_test_order_is_checked_and_never_placed(running: Any) -> None:
    async with running() as client:
        api = await client.api()

        good = await api.signed("order.test", symbol="SIMUSDT", **LIMIT)
        bad = await api.signed("order.test", symbol="SIMUSDT", **{**LIMIT, "price": "1.05"})

        assert good["result"] == {}
        assert bad["error"]["code"] == -1013
        assert (await api.signed("allOrders", symbol="SIMUSDT"))["result"] == []


async def test_too_many_orders_are_refused_with_the_time_to_come_back(running: Any) -> None:
    async with running(orders_per_10s=3, orders_per_day=3) as client:
        api = await client.api()

        answers = [await api.order(**LIMIT) for _ in range(4)]

        assert [a["status"] for a in answers] == [200, 200, 200, 429]
        error = answers[-1]["error"]
        assert error["code"] == -1015
        assert error["data"]["retryAfter"] > error["data"]["serverTime"]
        assert [r["count"] for r in answers[2]["rateLimits"] if r["rateLimitType"] == "ORDERS"][1] == 3


async def test_a_filled_order_does_not_count_against_the_limit_of_orders(running: Any) -> None:
    async with running(orders_per_10s=3) as client:
        api = await client.api()

        answers = [await api.order(side="BUY", type="MARKET", quantity="0.00100") for _ in range(5)]

        assert [(a["status"], a["result"]["status"]) for a in answers] == [(200, "FILLED")] * 5


async def test_rest_and_websocket_see_the_same_orders_balances_and_limits(running: Any) -> None:
    async with running() as client:
        api = await client.api()
        await api.order(**LIMIT, newClientOrderId="both")

        _, orders, _ = await client.rest("GET", "openOrders", "symbol=SIMUSDT", signed=True)
        status, canceled, headers = await client.rest("DELETE", "order", "symbol=SIMUSDT&origClientOrderId=both", signed=True)
        _, account, _ = await client.rest("GET", "account", "omitZeroBalances=true", signed=True)

        assert [o["clientOrderId"] for o in orders] == ["both"]
        assert (status, canceled["status"]) == (200, "CANCELED")
        assert headers["X-MBX-ORDER-COUNT-10S"] in ("0", "1")  # an interval may have begun since
        assert int(headers["X-MBX-USED-WEIGHT-1M"]) > 0
        assert [b["asset"] for b in account["balances"]] == ["USDT"]


async def test_a_used_up_minute_answers_429_with_retry_after(running: Any) -> None:
    async with running(weight_per_minute=30) as client:
        answers = [await client.rest("GET", "exchangeInfo") for _ in range(3)]  # 20 each; a minute may turn between two of them

        status, body, headers = next(a for a in answers if a[0] != 200)
        assert (status, body["code"]) == (429, -1003)
        assert 1 <= int(headers["Retry-After"]) <= 60
