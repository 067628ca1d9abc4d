"""Tool: config/feature_sets.yaml -> config/feature_catalogue.json, so that the daemon needs no YAML.

python -m mia.features.compile_catalogue [--check]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from typing import Any

import msgspec

from mia import shipped
from mia.domain.errors import ConfigError
from mia.features.catalogue import Catalogue, CompiledCatalogue, Feature


def compile_yaml(text: bytes) -> bytes:
    """The compiled form of a feature_sets.yaml; ConfigError names the feature that is wrong."""
    import yaml  # type: ignore[import-untyped]  # a tool's library: the daemon never comes here

    try:
        raw: Any = yaml.safe_load(text)
        sets = raw["feature_sets"]
        rows = [(category, row) for category, body in sets.items() for row in body["features"]]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as e:
        raise ConfigError(f"feature_sets.yaml: not of the form feature_sets: {{category: {{features: [...]}}}}: {e}") from e
    features = []
    for category, row in rows:
        name = row.get("name", "?") if isinstance(row, dict) else "?"
        try:
            feature = msgspec.convert(dict(row, category=category), Feature)
        except (msgspec.ValidationError, TypeError, ValueError) as e:
            raise ConfigError(f"feature_sets.yaml: {category}.{name}: {e}") from e
        low, high = feature.range
        if not (-3e38 < low < high < 3e38):
            raise ConfigError(f"feature_sets.yaml: {category}.{name}: range must be finite and rising, got {low} to {high}")
        if not (low <= feature.neutral <= high):
            raise ConfigError(f"feature_sets.yaml: {category}.{name}: neutral {feature.neutral} lies outside of its range")
        features.append(feature)
    Catalogue(features)  # refuses a name used twice
    compiled = CompiledCatalogue(hashlib.sha256(text).hexdigest(), tuple(features))
    return msgspec.json.format(msgspec.json.encode(compiled), indent=1) + b"\n"


def main(argv: list[str] | None = None) -> int:
    """Write the compiled form, or with --check only say whether it is up to date; returns the exit code."""
    parser = argparse.ArgumentParser(prog="compile_catalogue", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the compiled file is stale")
    check = parser.parse_args(argv).check
    source = shipped.config_file("feature_sets.yaml")
    target = source.with_name("feature_catalogue.json")
    try:
        compiled = compile_yaml(source.read_bytes())
    except (ConfigError, OSError) as e:
        sys.stderr.write(f"{e}\n")
        return 4
    if check:
        fresh = target.is_file() and target.read_bytes() == compiled
        sys.stdout.write(f"{target}: {'up to date' if fresh else 'stale, run python -m mia.features.compile_catalogue'}\n")
        return 0 if fresh else 1
    target.write_bytes(compiled)
    sys.stdout.write(f"{target}: written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
