"""Who may trade at the demo exchange: signatures as documented, time windows, keys."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mia.sim.servers.errors import ApiError
from mia.sim.servers.security import Guard, rest_payload, websocket_payload
from mia.sim.servers.state_files import Credentials

SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"  # of the venue's documentation
DOCUMENTED = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
NOW_US = 1_790_000_000_000_000


def test_the_documented_signature_is_accepted_in_either_case_of_letters() -> None:
    guard = Guard(Credentials("k" * 64, SECRET))
    payload, signature = rest_payload(DOCUMENTED + "&signature=c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71", "")

    assert payload == DOCUMENTED
    guard.check_signature(payload, signature)
    guard.check_signature(payload, signature.upper() if signature else None)


def test_query_and_body_are_signed_one_after_the_other_without_a_separator() -> None:
    query, body = DOCUMENTED.split("&quantity", 1)[0], "quantity" + DOCUMENTED.split("&quantity", 1)[1]

    payload, signature = rest_payload(query, body + "&signature=aa")

    assert (payload, signature) == (query + body, "aa")


def test_websocket_parameters_are_signed_sorted_by_name_with_the_api_key() -> None:
    params = {
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "60000.00", "quantity": "0.01000000",
        "newClientOrderId": "mia-000000000001", "newOrderRespType": "RESULT", "recvWindow": 5000, "timestamp": 1790000000000,
        "apiKey": "TESTKEY", "signature": "left out",
    }  # fmt: skip

    Guard(Credentials("TESTKEY", SECRET)).check_signature(
        websocket_payload(params), "bb810ebead8f07be8f8989143245d7a6bb1e656917d16635a414a7a7a3a70ca7"
    )


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"timestamp": NOW_US // 1000}, None),
        ({"timestamp": NOW_US}, None),  # microseconds
        ({"timestamp": NOW_US // 1000 + 999}, None),
        ({"timestamp": NOW_US // 1000 + 1000}, -1021),
        ({"timestamp": NOW_US // 1000 - 5000}, None),
        ({"timestamp": NOW_US // 1000 - 5001}, -1021),
        ({"timestamp": NOW_US // 1000 - 5001, "recvWindow": "6000.346"}, None),
        ({"timestamp": NOW_US // 1000, "recvWindow": 60001}, -1131),
        ({"recvWindow": 5000}, -1102),
        ({"timestamp": "soon"}, -1102),
    ],
)
def test_a_request_is_good_within_its_window_only(params: dict[str, Any], code: int | None) -> None:
    if code is None:
        Guard.check_time(params, NOW_US)
        return
    with pytest.raises(ApiError) as refused:
        Guard.check_time(params, NOW_US)
    assert refused.value.code == code


@pytest.mark.asyncio
async def test_wrong_keys_signatures_and_times_are_told_apart(running: Any) -> None:
    async with running() as client:
        api = await client.api()
        good = client.sign({})

        answers = [
            await api.ask("account.status", **good),
            await api.ask("account.status", **{**good, "signature": "0" * 64}),
            await api.ask("account.status", **{**good, "apiKey": "a" * 64}),
            await api.ask("account.status", **{**good, "apiKey": "?"}),
            await api.signed("account.status", timestamp=int(time.time() * 1000) - 6000),
            await api.signed("session.logon"),
        ]
        status, body, _ = await client.rest("GET", "account")

        assert [(a["status"], a.get("error", {}).get("code")) for a in answers] == [
            (200, None), (400, -1022), (401, -2015), (401, -2014), (400, -1021), (400, -4056),
        ]  # fmt: skip
        assert (status, body["code"]) == (401, -2014)


@pytest.mark.asyncio
async def test_user_data_is_subscribed_to_once_and_ends_when_told(running: Any) -> None:
    async with running() as client:
        api = await client.api(user_data=True)

        again = await api.signed("userDataStream.subscribe.signature")
        ended = await api.ask("userDataStream.unsubscribe", subscriptionId=0)
        last = await api.ask("userDataStream.unsubscribe")
        fresh = await api.signed("userDataStream.subscribe.signature")

        assert again["error"]["code"] == -2035
        assert ended["status"] == 200
        assert [e["e"] for e in api.events] == ["eventStreamTerminated"]
        assert last["error"]["code"] == -2036
        assert fresh["result"] == {"subscriptionId": 1}


@pytest.mark.asyncio
async def test_nonsense_is_answered_and_the_connection_lives(running: Any) -> None:
    async with running() as client:
        api = await client.api("?returnRateLimits=false")

        await api.ws.send_str("{")
        bad_json = await api.get()
        unknown = await api.ask("order.teleport")
        await api.ws.send_json({"id": 7, "method": "ping"})
        pong = await api.get()

        assert (bad_json["id"], bad_json["error"]["code"]) == (None, -1135)
        assert unknown["status"] == 400
        assert pong == {"id": 7, "status": 200, "result": {}}
