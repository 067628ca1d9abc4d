"""`mia db`: questions to miad.db, its tables as files, and a copy of it. Read-only, in a process of its own (db_worker)."""

from __future__ import annotations

import csv
import enum
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mia.cli.places import ConfigOption, JsonOption, StateOption
from mia.domain.errors import DataError

app = typer.Typer(help="Ask miad.db, export its tables, copy it. Never writes to it.", rich_markup_mode=None, no_args_is_help=True)
_LIVE_MS: Final = 100  # a longer read transaction would hold up the WAL of a running daemon
_IDLE_MS: Final = 60_000

FileOption = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Another database, such as a backup.")]


class Format(enum.StrEnum):
    """How a table is written."""

    csv = "csv"
    json = "json"
    ndjson = "ndjson"


@app.command("query", short_help="One SELECT, its rows.")
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT.")],
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=1_000_000, help="Rows at most.")] = 1000,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    file: FileOption = None,
    state: StateOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the rows of one SELECT. Beside a running daemon it has 100 ms; what needs longer is asked of a copy (`mia db backup`)."""
    from mia.cli.output import print_json, print_note, print_table

    path, is_live = _database(file, state, config)
    budget_ms = _LIVE_MS if is_live else _IDLE_MS
    found = _ask({"verb": "query", "path": str(path), "sql": sql, "limit": limit, "budget_ms": budget_ms}, is_live=is_live)
    if as_json:
        print_json([dict(zip(found["head"], row, strict=True)) for row in found["rows"]])
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([found["head"], *found["rows"]])
    else:
        print_table(found["head"], [["" if value is None else value for value in row] for row in found["rows"]])
    if found["truncated"]:
        print_note(f"only the first {limit} rows; --limit N gives more, `mia db export` all of a table")


@app.command("tables", short_help="Which tables there are.")
def tables(file: FileOption = None, state: StateOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List tables and views with their rows and columns."""
    from mia.cli.output import print_json, print_table

    path, is_live = _database(file, state, config)
    found = _ask({"verb": "tables", "path": str(path)}, is_live=is_live)["tables"]
    if as_json:
        print_json(found)
    else:
        print_table(("table", "rows", "columns"), [(t["name"], t["rows"], ", ".join(t["columns"])) for t in found], right=("rows",))


@app.command("export", short_help="A table, or all, as CSV or JSON.")
def export(
    table: Annotated[str, typer.Argument(metavar="TABLE|all", help="Which table; `all`: one file each.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file (.csv, .json, .ndjson); with `all`, a folder.")],
    form: Annotated[Format | None, typer.Option("--format", help="Else by the file's ending; csv with `all`.")] = None,
    file: FileOption = None,
    state: StateOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a table to a file, a page of rows at a time, so that a running daemon is not held up."""
    from mia.cli.output import print_json

    path, is_live = _database(file, state, config)
    chosen = form.value if form else ("csv" if table == "all" else to.suffix.removeprefix("."))
    if chosen not in list(Format):
        raise typer.BadParameter(f"{to}: end it in .csv, .json or .ndjson, or add --format")
    if table == "all":
        to.mkdir(parents=True, exist_ok=True)
    target = str(to.absolute() / f"{{table}}.{chosen}") if table == "all" else str(to.absolute())
    found = _ask({"verb": "export", "path": str(path), "tables": [table], "to": target, "format": chosen}, is_live=is_live)["written"]
    if as_json:
        print_json(found)
        return
    for item in found:
        print(f"{item['table']}: {item['rows']} rows to {item['file']}")


@app.command("backup", short_help="A checked copy of the database.")
def backup(
    to: Annotated[Path, typer.Argument(metavar="TO", help="The copy; a file that must not exist.")],
    state: StateOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy miad.db, also beside a running daemon, and check the copy. (Copying the files by hand may tear them.)"""
    from mia.cli.output import print_json, size
    from mia.domain.errors import NotPermitted

    path, is_live = _database(None, state, config)
    if to.exists():
        raise NotPermitted(f"{to}: exists already: name a new file")
    if not to.absolute().parent.is_dir():
        raise DataError(f"{to.absolute().parent}: no such folder: make it first")
    made = _ask({"verb": "backup", "path": str(path), "to": str(to.absolute())}, is_live=is_live)
    if as_json:
        print_json(made)
    else:
        print(f"{made['file']}: {size(made['bytes'])}, integrity {made['integrity']}, read in {made['held_ms']:g} ms")


def _database(file: Path | None, state: Path | None, config: Path | None) -> tuple[Path, bool]:
    """The database, and whether a daemon writes to it now."""
    from mia.cli.places import missing, state_dir
    from mia.store.state_dir import is_running

    if file is not None:
        if not file.is_file():
            raise DataError(f"{file}: no such file: name a database, such as one made by `mia db backup`")
        return file, is_running(file.absolute().parent)
    folder = state_dir(state, config)
    path = folder / "miad.db"
    if not path.is_file():
        raise DataError(missing(folder) if not folder.is_dir() else f"{path}: no such database: has miad run with this state directory?")
    return path, is_running(folder)


def _ask(request: dict[str, Any], *, is_live: bool) -> dict[str, Any]:
    """What the worker answers; its errors as ours."""
    done = subprocess.run(
        [sys.executable, "-m", "mia.cli.db_worker"], input=json.dumps(request), capture_output=True, text=True, check=False
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]
        raise DataError(f"the database worker died ({last[0]})") from None
    if "error" not in found:
        return found
    text, code = str(found["error"]), int(found["code"])
    if code == 5:
        hint = "beside a running daemon a read has 100 ms: narrow it (WHERE id > ..., LIMIT), or query a copy" if is_live else "narrow it"
        raise TimeoutError(f"{text}; {hint}" + (" (`mia db backup FILE`, then --file FILE)" if is_live else ""))
    if code == 6:
        from mia.domain.errors import NotPermitted

        raise NotPermitted(text)
    if code == 2:
        raise typer.BadParameter(text)
    raise DataError(text)
