"""`mia show-config`: the merged settings, where each value came from, and no secret."""

from __future__ import annotations

from typing import Any, Final

from mia.cli.places import ConfigOption, JsonOption

_SECRET: Final = ("secret", "password", "token", "api_key", "private_key", "credential")


def show_config(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the merged settings and where each value came from."""
    from mia.cli.output import print_json, print_pairs, print_table
    from mia.settings import load_settings

    loaded = load_settings(config)
    values = [(key, masked(key, value), loaded.sources.get(key, "default")) for key, value in loaded.values().items()]
    if as_json:
        print_json(
            {"file": str(loaded.path), "hash": loaded.hash(), "values": {key: {"value": v, "source": s} for key, v, s in values}},
        )
        return
    in_file = f"file {loaded.path}"
    print_pairs([("file", str(loaded.path)), ("hash", loaded.hash())])
    print()
    print_table(("setting", "value", "from"), [(key, shown(v), "file" if s == in_file else s) for key, v, s in values])


def masked(key: str, value: Any) -> Any:
    """The value, or stars when the key names a secret."""
    return "***" if any(word in key.lower() for word in _SECRET) and value not in ("", None) else value


def shown(value: Any) -> str:
    """A value as TOML would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
