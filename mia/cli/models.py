"""`mia models`: which bundles are here, what they are, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mia.cli.places import JsonOption

app = typer.Typer(help="Which models are here, what they are, and whether they load.", rich_markup_mode=None)
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a bundle, or the path of its folder.")]


@app.callback(invoke_without_command=True)
def _default(context: typer.Context, as_json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        list_models(as_json)


@app.command("list", short_help="All bundles, and whether they load.")
def list_models(as_json: JsonOption = False) -> None:
    """List all bundles, your own first; a shipped one of the same name is hidden by yours. Exit 1 when one does not load."""
    from mia.cli.output import print_json, print_note, print_table

    found = [_looked_at(folder) for folder in _folders()]
    if as_json:
        print_json(found)
    elif found:
        head = ("model", "check", "family", "trigger", "columns", "made", "folder")
        rows = [[m.get(key, "") for key in ("name", "check", "family", "trigger", "columns", "steps", "folder")] for m in found]
        print_table((*head[:5], "steps", "folder"), rows, right=("columns", "steps"))
    else:
        print_note("no models found; train one with `mia-train fit`, or use a rule such as rule:ema_cross")
    for model in found:
        if model["check"] == "fail" and not as_json:
            print_note(str(model["error"]))
    if any(m["check"] == "fail" for m in found):
        raise typer.Exit(1)


@app.command("show", short_help="Manifest and card of one bundle.")
def show(name: _Name, as_json: JsonOption = False) -> None:
    """Show the manifest and the card of one bundle."""
    from mia.assemble import model_folders
    from mia.cli.output import print_json, print_pairs
    from mia.policy.bundle import find_bundle
    from mia.policy.manifest import parse_manifest, sha256

    folder = find_bundle(name, model_folders())
    data = (folder / "manifest.toml").read_bytes()
    manifest = parse_manifest(data, f"model {folder / 'manifest.toml'}")
    card = (folder / "card.md").read_text(encoding="utf-8") if (folder / "card.md").is_file() else ""
    facts: dict[str, Any] = {
        "name": manifest.name,
        "folder": str(folder),
        "sha256": sha256(data),
        "family": manifest.family,
        "trigger": f"{manifest.trigger}, at most every {manifest.min_interval_ms} ms, bars {manifest.bar}",
        "columns": f"{len(manifest.columns)} ({', '.join(manifest.columns)})",
        "alpha_min": f"{manifest.alpha_min:g} (P(net profit) within {manifest.alpha_horizon_s:g} s)",
        "algorithms": ", ".join(f"{regime} {name}" for regime, name in sorted(manifest.algorithms.items())),
        "trained": f"{manifest.training.steps} steps by `{manifest.training.command}`, commit {manifest.training.git_commit[:12]}",
        "data": "; ".join(manifest.training.spans) or "not stated",
        "metrics": ", ".join(f"{key} {value:g}" for key, value in sorted(manifest.metrics.items())) or "none",
        "catalogue": manifest.catalogue_sha256,
    }
    if as_json:
        print_json({"name": manifest.name, "folder": str(folder), "sha256": sha256(data), "manifest": manifest, "card": card})
        return
    print_pairs([(key, str(value)) for key, value in facts.items()])
    print(f"\n{card.strip()}" if card else "\nno card.md")


@app.command("check", short_help="Verify one bundle as the daemon does.")
def check(name: _Name, as_json: JsonOption = False) -> None:
    """Verify one bundle as the daemon does: hashes, graph, catalogue, golden vectors. Exit 4 when it would be refused."""
    from mia.assemble import model_folders
    from mia.cli.output import print_json
    from mia.policy.bundle import find_bundle

    folder = find_bundle(name, model_folders())
    bundle = _load(folder)
    if as_json:
        print_json({"name": bundle.name, "folder": str(folder), "sha256": bundle.sha256, "check": "ok"})
    else:
        print(f"{bundle.name}: ok; hashes, graph, feature catalogue and golden vectors hold ({folder})")


def _folders() -> Iterator[Path]:
    from mia.assemble import model_folders

    seen: dict[str, Path] = {}
    for base in model_folders():
        for folder in sorted(base.iterdir()) if base.is_dir() else []:
            if (folder / "manifest.toml").is_file():
                seen.setdefault(folder.name, folder)
    yield from (seen[name] for name in sorted(seen))


def _load(folder: Path) -> Any:
    from mia.engine.lane import models_of
    from mia.features.catalogue import shipped_catalogue
    from mia.features.plan import KNOWN_COLUMNS
    from mia.policy.bundle import load_bundle

    bundle = load_bundle(str(folder.absolute()), catalogue_sha256=shipped_catalogue().hash, known_columns=KNOWN_COLUMNS)
    models_of(bundle, f"model {folder}")
    return bundle


def _looked_at(folder: Path) -> dict[str, Any]:
    """One line of the list; what the manifest says even when the bundle would be refused."""
    from mia.domain.errors import ConfigError
    from mia.policy.manifest import parse_manifest

    facts: dict[str, Any] = {"name": folder.name, "check": "ok", "folder": str(folder)}
    try:
        manifest = parse_manifest((folder / "manifest.toml").read_bytes(), f"model {folder / 'manifest.toml'}")
        facts |= {
            "family": manifest.family,
            "trigger": manifest.trigger,
            "columns": len(manifest.columns),
            "steps": manifest.training.steps,
        }
        facts["sha256"] = _load(folder).sha256
    except (ConfigError, OSError) as e:
        facts |= {"check": "fail", "error": str(e)}
    return facts
