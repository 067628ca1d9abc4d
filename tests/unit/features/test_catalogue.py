"""The catalogue file, its compiled form and its hash."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from mia import shipped
from mia.domain.errors import ConfigError
from mia.features.catalogue import Catalogue, CompiledCatalogue, shipped_catalogue
from mia.features.compile_catalogue import compile_yaml, main

CATEGORIES = (
    "price", "order_flow", "book", "trend", "volatility", "volume_profile", "structure", "cross_asset", "calendar", "news_predictions",
    "regime", "latent", "memory", "account_self",
)  # fmt: skip
YAML = shipped.config_file("feature_sets.yaml")
GOOD = """
feature_sets:
  price:
    features:
      - {name: a, formula: f, unit: u, range: [0, 1], source: s, inputs: [bars], warm_up: {bars: 3}, missing: m}
"""


def test_the_compiled_form_is_that_of_the_yaml() -> None:
    compiled = shipped.config_file("feature_catalogue.json").read_bytes()

    assert compiled == compile_yaml(YAML.read_bytes())
    assert msgspec.json.decode(compiled, type=CompiledCatalogue).yaml_sha256 == hashlib.sha256(YAML.read_bytes()).hexdigest()
    assert main(["--check"]) == 0


def test_reading_the_yaml_category_by_category_yields_the_names_in_order() -> None:
    sets = yaml.safe_load(YAML.read_bytes())["feature_sets"]
    names = [f["name"] for body in sets.values() for f in body["features"]]

    assert tuple(names) == shipped_catalogue().names
    assert len(set(names)) == len(names)
    assert tuple(sets) == CATEGORIES


def test_the_hash_changes_with_any_word_and_with_the_order_but_not_with_layout() -> None:
    def hash_of(text: str) -> str:
        return Catalogue(msgspec.json.decode(compile_yaml(text.encode()), type=CompiledCatalogue).features).hash

    two = GOOD + GOOD.splitlines()[-1].replace("name: a", "name: b") + "\n"
    swapped = two.replace("name: a", "name: x").replace("name: b", "name: a").replace("name: x", "name: b")

    assert hash_of(GOOD) == hash_of(GOOD + "# a comment\n")
    assert len({hash_of(GOOD), hash_of(GOOD.replace("bars: 3", "bars: 4")), hash_of(two), hash_of(swapped)}) == 4


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("feature_sets: 3", "feature_sets"),
        ("{", "feature_sets"),
        (GOOD.replace("[0, 1]", "[1, 1]"), "price.a: range"),
        (GOOD.replace("[0, 1]", "[0, .inf]"), "price.a: range"),
        (GOOD.replace("formula: f", "formule: f"), "price.a"),
        (GOOD.replace("inputs: [bars]", "inputs: [moon]"), "price.a"),
        (GOOD.replace("bars: 3", "days: 3"), "price.a"),
        (GOOD + GOOD.splitlines()[-1] + "\n", "twice"),
    ],
)
def test_a_bad_yaml_is_one_clear_error(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        compile_yaml(text.encode())


def test_the_daemon_reads_the_catalogue_without_a_yaml_library() -> None:
    code = "import sys, mia.features.plan, mia.features.catalogue as c; c.shipped_catalogue(); sys.exit('yaml' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).resolve().parents[3]).returncode == 0


def test_formulas_that_clip_say_the_range_of_the_catalogue() -> None:
    for f in shipped_catalogue().features:
        if f.formula.startswith("clip("):
            low, high = (f"{int(x)}" for x in f.range)
            assert f"{low}, {high})" in f.formula, f.name
