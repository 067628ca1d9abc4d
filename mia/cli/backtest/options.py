"""What the verbs of `mia backtest` share: how history, strategy and account are named on the command line."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from mia.cli.places import ConfigOption, ExcludeSealed
from mia.cli.shared_options import Verb, shared_options

if TYPE_CHECKING:
    from mia.backtest.readers import Candles
    from mia.backtest.run.prepare import Request

    Params = dict[str, bool | float]


class FillAt(enum.StrEnum):
    """When a market order that was decided on a bar's close is filled."""

    next_open = "next_open"
    close = "close"


class Kind(enum.StrEnum):
    """What kind of instrument a file is of."""

    spot = "spot"
    perpetual = "perpetual"
    future = "future"


class OnDuplicate(enum.StrEnum):
    """What becomes of a row whose time does not lie after all before it."""

    error = "error"
    drop = "drop"


class Read(enum.StrEnum):
    """What is read of an asset of the catalogue."""

    bars = "bars"
    trades = "trades"
    quotes = "quotes"
    depth = "depth"


WARM_UP: Final = 500
DURATION_S: Final = 3600.0

Strategy = Annotated[str | None, typer.Option("--strategy", metavar="NAME", help="A classic strategy: mia backtest strategies list.")]
Policy = Annotated[str | None, typer.Option("--policy", metavar="BUNDLE", help="A model, by name or path, or ensemble:FILE.")]
Signals = Annotated[
    Path | None,
    typer.Option("--signals", metavar="FILE", help="Signals of your own: ts (UTC) or ts_ns, signal in -1 .. 1, instrument, valid_until."),
]
SignalAge = Annotated[
    str | None,
    typer.Option("--signal-age", metavar="T", help="How long a signal holds that states no end: 4h; else 3 bars, at least 5 minutes."),
]
Param = Annotated[list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="Of the strategy; may be repeated.")]
Data = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="FILE", help="Candles or recorded frames; may be repeated. None: the simulated market."),
]
InstrumentOption = Annotated[
    list[str] | None, typer.Option("--instrument", metavar="VENUE:SYMBOL", help="Of [[instruments]]: one for all files, or one for each.")
]
Assets = Annotated[
    list[str] | None,
    typer.Option("--assets", metavar="VENUE:SYMBOL...", help="Of the catalogue, in place of --data: mia data catalogue lists them."),
]
ReadOption = Annotated[Read, typer.Option("--read", help="What of the assets: depth comes with quotes, both with trades.")]
Timeframes = Annotated[
    list[str] | None,
    typer.Option("--timeframes", "--timeframe", metavar="T...", help="Bars to trade on: 5m 1h 1d; of several, `run` makes a run for each."),
]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Nothing is traded before it, UTC: 2024-05-01 or 2024-05-01T12:00.")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="The history ends here (UTC).")]
Days = Annotated[int | None, typer.Option("--days", metavar="N", min=1, max=100_000, help="Only the last N days before --to.")]
WarmUp = Annotated[int, typer.Option("--warm-up", metavar="BARS", min=0, max=1_000_000, help="Bars before --from that only teach.")]
Cash = Annotated[str | None, typer.Option("--cash", metavar="X", help="At the start; else [paper] cash.")]
Tick = Annotated[str | None, typer.Option("--tick", metavar="X", help="Price step; else the instrument's.")]
Lot = Annotated[str | None, typer.Option("--lot", metavar="X", help="Size step; else the instrument's.")]
Fee = Annotated[str | None, typer.Option("--fee", metavar="SHARE", help="Of notional, for maker and taker: 0.001; else the instrument's.")]
KindOption = Annotated[Kind | None, typer.Option("--kind", help="Of a file that no instrument fits; else perpetual.")]
Tz = Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="Of times that state none: America/Chicago; else UTC.")]
OnDuplicateOption = Annotated[OnDuplicate, typer.Option("--on-duplicate", help="Late or repeated rows: an error, or left out.")]
FillOption = Annotated[
    FillAt | None, typer.Option("--fill", help="Market orders fill at the next bar's open (the default), or at the close that they follow.")
]
HalfSpread = Annotated[
    int | None,
    typer.Option("--half-spread-ticks", metavar="N", min=0, max=100_000, help="Short for --cost spread.kind=ticks --cost spread.half=N."),
]
CostsFile = Annotated[
    Path | None, typer.Option("--costs", metavar="FILE", help="TOML with [costs]: fees, spread, impact, funding and more.")
]
Cost = Annotated[
    list[str] | None,
    typer.Option("--cost", metavar="PART.FIELD=VALUE", help="One of the costs, over the file's: impact.kind=square_root. May be repeated."),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="Rules of another library, to compare with it: backtesting.py or vectorbt."),
]
Duration = Annotated[float, typer.Option("--duration", metavar="S", help="Of the simulated market, in seconds.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Of the simulated market.")]


