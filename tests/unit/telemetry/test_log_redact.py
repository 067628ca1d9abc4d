"""What may not leave the process, and what may not be damaged on the way."""

from __future__ import annotations

import base64
from decimal import Decimal
from urllib.parse import quote

import pytest

from mia.telemetry.redact import HIDDEN, TEXT_CHARS_MAX, Redactor, names_secret

CANARY = 'c4n4ry/+value="quoted"'


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    assert made.register(CANARY)
    return made


@pytest.mark.parametrize(
    "key",
    ["password", "api_key", "X-MBX-APIKEY", "mqttPassword", "secret", "Authorization", "private_key", "listenKey", "auth", "refresh_token"],
)
def test_a_key_that_names_a_secret_hides_its_value(redactor: Redactor, key: str) -> None:
    assert names_secret(key)
    assert redactor.value(key, "short") == HIDDEN
    assert redactor.value("headers", {key: "short"}) == {key: HIDDEN}
    assert redactor.value("headers", [(key, "short")]) == [[key, HIDDEN]]
    assert redactor.value(key, 123456) == HIDDEN


@pytest.mark.parametrize("key", ["dedup_key", "symbol", "side", "author", "passed", "key", "authorised_lots", "signal"])
def test_other_keys_show_their_values(redactor: Redactor, key: str) -> None:
    assert redactor.value(key, "plain") == "plain"


def test_a_registered_secret_is_hidden_in_every_form_that_text_gives_it(redactor: Redactor) -> None:
    forms = [CANARY, repr(CANARY), quote(CANARY), quote(CANARY, safe=""), base64.b64encode(CANARY.encode()).decode()]

    for form in forms:
        shown = redactor.text(f"before {form} after")
        assert shown.startswith("before ")
        assert shown.endswith(" after")
        assert HIDDEN in shown
        assert "c4n4ry" not in shown


def test_a_secret_of_several_lines_is_hidden_line_by_line() -> None:
    redactor = Redactor()
    redactor.register("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ\nsecondlineofthatkey\n-----END PRIVATE KEY-----\n")

    assert "secondlineofthatkey" not in redactor.text("line 3 is secondlineofthatkey")


@pytest.mark.parametrize(
    ("text", "hidden", "kept"),
    [
        ("connect mqtt://mia:pa55@broker:1883/x", "pa55", "broker:1883"),
        ("GET /api/v3/order?symbol=BTCUSDT&signature=0a1b2c&timestamp=17", "0a1b2c", "symbol=BTCUSDT"),
        ("GET /order?apiKey=ABCDEF&timestamp=17", "ABCDEF", "timestamp=17"),
        ("Authorization: Bearer abcdef123456", "abcdef123456", "Authorization"),
        ("{'password': 'p q r', 'user': 'mia'}", "p q r", "'user': 'mia'"),
        ('{"api_secret":"xyz","a":1}', "xyz", '"a":1'),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY----- then", "MC4CAQAw", "then"),
        ("invalid api key vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju for this", "vmPUZE6mv9SD5", "for this"),
        ("signature was 5f1376bd14215f1376bd14215f1376bd14215f13 here", "5f1376bd1421", "here"),
    ],
)
def test_text_that_carries_a_secret_loses_only_that(text: str, hidden: str, kept: str) -> None:
    shown = Redactor().text(text)

    assert hidden not in shown
    assert kept in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "text", ["order mia-7-1-1 filled", "model sha256 5f1376bd14215f1376bd14215f1376bd14215f13", "passed 3 of 4", "100% {x} %s"]
)
def test_text_without_a_secret_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_a_short_value_is_refused_rather_than_blanking_the_log(redactor: Redactor) -> None:
    assert not redactor.register("mia")
    assert redactor.text("mia runs") == "mia runs"


def test_long_text_is_cut_without_showing_half_a_secret(redactor: Redactor) -> None:
    for at in (TEXT_CHARS_MAX - 5, 2 * TEXT_CHARS_MAX - 5):
        shown = redactor.text("x" * at + CANARY + "y" * TEXT_CHARS_MAX)

        assert "c4n" not in shown
        assert len(shown) < TEXT_CHARS_MAX + 40


def test_many_secrets_do_not_draw_the_cut_end_into_view(redactor: Redactor) -> None:
    long = "k" * 400
    redactor.register(long)

    shown = redactor.text((long + " ") * (3 * TEXT_CHARS_MAX // 401))

    assert "kkk" not in shown


def test_any_value_becomes_plain_data(redactor: Redactor) -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    loop: list[object] = []
    loop.append(loop)

    assert redactor.value("x", Decimal("1.10")) == "1.10"
    assert redactor.value("x", float("nan")) == "nan"
    assert redactor.value("x", 1 << 70) == hex(1 << 70)
    assert "RuntimeError" in redactor.value("x", Bad())
    assert redactor.value("x", "\udc80") == "\\udc80"
    assert redactor.value("x", b"\x00" + CANARY.encode()).count(HIDDEN) == 1
    assert str(redactor.value("x", loop)).count("[") == 7  # as deep as we look
    assert redactor.value("x", list(range(1000)))[-1] == "… 1000 items"
    assert redactor.value("x", ValueError(CANARY)) == f"ValueError: {HIDDEN}"
    numeric = Redactor()
    numeric.register("12345678")
    assert numeric.value("x", 12345678) == HIDDEN
