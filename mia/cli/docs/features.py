"""docs/features.md, from the catalogue: what there is in each category, what each input is and what happens when it is missing."""

from __future__ import annotations

from typing import Final

from mia.features.batch import BY_NOTIONAL
from mia.features.catalogue import INPUTS, Feature, shipped_catalogue

_HEAD: Final = """# Features

Generated from `config/feature_sets.yaml` by `mia docs build`; do not edit. {n} columns, all past-only, none in units of price; the manifest
of a model names those that it reads, and the hash of this catalogue. r = ln(c / c[-1]); o, h, l, c: open, high, low, close of a bar;
ATR = Wilder 14; V, Vb, Vs: volume, of buyers, of sellers; n, nb, ns: trades. Windows end at the newest closed bar; std and var divide by
n unless said otherwise. Rules may also read `close`, `mid`, `ema(n)`, `sma(n)`, `std(n)`, `rsi(n)`, `atr(n)`, `highest(n)`, `lowest(n)`.

A column without a value is never a silent zero. Until its warm-up is over, and while an input is missing, no decision is taken on it; a
model that carries the mask `has(INPUT)` decides all the same, sees the neutral value in its place, and 0 in the mask.
`mia features compute` writes null there.

## Inputs
| input | what it is | when it is missing | columns |
|---|---|---|---|
"""
_OUTSIDE: Final = """
## Where series from outside come from
A running daemon gets the series that `reference` columns read in two ways; what it does not get has no value (`mia status` says so).

- Another instrument of the same venue: `references = { ref = "binance_spot:ETHUSDT" }` in `[[lanes]]`, for `ref`, `ref2`, `spot` and `perp`
  (one side of a basis may be the lane's own instrument). Its value is the price of its last trade, as soon as it was heard: at the close of
  a bar that is the close of its own bar of the same interval. It counts for 5 minutes, or 3 bars when these are longer. It is derived
  inside the engine from the journaled trades, so a replay gives the same bits. On files: `--second ref=FILE` (candles) or
  `--second ref=SYMBOL` (of the same recording). `--reference ref=FILE` is something else: published a second after each bar.
- CSV files under `[references]`, one key for each series, which a job of yours keeps: rows are added at the end. The daemon looks every
  `poll_s` whether a file changed, reads its last 64 KiB, and lets rows enter as journaled events once the world could know them: each
  once, also over restarts, and a row that changes afterwards does not enter again. A file that cannot be used is an alert
  (`reference_file`); what was read before stays until it is too old. In a replay of a recording rows enter at the recording's time.

| file | columns | known |
|---|---|---|
| FRED: `vix3m`, `us2y`, `us10y`, `high_yield_spread` | of fredgraph.csv: `observation_date`, `DGS10` | 16:30 New York, next business day |
| FRED `dollar_index`, `fed_funds` | the same | 16:30 New York on the Monday after the week; on the first business day after the month |
| `vix` | `DATE` (2026-01-31 or 01/31/2026), `CLOSE`, as Cboe has them | 15:20 Chicago of the day |
| `funding_rate` | `ts_ms`, `rate` | 1 s after its time |
| `ref`, `ref2`, `spot`, `perp`, `nyse_tick`, `trin` | `ts_ms` of the beginning of each bar, `close` | 1 s after the end of the bar |

News and predictions are events that the daemon takes and journals, and offline files; nothing sends them to a running daemon yet.
"""
_CANDLES: Final = """
## Candles and live
A candle file has no aggressors, so columns of trades, quotes and depth have no value there. Columns of bars are those of live, but for
the notional of a bar, which live sums over its trades. A file with `quote_volume` (also `quote_asset_volume` of Binance's klines,
`cum_dollar`) gives the true one, and `trades` (`count`, `number_of_trades`, `cum_ticks`) the number of trades. Without it the mean price
of a bar is taken to be (high + low + close) / 3, a note says so, and these columns are near to live's, not equal: {by_notional}.
"""
_MODELS: Final = """
## Models behind columns
Columns that read `model` or `memory` are computed by models that are fitted offline: a hidden Markov model (`regime`), principal
components, an autoencoder and a distance (`latent`), clusters of past situations (`memory`). `mia-train features --out M.json` fits them,
on candle files (`--bars`, their first `--share`) or simulated markets, as plain numbers in JSON; it says on which rows, and that nothing
later was looked at.

Where they go:
- Training: `mia-train fit --feature-models M.json` offers their columns to the policy, computed by the plan that live uses, and puts the
  file into the bundle. It must be of the same bars. Bars of `--bars` files that are not later than all that the models saw are left out
  and counted; simulated markets that they saw are refused (`mia-train features` fits on seeds that no policy plays on). A regime among
  the models is the one that blends the policies. With `--reference vix=VIX.csv` the forecast of VIX is a column, too, under its own mask.
- A model bundle: `feature_models.json`, optional, listed with its sha256 under `[files]` of the manifest and checked before it is read. The
  regime stays in `regime.json`; a regime in both files must be the same. A bundle is refused when a column needs a model that it does not
  carry, and when its models were fitted on other bars than its own.
- Columns of files: `mia features compute`, `profile`, `lookahead`, `recursive`, `drift` with `--models FILE|BUNDLE`. Without, these
  columns are null. Rows that the models were fitted on are counted on stderr: they are no test of them.
- A picture: `mia features regimes FILE --models M.json --out report.html`.

A column of a model has a value when each column that its model reads has one: models of candles never read trades, those of simulated or
recorded trades wait for them. `last_3_trades_success_rate` is told by the engine and needs no file.

`model_drift_score` needs `drift.json` of the bundle (`mia-train fit` writes it; a bundle without it measures nothing, and the column has no
value): deciles of the 20 most important columns of the market, calendar and slow series left out. The daemon counts the values that its
decisions see into these bins, over the last 5,000 to 9,999 decisions, and takes the largest population stability index of the 20 columns.
Before the first 5,000 it is not known. A decision sees the value as of the decision before; of one column the index is at most 20 decisions
old. Above 0.25 an alert is raised once (`model_drift`), and again only after the value fell below 0.1. Short windows of slow columns differ
from training without anything being wrong: with decisions each second, 5,000 are an hour and a half.

`mia-train features --vix VIX.csv` adds a forecast of the next close of VIX. It sees closes that were known by the end of the rows of the
fit, or with simulated markets the first `--share` of its own file. `mia features compute` makes it arrive as predictions do live, with
`--reference vix=VIX.csv --predict vix=M.json`. Value: the median of the next close. Known: 15:20 Chicago, with the close that it was made
from. Valid: until the next close should be known. Confidence: how often out of sample the forecast was nearer to the next close than the
last one was; 0.5 is no better than none. Before the end of its training span there is none, so `predicted_vix` is null there.
"""
# What each input is, and what happens without it. An input without an entry fails the test.
INPUT_TEXT: Final = {
    "bars": ("closed bars of the instrument", "no bar, no new value; in files of candles it is all there is"),
    "trades": ("trades with their aggressor", "cold until there are some; candle files have none: null there"),
    "quotes": ("best bid and ask with sizes", "cold until there are some; a stale quote stops decisions; candle files have none"),
    "depth": ("the order book", "no value from a gap in the feed until the next snapshot; candle files have none"),
    "clock": ("engine time", "never missing"),
    "account": (
        "position, profit and limits of the lane",
        "never missing live; files have none: null there; a fit steps all of them with the kernel of live but `policy_dispersion`,"
        " `last_alpha` and `model_drift_score`, which cannot be known then and which its policies do not read",
    ),
    "calendar": ("sessions, events, expiries from the calendar files", "no value past the end of the calendar"),
    "reference": ("outside series such as VIX, yields, an index", "no value until published, and past its validity"),
    "funding": ("funding rate and basis of perpetuals", "no value until published, and past its validity"),
    "news": ("scored news and social messages", "no value without a source of them"),
    "predicted": ("predictions of slow models", "no value until the first, and past its validity"),
    "model": ("arrays of the bundle (regimes, latents)", "no value for a bundle without them"),
    "memory": ("clusters of earlier trades in the bundle", "no value for a bundle without them"),
}


