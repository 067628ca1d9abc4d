"""The bar sets that strategies are held to, each with its stretch and instrument; and what is left out, with the reason."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from mia.sim.cost_settings import Costs, FundingCosts, ImpactCosts, LatencyCosts, ParticipationCosts, SpreadCosts

_BTC: Final = "binance_btcusdt_5m_2024-03_2025-07.feather"
_ETH: Final = "binance_ethusdt_5m_2024-01_2024-06.feather"
_BTC_1M: Final = "bitfinex_btcusd_1m_2017-2018.parquet"
_ETH_1M: Final = "bitfinex_ethusd_1m_2017-2018.parquet"


class BarSet(NamedTuple):
    """One stretch of history. files: below the folder of recordings, none for the simulated market; timeframe: "" for the files' own.

    start, end: UTC days, "" leaves an end open; cash: at the start, in the instrument's quote currency.
    """

    name: str
    files: tuple[str, ...]
    symbol: str
    timeframe: str = ""
    start: str = ""
    end: str = ""
    tz: str | None = None
    cash: Decimal = Decimal(100_000)
    costs: Costs = Costs()
    duration_s: float = 0.0

    def params(self, rule: str) -> dict[str, bool | float]:
        """Of a rule, where its defaults cannot trade on these bars: an opening range of 30 minutes holds no bar of an hour."""
        return {"range_minutes": 120} if rule == "opening_range" and self.timeframe == "time:1h" else {}

    def span(self) -> tuple[int, int]:
        """(from, to) in Unix ns, 0 for an open end."""
        return _ns(self.start), _ns(self.end)


def _ns(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 10**9 if day else 0


_EVERY_COST: Final = Costs(
    spread=SpreadCosts(kind="bps", half=Decimal("0.5")),
    latency=LatencyCosts(kind="fixed"),
    impact=ImpactCosts(kind="square_root"),
    participation=ParticipationCosts(share_max=Decimal("0.001")),
    funding=FundingCosts(kind="fixed", rate=Decimal("0.0001")),
)
_CENT: Final = Costs(spread=SpreadCosts(half=Decimal(50)))  # half of one, of ticks of 0.0001
_FUTURES: Final = Decimal(10_000_000)  # a fifth of it buys some contracts
SETS: Final = (
    BarSet("btcusdt_1h", (_BTC,), "BTCUSDT", "time:1h"),
    BarSet("btcusdt_5m", (_BTC,), "BTCUSDT", "", "2025-01-01", "2025-04-01"),
    BarSet("btcusdt_5m_every_cost", (_BTC,), "BTCUSDT", "", "2024-08-01", "2024-08-05", costs=_EVERY_COST),
    BarSet("ethusdt_5m", (_ETH,), "ETHUSDT", "", "2024-03-01", "2024-05-01"),
    # of the Bitfinex files stretches in which all prices are whole cents
    BarSet("bitfinex_btc_2015_1h", ("bitfinex_btcusd_1m_2015.csv.gz",), "BTCUSD", "time:1h", "2015-04-01", "2015-08-18"),
    BarSet("bitfinex_btc_2016_1h", ("bitfinex_btcusd_1m_2016.csv.gz",), "BTCUSD", "time:1h"),
    BarSet("bitfinex_btc_2017_1h", (_BTC_1M,), "BTCUSD", "time:1h", "2017-01-01", "2017-05-21"),
    BarSet("bitfinex_btc_2017_1m", (_BTC_1M,), "BTCUSD", "", "2017-07-30", "2017-08-06"),
    BarSet("bitfinex_eth_2017_1h", (_ETH_1M,), "ETHUSD", "time:1h", "2017-06-15", "2017-12-22"),
    BarSet("bitfinex_eth_2018_1m", (_ETH_1M,), "ETHUSD", "", "2018-01-08", "2018-01-15"),
    # stretches are short where the event engine runs them: windows that flatten, costs that the compiled path has not
    BarSet("es_1m", ("es_1m_2026-06-15_22_sierra_export.csv.gz",), "ES", "", "2026-06-17", "2026-06-19", "America/Chicago", _FUTURES),
    BarSet("es_2m", ("es_2m_2026-03_2026-04_yfinance.csv.gz",), "ES", "", "2026-04-07", "2026-04-10", "America/New_York", _FUTURES),
    BarSet("es_dollar70m", ("es_dollarbars70m_2015-2016.csv.gz",), "ES", "dollar:70000000", "2016-06-15", "2016-07-01", cash=_FUTURES),
    BarSet("es_tick2800", ("es_tickbars2800_2015-2016.csv.gz",), "ES", "tick:2800", "2015-08-17", "2015-09-01", cash=_FUTURES),
    BarSet("es_5m", ("es_5m_2026-02_2026-04_yfinance.csv.gz",), "ES", "", "2026-03-08", "2026-03-21", "America/New_York", _FUTURES),
    BarSet("goog_1d", ("oracle/backtestingpy_GOOG.csv",), "GOOG"),
    BarSet("qqq_1m", ("qqq_1m_2014-11_2015-07.parquet",), "QQQ", costs=_CENT),
    BarSet("spy_1m", ("spy_1m_2014-11_2015-07.parquet",), "SPY", costs=_CENT),
    BarSet("simulated", (), "SIMUSD", "time:1s", duration_s=300.0),
)
LEFT_OUT: Final = {
    "crypto_news_2024-03_2024-05.csv": "headlines",
    "es_1m_quote_2013-10_lean.parquet": "several contracts in one file, which runs refuse; `mia data` makes one series of them",
    "es_1m_trade_2013-10_lean.parquet": "several contracts in one file, which runs refuse; `mia data` makes one series of them",
    "es_esh4_mbo_20231224-25.parquet": "orders, not bars",
    "es_esm8_trades_20180507.parquet": "trades, not bars",
    "fomc_dates_2000_2026.csv": "dates",
    "fred_BAMLH0A0HYM2.parquet": "a daily series, not bars",
    "fred_DGS10.parquet": "a daily series, not bars",
    "fred_DGS2.parquet": "a daily series, not bars",
    "fred_DTWEXBGS.parquet": "a daily series, not bars",
    "fred_FEDFUNDS.parquet": "a daily series, not bars",
    "fred_T10Y2Y.parquet": "a daily series, not bars",
    "fred_VXVCLS.parquet": "a daily series, not bars",
    "oracle/lean_spy_with_keltner.csv": "reference values of indicators, bars without volume",
    "surge_stock_sentiment.csv": "text",
    "tick_1m_2014-11_2015-07.parquet": "an index of the market's breadth: nobody can trade it, and it is below 0",
    "trin_1m_2014-11_2015-07.parquet": "an index of the market's breadth: nobody can trade it",
    "us_calendar_high_2014_2022_fxstreet.csv": "dates",
    "vix_10m_2015-01_2015-02.csv": "an index that cannot be traded, in a layout that no reader takes",
    "vix_daily_1990_2026.csv": "an index that cannot be traded, without volume",
}