def strategy_of(strategy: str | None, policy: str | None, param: Sequence[str] | None, signals: Path | None = None) -> tuple[str, Params]:
    """(rule:NAME, a bundle or ensemble:FILE, parameters); exactly one must be named."""
    if sum(given is not None for given in (strategy, policy, signals)) != 1:
        raise typer.BadParameter("name one of --strategy NAME, --policy BUNDLE and --signals FILE")
    params: Params = {}
    for text in param or ():
        name, equals, value = text.partition("=")
        if not (equals and name and value):
            raise typer.BadParameter(f"--param {text}: write NAME=VALUE")
        if name in params:
            raise typer.BadParameter(f"--param {name}: given twice")
        params[name] = _value(text, value)
    if policy is not None:
        if params:
            raise typer.BadParameter("--param belongs to strategies; a model brings its own")
        return policy, {}
    return f"rule:{'signals' if strategy is None else strategy}", params


def age_ns(option: str, text: str | None) -> int:
    """Of a span of time such as 90s, 15m, 4h or 1d; 0 when none is given."""
    if text is None:
        return 0
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    if not re.fullmatch(r"[1-9]\d{0,6}[smhd]", text):
        raise typer.BadParameter(f"{option} {text}: write a time such as 90s, 15m, 4h or 1d")
    return int(text[:-1]) * units[text[-1]] * 1_000_000_000


def _value(text: str, value: str) -> bool | float:
    if value in ("true", "false"):
        return value == "true"
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(f"--param {text}: {value!r} is neither a number nor true or false") from None


def time_ns(option: str, text: str | None) -> int:
    """Unix ns of a UTC time; 0 when none is given."""
    if text is None:
        return 0
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option} {text}: write a time such as 2024-05-01 or 2024-05-01T12:00") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return int(at.timestamp()) * 1_000_000_000


def decimal(option: str, text: str | None) -> Decimal | None:
    """A finite number, or None when none is given."""
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise typer.BadParameter(f"{option} {text}: is no number") from None
    if not value.is_finite():
        raise typer.BadParameter(f"{option} {text}: must be finite")
    return value


def bars_text(timeframe: str) -> str:
    """`1h` and `time:1h` alike."""
    return timeframe if ":" in timeframe else f"time:{timeframe}" if re.fullmatch(r"\d+[a-z]+", timeframe) else timeframe