def page() -> str:
    """The page as Markdown text, ending in a newline."""
    catalogue = shipped_catalogue()
    parts = [_HEAD.format(n=len(catalogue.features))]
    for name in INPUTS:
        what, missing = INPUT_TEXT[name]
        parts.append(f"| `{name}` | {what} | {missing} | {sum(name in f.inputs for f in catalogue.features)} |\n")
    parts.append(_CANDLES.format(by_notional=", ".join(f"`{name}`" for name in BY_NOTIONAL)))
    parts += [_OUTSIDE, _MODELS]
    for category in dict.fromkeys(f.category for f in catalogue.features):
        members = [f for f in catalogue.features if f.category == category]
        parts.append(f"\n## {category} ({len(members)})\n| name | formula | unit | range | inputs | warm-up | missing | source |\n")
        parts.append("|---|---|---|---|---|---|---|---|\n")
        parts += [_row(f) for f in members]
    return "".join(parts)


def _row(f: Feature) -> str:
    from mia.cli.features.catalogue import warm_up

    low, high = f.range
    missing = f"{f.missing}; neutral {f.neutral:g}" if f.neutral else f.missing
    series = f" ({', '.join(f.series)})" if f.series else ""
    cells = (
        f"`{f.name}`",
        f.formula,
        f.unit,
        f"{low:g} to {high:g}",
        f"{', '.join(f.inputs)}{series}",
        warm_up(f.warm_up),
        missing,
        f.source,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
