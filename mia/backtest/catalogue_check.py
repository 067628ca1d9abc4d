"""Is the catalogue what was agreed? Counts, names, code behind them, and that nothing of what was withdrawn is left in the checkout."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from mia import shipped
from mia.domain.errors import ConfigError
from mia.features.blocks import BLOCK_OF, BLOCKS
from mia.features.catalogue import COUNTS, Catalogue, read_catalogue
from mia.features.compile_catalogue import compile_yaml

TOTAL: Final = sum(COUNTS.values())
# Withdrawn. A name counts as a word of its own in any case; a width where it is given to something called width, shape, obs_dim,
# n_features and the like, alone or inside of brackets; not as part of a longer number or name ("320ms", "81.5", "81_000").
# (Put together from parts: the words themselves must not stand in the code, not even here.)
_NAMES: Final = ("obs" + "_t", "dx" + "feed")
WIDTHS: Final = (320, 81)
_NAME: Final = re.compile(rf"(?<!\w)({'|'.join(_NAMES)})(?!\w)", re.IGNORECASE)
_WIDTH: Final = re.compile(
    r"""(?ix) (?<![a-z0-9]) (?:\w*_)? (?: shape|width|dims?|n_features|num_features|features_n|n_columns|n_obs|n_inputs|obs_size|input_size)
    (?![a-z]) (?:_\w+)? ["']? (?: \[-?\d\] )? \s* (?: : [^=\n\[({\d]{0,40} )? (?: [=:]=? | \( ) \s* [\[(]? (?: [\w\-.]+ \s* , \s* ){0,3}
    (320|81) (?! [\w.] )"""
)
_FOLDERS: Final = ("mia", "daemon", "config", "models", "systemd", "tests", "typings")
_FILES: Final = (".py", ".pxd", ".pyi", ".toml", ".yaml", ".yml", ".json", ".cfg", ".ini", ".service")


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One question, its answer, and what is wrong."""

    check: str
    ok: bool
    detail: str


def checks(root: Path | None = None) -> list[Check]:
    """All of them; root: the checkout, by default the one that this package lies in, or the installed package alone."""
    if root is None:
        root = Path(shipped.__file__).resolve().parents[1]
        root = root if (root / "pyproject.toml").is_file() else root / "mia"
    source = shipped.config_file("feature_sets.yaml")
    catalogue = read_catalogue(source.with_name("feature_catalogue.json"))
    return [_compiled(source), *counted(catalogue), _behind(catalogue), _withdrawn(root), _withdrawn_widths(root)]


def _compiled(source: Path) -> Check:
    name = "feature_sets.yaml compiles to feature_catalogue.json"
    try:
        same = compile_yaml(source.read_bytes()) == source.with_name("feature_catalogue.json").read_bytes()
    except (ConfigError, OSError) as e:
        return Check(check=name, ok=False, detail=str(e))
    return Check(check=name, ok=same, detail="" if same else "stale: run python -m mia.features.compile_catalogue")


def counted(catalogue: Catalogue) -> Iterator[Check]:
    """Each category's count, then the total."""
    for category, target in COUNTS.items():
        n = len(catalogue.category(category))
        yield Check(check=f"{category}: {target} columns", ok=n == target, detail="" if n == target else f"has {n}, {_off(n - target)}")
    strange = sorted({f.category for f in catalogue.features} - set(COUNTS))
    n = len(set(catalogue.names))
    detail = f"has {n}, {_off(n - TOTAL)}" if n != TOTAL else ""
    if strange:
        detail = "; ".join(filter(None, (detail, f"unknown categories: {', '.join(strange)}")))
    yield Check(check=f"{TOTAL} distinct names in all", ok=not detail, detail=detail)


def _off(n: int) -> str:
    return f"{abs(n)} too {'many' if n > 0 else 'few'}"


def _behind(catalogue: Catalogue) -> Check:
    names, slots = set(catalogue.names), [slot for spec in BLOCKS.values() for slot in spec.slots]
    wrong = [f"no kernel computes {name}" for name in sorted(names - set(BLOCK_OF))]
    wrong += [f"{slot} has no line in the catalogue" for slot in sorted(set(slots) - names)]
    wrong += [f"{slot} is computed twice" for slot in sorted({s for s in slots if slots.count(s) > 1})]
    return Check(check="every name has a slot of a kernel", ok=not wrong, detail=_some(wrong))


def _withdrawn(root: Path) -> Check:
    wrong = [f"{path.relative_to(root)}:{number}: {match[0]}" for path, number, line in _lines(root) for match in _NAME.finditer(line)]
    return Check(check=f"withdrawn names ({', '.join(_NAMES)}) are gone", ok=not wrong, detail=_some(wrong))


def _withdrawn_widths(root: Path) -> Check:
    wrong = [f"{path.relative_to(root)}:{number}: {match[0]}" for path, number, line in _lines(root) for match in _WIDTH.finditer(line)]
    wrong += [f"{path.relative_to(root)}: {n} columns" for path, n in _manifest_widths(root) if n in WIDTHS]
    return Check(check=f"withdrawn widths ({', '.join(map(str, WIDTHS))}) are gone", ok=not wrong, detail=_some(wrong))


def _manifest_widths(root: Path) -> Iterator[tuple[Path, int]]:
    """Features and masks of each bundle."""
    for path in sorted((root / "models" if (root / "models").is_dir() else root).rglob("manifest.toml")):
        try:
            manifest = tomllib.loads(path.read_text(encoding="utf-8"))
            yield path, len(manifest.get("features", [])) + len(manifest.get("masks", []))
        except (OSError, ValueError, TypeError):
            continue  # a manifest that cannot be read is refused where it is used; here it holds no width


def _lines(root: Path) -> Iterator[tuple[Path, int, str]]:
    """Lines of code, settings and manifests."""
    folders = [root / name for name in _FOLDERS if (root / name).is_dir()]
    found = [*root.glob("*")] if folders else [*root.rglob("*")]
    for folder in folders:
        found += sorted(folder.rglob("*"))
    for path in (p for p in found if p.suffix in _FILES and p.is_file()):
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            yield path, number, line


def _some(wrong: Sequence[str]) -> str:
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return "; ".join(wrong[:5]) + more
