"""`mia venue`: the venues that are configured, and the demo exchange to trade on, in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mia.cli.output import print_json, print_table
from mia.cli.places import ConfigOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="Venues: which are configured; run the demo exchange.")

_KINDS = {
    "sim": "in the daemon's process",
    "demo": "own process on 127.0.0.1, Binance spot protocol",
    "binance_spot": "Binance spot",
    "binance_usdm": "Binance USD-M futures",
}


@app.command("list", short_help="Which venues are configured, and what is traded there.")
def list_venues(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """One row for each instrument: its venue, grid, fees and the strategies that trade it."""
    from mia.settings import load_settings

    settings = load_settings(config).settings
    rows = [
        {
            "venue": i.venue,
            "symbol": i.symbol,
            "kind": i.kind,
            "tick": str(i.tick_size),
            "lot": str(i.lot_size),
            "maker": f"{100 * i.maker_fee:f} %",
            "taker": f"{100 * i.taker_fee:f} %",
            "strategy": ", ".join(lane.strategy for lane in settings.lanes if lane.instrument == f"{i.venue}:{i.symbol}"),
            "default": i.venue == settings.instance.venue,
            "what": _KINDS.get(i.venue, ""),
        }
        for i in settings.instruments
    ]
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "venue": f"{row['venue']} *" if row["default"] else row["venue"]} for row in rows]
    head = ("venue", "symbol", "kind", "tick", "lot", "maker", "taker", "strategy", "what")
    print_table(head, [[row[name] for name in head] for row in shown])
    print("\n* traded when neither --venue nor --replay says otherwise")


@app.command("demo", short_help="Run the demo exchange until Ctrl-C.")
def demo(
    port: Annotated[int | None, typer.Option("--port", metavar="PORT", help="On 127.0.0.1; 0 or absent: any free one.")] = None,
    state: Annotated[Path | None, typer.Option("--state", metavar="DIR", help="Keep account and market there; else nowhere.")] = None,
    speed: Annotated[float | None, typer.Option("--speed", metavar="X", help="Market seconds per second.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Another market; the same seed is the same market.")] = None,
    config: ConfigOption = None,
) -> None:
    """A simulated spot exchange that speaks the Binance protocol, for this machine only. Its account holds play money."""
    import asyncio

    import msgspec

    from mia.domain.errors import ConfigError
    from mia.settings import load_settings
    from mia.sim.servers.demo import DemoConfig, serve
    from mia.sim.settings import DemoSettings

    settings = load_settings(config).settings
    instrument = next((i for i in settings.instruments if i.venue == "demo"), None)
    if instrument is None:
        raise ConfigError("no instrument of the demo exchange: add one under [[instruments]] with venue = 'demo', kind = 'spot'")
    given = {name: value for name, value in (("port", port), ("speed", speed), ("seed", seed)) if value is not None}
    chosen = DemoConfig(
        instrument=instrument,
        sim=settings.sim,
        demo=DemoSettings(**{**msgspec.structs.asdict(settings.demo), **given}),
    )
    asyncio.run(serve(chosen, state=state, on_ready=lambda ready: _announce(ready, instrument.symbol, instrument.quote_currency)))
    print("demo exchange: stopped", flush=True)


def _announce(ready: dict[str, Any], symbol: str, quote: str) -> None:
    pair = f"{symbol.removesuffix(quote)}/{quote}"
    sys.stdout.write(
        f"""demo exchange: {symbol} is trading; play money, reachable from this machine only. Ctrl-C ends it.
  REST           {ready["rest"]}/api/v3
  market streams {ready["stream"]}/ws/{symbol.lower()}@trade
  WebSocket API  {ready["api"]}
  API key        {ready["api_key"]}
  secret         {ready["secret"]}

Try it with ccxt (pip install ccxt), in Python:
  import ccxt
  x = ccxt.binance({{"apiKey": "{ready["api_key"]}",
                    "secret": "{ready["secret"]}",
                    "options": {{"fetchCurrencies": False, "fetchMargins": False,
                                "fetchMarkets": {{"types": ["spot"]}}}}}})
  x.urls["api"].update(public="{ready["rest"]}/api/v3", private="{ready["rest"]}/api/v3")
  print(x.fetch_order_book("{pair}", 5))
  print(x.create_order("{pair}", "market", "buy", 0.001))
"""
    )
    sys.stdout.flush()
