"""`mia features drift`: how far values lie from those of training, or of other data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mia.cli.features.options import Data, Progress, app, data_options, pieces_of, share
from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from mia.backtest.distribution import Shift

_DRIFT_ROWS: Final = 50_000
_DATA: Final = (".feather", ".parquet", ".csv", ".gz", ".zst")


@app.command("drift", short_help="How far data lies from training, or from other data.")
@data_options()
def drift(
    data: Data,
    a: Annotated[str, typer.Argument(metavar="MODEL|DATA", help="A bundle by name or path, or a data file.")],
    b: Annotated[Path, typer.Argument(metavar="DATA", help="Candles, recorded frames, or a parquet file of compute.")],
    as_json: JsonOption = False,
) -> None:
    """Compare the values of columns: PSI (above 0.25: a major shift) and the Kolmogorov-Smirnov distance, the largest first."""
    from mia.cli.output import print_json, print_note, print_table

    is_data = Path(a).is_file() or a.endswith(_DATA)
    found = _against_data(Path(a), b, data) if is_data else _against_model(a, b, data)
    found.sort(key=lambda s: (s.psi is None, -(s.psi or 0.0), s.column))
    if as_json:
        print_json(found)
        return
    known = [s for s in found if s.psi is not None]
    head = ("column", "PSI", "KS", "there before", "there now", "shift")
    print_table(
        head,
        [(s.column, f"{s.psi:.3f}", f"{s.ks:.3f}", share(s.present_a), share(s.present_b), _shift_word(s.psi or 0.0)) for s in known],
        right=head[1:5],
    )
    major = sum((s.psi or 0.0) > 0.25 for s in known)
    print(f"{len(known)} columns compared, {major} shifted by more than 0.25")
    if silent := [s.column for s in found if s.psi is None]:
        print_note(f"no value on one side: {', '.join(silent)}")


def _against_data(a: Path, b: Path, data: Data) -> list[Shift]:
    from mia.backtest.distribution import shift_between

    (names_a, pieces_a, bars_a), (names_b, pieces_b, bars_b) = (pieces_of(path, data) for path in (a, b))
    _same_bars(a.name, bars_a, b.name, bars_b)
    first, second = _sampled(a.name, pieces_a), _sampled(b.name, pieces_b)
    both = [n for n in names_a if n in names_b]
    return [shift_between(n, first[:, names_a.index(n)], second[:, names_b.index(n)]) for n in both]


def _against_model(model: str, file: Path, data: Data) -> list[Shift]:
    import msgspec

    from mia.assemble import model_folders
    from mia.backtest.distribution import read_distribution, shift
    from mia.backtest.feature_run import chosen
    from mia.backtest.readers import is_candle_file
    from mia.cli.output import print_note
    from mia.domain.errors import ConfigError
    from mia.features.bars import BarSpec
    from mia.features.catalogue import shipped_catalogue
    from mia.policy.bundle import find_bundle
    from mia.policy.manifest import parse_manifest

    folder = find_bundle(model, model_folders())
    then = read_distribution(folder)
    manifest = parse_manifest((folder / "manifest.toml").read_bytes(), f"model {folder / 'manifest.toml'}")
    wanted = chosen(data.columns, data.category)
    names = [n for n in then.columns if n in wanted]
    if not names:
        raise ConfigError(f"model {manifest.name}: none of these columns is in its {len(then.columns)}")
    if then.catalogue_sha256 != shipped_catalogue().hash:
        print_note(f"model {manifest.name} was fitted on another feature catalogue: a formula may have changed since")
    request = data.request
    if not is_candle_file(file):  # a recording is looked at as the model would look at it
        request = msgspec.structs.replace(request, bars=request.bars or BarSpec.parse(manifest.bar))
        if manifest.trigger == "quote" and not request.every_ms:
            request = msgspec.structs.replace(request, at="quote", every_ms=manifest.min_interval_ms)
    found, pieces, bars = pieces_of(file, Data(",".join(names), None, request))
    _same_bars(f"model {manifest.name}", then.bars, file.name, bars)
    matrix = _sampled(file.name, pieces)
    return [shift(n, then.columns[n], matrix[:, found.index(n)]) for n in names]


def _same_bars(a: str, bars_a: str, b: str, bars_b: str) -> None:
    from mia.cli.output import print_note

    if bars_a != bars_b:
        print_note(f"{a} has {bars_a} bars, {b} {bars_b}: part of the shift is that of the bars")


def _sampled(name: str, pieces: Any) -> Any:
    """At most 2 x _DRIFT_ROWS rows, evenly spread."""
    from mia.backtest.feature_checks import Sample

    sample, progress, n = Sample(_DRIFT_ROWS), Progress(name), 0
    for _, matrix in pieces:
        sample.add(matrix)
        n += len(matrix)
        progress(f"{n} rows")
    return sample.matrix


def _shift_word(psi: float) -> str:
    """Siddiqi's classes."""
    return "major" if psi > 0.25 else "moderate" if psi > 0.1 else ""