class History(NamedTuple):
    """What the shared options say: which history, how it is traded, what it costs. `request` makes a run of it."""

    data: list[Path] | None
    instrument: list[str] | None
    assets: list[str] | None
    read: Read
    timeframes: list[str] | None
    from_: str | None
    to: str | None
    days: int | None
    warm_up: int
    cash: str | None
    tick: str | None
    lot: str | None
    fee: str | None
    kind: Kind | None
    tz: str | None
    on_duplicate: OnDuplicate
    fill: FillAt | None
    half_spread_ticks: int | None
    costs: Path | None
    cost: list[str] | None
    exclude_sealed: bool
    config: Path | None

    def stored_candles(self) -> list[Candles]:
        """The bars of the assets up to --to, as candle files give them; none when events are read."""
        from mia.backtest.catalogue import BarReader, stored_instrument
        from mia.backtest.catalogue.layout import Asset
        from mia.features.bars import BarSpec
        from mia.settings import load_settings

        if self.read is not Read.bars or not self.assets:
            return []
        known, frame = load_settings(self.config).settings.instruments, self._one_of_bars()
        bars, to_ns = BarSpec.parse(bars_text(frame)) if frame is not None else None, time_ns("--to", self.to)
        assets = [Asset.parse(text) for text in words(self.assets)]
        readers = [BarReader(asset, stored_instrument(asset, known), bars, 0, to_ns) for asset in assets]
        return [reader.candles("exclude" if self.exclude_sealed else "refuse") for reader in readers]

    def bars(self) -> list[str | None]:
        """The bars that were asked for, each once; one None when none were."""
        return [*dict.fromkeys(words(self.timeframes))] or [None]

    def request(
        self,
        strategy: str,
        params: Params,
        *,
        timeframe: str | None = None,
        preset: str | None = None,
        duration: float = 0.0,
        seed: int | None = None,
        signals: Path | None = None,
        signal_age: str | None = None,
    ) -> Request:
        """The run of a strategy; a wrong option is named. timeframe: one of `bars`; duration: of the simulated market."""
        import msgspec

        from mia.backtest.run.cost_options import costs_of
        from mia.backtest.run.prepare import Request
        from mia.backtest.run.presets import preset as preset_of
        from mia.cli.backtest.idle import refuse_idle
        from mia.settings import load_settings

        refuse_idle(self, duration=duration, seed=seed, signals=signals, signal_age=signal_age)
        settings = load_settings(self.config).settings
        lot, fee, frame = self.lot, self.fee, timeframe or self._one_of_bars()
        rules = preset_of(preset) if preset is not None else None
        fields: dict[str, Any] = {"warm_up": self.warm_up, "fill_at": "next_open"} | dict(rules.fields if rules else {})
        if rules is not None:
            settings = rules.settings(settings)
            lot, fee = lot or str(rules.lot), fee or "0"
        if self.fill is not None:
            if rules is not None and self.fill.value != fields["fill_at"]:
                raise typer.BadParameter(f"--fill {self.fill.value}: {rules.name} fills at {fields['fill_at']}: leave one of them out")
            fields["fill_at"] = self.fill.value
        fields["costs"] = costs_of(self.costs, self.cost or (), self.half_spread_ticks, fields.get("costs"))
        money = decimal("--cash", self.cash)
        if money is not None:
            settings = msgspec.structs.replace(settings, paper=msgspec.structs.replace(settings.paper, cash=money))
        from_ns, to_ns = time_ns("--from", self.from_), time_ns("--to", self.to)
        if from_ns and to_ns and from_ns >= to_ns:
            raise typer.BadParameter(f"--from {self.from_} is not before --to {self.to}: the span is empty")
        return Request(
            settings=settings,
            strategy=strategy,
            params=params,
            data=tuple(self.data or ()),
            instruments=tuple(self.instrument or ()),
            assets=tuple(words(self.assets)),
            read=self.read.value,
            timeframe=bars_text(frame) if frame is not None else None,
            from_ns=from_ns,
            to_ns=to_ns,
            days=self.days or 0,
            tick=decimal("--tick", self.tick),
            lot=decimal("--lot", lot),
            fee=decimal("--fee", fee),
            kind=self.kind.value if self.kind is not None else None,
            tz=self.tz,
            on_duplicate=self.on_duplicate.value,
            duration_s=duration,
            seed=seed,
            signals=signals,
            signal_age_ns=age_ns("--signal-age", signal_age),
            sealed="exclude" if self.exclude_sealed else "refuse",
            **fields,
        )

    def _one_of_bars(self) -> str | None:
        if len(found := self.bars()) > 1:
            raise typer.BadParameter(f"--timeframes {' '.join(map(str, found))}: only `mia backtest run` takes several: name one")
        return found[0]


def words(values: Sequence[str] | None) -> list[str]:
    """Of an option that may be repeated, with commas or without."""
    return [word for value in values or () for word in value.replace(",", " ").split()]


def history_of(
    data: Data = None,
    instrument: InstrumentOption = None,
    assets: Assets = None,
    read: ReadOption = Read.bars,
    timeframes: Timeframes = None,
    from_: From = None,
    to: To = None,
    days: Days = None,
    warm_up: WarmUp = WARM_UP,
    cash: Cash = None,
    tick: Tick = None,
    lot: Lot = None,
    fee: Fee = None,
    kind: KindOption = None,
    tz: Tz = None,
    on_duplicate: OnDuplicateOption = OnDuplicate.error,
    fill: FillOption = None,
    half_spread_ticks: HalfSpread = None,
    costs: CostsFile = None,
    cost: Cost = None,
    exclude_sealed: ExcludeSealed = False,
    config: ConfigOption = None,
) -> History:
    """The options as one value."""
    return History(
        data, instrument, assets, read, timeframes, from_, to, days, warm_up, cash, tick, lot, fee, kind, tz, on_duplicate, fill,
        half_spread_ticks, costs, cost, exclude_sealed, config,
    )  # fmt: skip


def history_options(*, left_out: Collection[str] = ()) -> Callable[[Verb], Verb]:
    """Give a verb the options on history, account and costs, which it takes as `history`."""
    return shared_options(history_of, "history", left_out=left_out)
