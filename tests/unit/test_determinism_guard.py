"""Hunts in `domain … engine` for whatever could make the same input give other bits: clocks, randomness, addresses,
hash order, the environment, and numpy operations whose last bit follows the CPU.

Escapes are comments on the line, each a claim that a reviewer can check: `# ints` (a sum of integers),
`# kernel` (a method of one of our kernels that has the name of a numpy reduction: a loop of stated order).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("domain", "kernels", "features", "regime", "policy", "risk", "execution", "engine")

# Files that may break a rule, and why. Loading a policy bundle happens before trading starts and decides nothing.
ALLOWED: Final[dict[tuple[str, str], str]] = {}

BANNED_MODULES: Final = {
    "time": "clock",
    "random": "randomness",
    "secrets": "randomness",
    "uuid": "uuid",
    "numpy.random": "randomness",
}
BANNED_NAMES: Final = {
    "os.environ": "environment",
    "os.environb": "environment",
    "os.getenv": "environment",
    "os.getenvb": "environment",
    "os.urandom": "randomness",
    "os.getrandom": "randomness",
    "os.times": "clock",
    "datetime.datetime.now": "clock",
    "datetime.datetime.utcnow": "clock",
    "datetime.datetime.today": "clock",
    "datetime.date.today": "clock",
}
BUILTINS: Final = {"id": "id", "hash": "hash"}
NUMPY_FUNCTIONS: Final = frozenset(
    "exp exp2 expm1 log log2 log10 log1p logaddexp logaddexp2 sin cos tan sinh cosh tanh arcsin arccos arctan arctan2 "
    "arcsinh arccosh arctanh asin acos atan atan2 asinh acosh atanh sinc hypot cbrt power pow float_power i0 "
    "dot vdot vecdot matmul matvec vecmat inner outer tensordot einsum kron cross convolve correlate interp polyfit polyval "
    "sum nansum prod nanprod mean nanmean average median nanmedian std nanstd var nanvar cov corrcoef percentile quantile "
    "trace trapezoid trapz ptp gradient add.reduce multiply.reduce add.reduceat".split()
)
NUMPY_NAMESPACES: Final = ("linalg", "fft", "random", "polynomial")
REDUCING_METHODS: Final = frozenset({"sum", "std", "mean", "var", "prod", "dot"})
SET_METHODS: Final = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
SET_TYPES: Final = frozenset({"set", "frozenset", "Set", "FrozenSet", "AbstractSet", "MutableSet"})
WRAPPERS: Final = frozenset({"Final", "ClassVar", "Optional", "Annotated", "Required"})
VIEWS: Final = frozenset({"keys", "items"})
ORDER_TAKERS: Final = frozenset({"list", "tuple", "iter", "enumerate", "zip", "map", "filter", "reversed", "deque", "bytes", "bytearray"})
Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class Offence(NamedTuple):
    """One finding."""

    line: int
    rule: str
    text: str


def _is_set_annotation(node: ast.expr | None) -> bool:
    """`set[int]`, `Final[frozenset[str]]`, `set[int] | None`, and the same as a string."""
    match node:
        case ast.Constant(value=str(text)):
            return _is_set_annotation(ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_set_annotation(left) or _is_set_annotation(right)
        case ast.Subscript(value=value, slice=inner) if _last_name(value) in WRAPPERS:
            return any(_is_set_annotation(e) for e in (inner.elts if isinstance(inner, ast.Tuple) else [inner]))
        case ast.Subscript(value=value):
            return _is_set_annotation(value)
        case ast.Name() | ast.Attribute():
            return _last_name(node) in SET_TYPES
    return False


def _holds_sets(node: ast.expr | None) -> bool:
    """`dict[str, set[int]]`, `list[set[int]]`: what a subscript of the name gives is a set."""
    match node:
        case ast.Subscript(value=value, slice=inner) if _last_name(value) in WRAPPERS:
            return _holds_sets(inner)
        case ast.Subscript(slice=ast.Tuple(elts=elts)):
            return _is_set_annotation(elts[-1])
        case ast.Subscript(slice=inner):
            return _is_set_annotation(inner)
    return False


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _target_key(node: ast.expr) -> str:
    """`x` for a name, `.x` for an attribute of anything (self.x in one method, other.x in the next)."""
    return node.id if isinstance(node, ast.Name) else f".{node.attr}" if isinstance(node, ast.Attribute) else ""


class Hunter(ast.NodeVisitor):
    """Walks one module. Names are judged by what the same module says of them; it errs towards flagging."""

    def __init__(self, source: str) -> None:
        self.offences: list[Offence] = []
        self._lines = source.splitlines()
        self._tree = ast.parse(source)
        self._dotted: dict[str, str] = {}  # local name -> what it was imported as
        self._sets: list[dict[str, bool]] = [{}]  # scopes: name -> is it a set
        self._holders: set[str] = set()
        self._returns_set: set[str] = set()

    def hunt(self) -> list[Offence]:
        """All offences in order of appearance."""
        for node in ast.walk(self._tree):  # attributes and imports count for the whole module
            self._learn(node)
        self._learn_names(self._tree.body)
        self.visit(self._tree)
        return sorted(set(self.offences))

    # --- what names mean ---
    def _learn(self, node: ast.AST) -> None:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    self._dotted[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    self._dotted[alias.asname or alias.name] = f"{module}.{alias.name}"
            case ast.FunctionDef(name=name, returns=returns) | ast.AsyncFunctionDef(name=name, returns=returns):
                if _is_set_annotation(returns):
                    self._returns_set.add(name)
            case ast.AnnAssign(target=target, annotation=annotation):
                if _holds_sets(annotation):
                    self._holders.add(_target_key(target))
                if isinstance(target, ast.Attribute) and _is_set_annotation(annotation):
                    self._sets[0][_target_key(target)] = True
            case ast.ClassDef(body=body):
                for field in body:
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_set_annotation(field.annotation):
                        self._sets[0][f".{field.target.id}"] = True
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Attribute) and self._is_set(value):
                        self._sets[0][_target_key(target)] = True

    def _learn_names(self, body: list[ast.stmt]) -> None:
        """Names of one scope that are sets, anywhere in it (twice, for names made from names)."""
        for _ in range(2):
            for node in _scope(body):
                match node:
                    case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                        self._sets[-1][name] = _is_set_annotation(annotation) or (value is not None and self._is_set(value))
                    case ast.Assign(targets=targets, value=value):
                        for target in targets:
                            if isinstance(target, ast.Name):
                                self._sets[-1][target.id] = self._sets[-1].get(target.id, False) or self._is_set(value)
                    case ast.NamedExpr(target=ast.Name(id=name), value=value) if self._is_set(value):
                        self._sets[-1][name] = True

    def _name(self, node: ast.expr) -> str:
        """The dotted name an expression stands for, through imports; "" when it is not one."""
        match node:
            case ast.Name(id=name):
                return self._dotted.get(name, "")
            case ast.Attribute(value=value, attr=attr):
                base = self._name(value)
                return f"{base}.{attr}" if base else ""
        return ""

    def _is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Name() | ast.Attribute():
                key = _target_key(node)
                return next((scope[key] for scope in reversed(self._sets) if key in scope), False)
            case ast.Subscript(value=value):
                return _target_key(value) in self._holders
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
                return self._is_set(left) or self._is_set(right) or _is_view(left) or _is_view(right)
            case ast.IfExp(body=body, orelse=orelse):
                return self._is_set(body) or self._is_set(orelse)
            case ast.BoolOp(values=values):
                return any(self._is_set(v) for v in values)
            case ast.NamedExpr(value=value):
                return self._is_set(value)
            case ast.Call(func=ast.Name(id=name)):
                return name in ("set", "frozenset") or name in self._returns_set
            case ast.Call(func=ast.Attribute(value=value, attr=attr)):
                return (attr in SET_METHODS and self._is_set(value)) or (attr in self._returns_set and _last_name(value) == "self")
        return False

    def _is_kernel(self) -> bool:
        """A compiled module without numpy: what has methods there is a kernel, not an array."""
        modules = {dotted.partition(".")[0] for dotted in self._dotted.values()}
        return "cython" in modules and "numpy" not in modules

    # --- walking ---
    def _flag(self, node: ast.expr | ast.stmt, rule: str) -> None:
        self.offences.append(Offence(node.lineno, rule, self._lines[node.lineno - 1].strip()))

    def _escaped(self, node: ast.expr, word: str) -> bool:
        return any(f"# {word}" in line for line in self._lines[node.lineno - 1 : node.end_lineno])

    def _flag_order(self, node: ast.expr) -> None:
        if self._is_set(node):
            self._flag(node, "set order")

    def _visit_function(self, node: Function | ast.Lambda) -> None:
        arguments = node.args
        scope = {a.arg: _is_set_annotation(a.annotation) for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
        self._holders.update(a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs] if _holds_sets(a.annotation))
        self._sets.append(scope)
        if isinstance(node, Function):
            self._learn_names(node.body)
        self.generic_visit(node)
        self._sets.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._sets.append({})
        self._learn_names(node.body)
        self.generic_visit(node)
        self._sets.pop()

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._flag_import(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        self._flag_import(node, module)
        for alias in node.names:
            self._flag_import(node, f"{module}.{alias.name}")
            self._flag_name(node, f"{module}.{alias.name}")

    def _flag_import(self, node: ast.stmt | ast.expr, module: str) -> None:
        for banned, rule in BANNED_MODULES.items():
            if module == banned or module.startswith(f"{banned}."):
                self._flag(node, rule)

    def _flag_name(self, node: ast.expr | ast.stmt, dotted: str) -> None:
        if dotted in BANNED_NAMES:
            self._flag(node, BANNED_NAMES[dotted])
        head, _, rest = dotted.partition(".")
        if head == "numpy" and (rest in NUMPY_FUNCTIONS or rest.partition(".")[0] in NUMPY_NAMESPACES):
            self._flag(node, "numpy")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._flag_name(node, self._name(node))
        if node.attr == "random" and self._name(node) == "numpy.random":
            self._flag(node, "randomness")
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in BUILTINS:
            self._flag(node, BUILTINS[node.id])

    def visit_BinOp(self, node: ast.BinOp | ast.AugAssign) -> None:
        if isinstance(node.op, ast.MatMult):
            self._flag(node, "numpy")
        self.generic_visit(node)

    visit_AugAssign = visit_BinOp

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Name(id="sum") if not self._escaped(node, "ints"):
                self._flag(node, "float sum")
            case ast.Name(id="__import__") | ast.Attribute(attr="import_module"):
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        self._flag_import(node, argument.value)
            case ast.Name(id=name) if name in ORDER_TAKERS:
                for argument in node.args:
                    self._flag_order(argument)
            case ast.Name(id="min" | "max" | "sorted") if any(k.arg == "key" for k in node.keywords):
                for argument in node.args:  # ties of the key keep the order they came in
                    self._flag_order(argument)
            case ast.Attribute(value=value, attr="pop") if not node.args and self._is_set(value):
                self._flag(node, "set order")
            case ast.Attribute(attr="join" | "extend" | "fromkeys" | "chain" | "from_iterable"):
                for argument in node.args:
                    self._flag_order(argument)
            case ast.Attribute(value=value, attr=attr) if attr in REDUCING_METHODS and not self._name(node.func):
                if not (self._is_kernel() or _last_name(value) == "self" or self._escaped(node, "kernel")):
                    self._flag(node, "numpy")
        self.generic_visit(node)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._flag_order(node.iter)
        self.generic_visit(node)

    visit_AsyncFor = visit_For

    def _visit_comprehension(self, node: Comprehension) -> None:
        if not isinstance(node, ast.SetComp):  # a set made from a set has no order to leak
            for generator in node.generators:
                self._flag_order(generator.iter)
        self.generic_visit(node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension

    def visit_Starred(self, node: ast.Starred) -> None:
        self._flag_order(node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(t, ast.Tuple | ast.List) for t in node.targets):
            self._flag_order(node.value)
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._flag_order(node.value)
        self.generic_visit(node)


def _is_view(node: ast.expr) -> bool:
    """d.keys() & e.keys() is a set; dict views alone are ordered."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in VIEWS


def _scope(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Nodes of one scope, not of the functions and classes inside it."""
    stack: list[ast.AST] = list(reversed(body))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def sources() -> list[Path]:
    """Every module that has to be deterministic."""
    return sorted(path for package in PACKAGES for path in (ROOT / "mia" / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_has_no_source_of_other_bits(path: Path) -> None:
    name = str(path.relative_to(ROOT))

    offences = Hunter(path.read_text()).hunt()

    wrong = [f"{name}:{o.line}: {o.rule}: {o.text}" for o in offences if (name, o.rule) not in ALLOWED]
    assert not wrong, "\n".join(wrong)


def test_every_allowance_is_still_needed() -> None:
    used = {(str(p.relative_to(ROOT)), o.rule) for p in sources() for o in Hunter(p.read_text()).hunt()}

    assert set(ALLOWED) <= used


OFFENDERS: Final = [
    ("clock", "import time"),
    ("clock", "from time import perf_counter_ns"),
    ("clock", "def f():\n    import time as t"),
    ("clock", "t = __import__('time')"),
    ("clock", "import importlib\nt = importlib.import_module('time')"),
    ("clock", "from datetime import datetime, UTC\nx = datetime.now(UTC)"),
    ("clock", "import datetime as dt\nx = dt.datetime.utcnow()"),
    ("clock", "import datetime\nx = datetime.date.today()"),
    ("clock", "from datetime import datetime\nf = datetime.today"),
    ("clock", "import os\nx = os.times()"),
    ("randomness", "import random"),
    ("randomness", "from random import random"),
    ("randomness", "import secrets"),
    ("randomness", "import os\nx = os.urandom(4)"),
    ("randomness", "from os import urandom"),
    ("randomness", "import numpy as np\nx = np.random.default_rng()"),
    ("randomness", "from numpy.random import default_rng"),
    ("randomness", "from numpy import random"),
    ("uuid", "import uuid"),
    ("uuid", "from uuid import uuid4"),
    ("environment", "import os\nx = os.environ['A']"),
    ("environment", "import os as o\nx = o.getenv('A')"),
    ("environment", "from os import environ"),
    ("id", "x = id(object())"),
    ("id", "x = sorted([], key=id)"),
    ("hash", "x = hash('abc')"),
    ("hash", "x = map(hash, 'abc')"),
    ("set order", "for x in {1, 2}:\n    pass"),
    ("set order", "for x in set([1]):\n    pass"),
    ("set order", "a = frozenset('ab')\nx = [c for c in a]"),
    ("set order", "def f(a: set[str]) -> list[str]:\n    return list(a)"),
    ("set order", "def f(a: 'set[str] | None'):\n    return tuple(a)"),
    ("set order", "A: Final[frozenset[str]] = B\ndef f():\n    return {x: 1 for x in A}"),
    ("set order", "def f():\n    a = {1}\n    return a.pop()"),
    ("set order", "class C:\n    def __init__(self):\n        self.a = set()\n    def f(self):\n        yield from self.a"),
    ("set order", "class C:\n    a: set[int]\n    def f(self, other):\n        return [*other.a]"),
    (
        "set order",
        "class C:\n    def __init__(self):\n        self.d: dict[str, set[int]] = {}\n    def f(self):\n        yield from self.d['a']",
    ),
    ("set order", "def f(d: list[set[int]]):\n    return list(d[0])"),
    ("set order", "a = {x for x in 'ab'}\nb = ''.join(a)"),
    ("set order", "a = {1} | {2}\nfor x in a - {3}:\n    pass"),
    ("set order", "for k in d.keys() & e.keys():\n    pass"),
    ("set order", "a = set()\nfor i, x in enumerate(a.union(b)):\n    pass"),
    ("set order", "a = {1, 2}\nx, y = a"),
    ("set order", "def g() -> set[int]:\n    return s\ndef f():\n    for x in g():\n        pass"),
    ("set order", "x = max({1, -1}, key=abs)"),
    ("set order", "x = next(iter({1}))"),
    ("set order", "for x in (y := {1, 2}):\n    pass"),
    ("numpy", "import numpy as np\nx = np.exp(1.0)"),
    ("numpy", "from numpy import log"),
    ("numpy", "import numpy\nf = numpy.sin"),
    ("numpy", "import numpy as np\nx = np.dot(a, b)"),
    ("numpy", "import numpy as np\nx = np.linalg.norm(a)"),
    ("numpy", "import numpy as np\nx = np.add.reduce(a)"),
    ("numpy", "x = a @ b"),
    ("numpy", "a @= b"),
    ("numpy", "x = a.sum()"),
    ("numpy", "x = a[1:].std()"),
    ("numpy", "x = a.b.mean(axis=0)"),
    ("numpy", "import cython\nimport numpy as np\nx = window.std()"),
    ("float sum", "x = sum(a)"),
    ("float sum", "x = sum(b * 0.5 for b in a)"),
]


@pytest.mark.parametrize(("rule", "source"), OFFENDERS)
def test_hunter_catches_a_planted_offender(rule: str, source: str) -> None:
    assert rule in {offence.rule for offence in Hunter(source).hunt()}


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nx = np.sqrt(2.0)\ny = np.zeros(3)",
        "import math\nx = math.exp(1.0)",
        "from datetime import datetime, UTC\nx = datetime.fromtimestamp(0, UTC)",
        "a = {1, 2}\nb = 1 in a and len(a) == 2\nc = sorted(a)",
        "a = {1: 2}\nfor k in a:\n    pass\nfor k, v in a.items():\n    pass",
        "a = {x for x in {1, 2}}",
        "def f():\n    a = {1}\ndef g(a: list[int]):\n    return [x for x in a]",
        "x = sum(lots)  # ints",
        "x = rolling.mean()  # kernel",
        "import cython\nx = window.std()",
        "class C:\n    id: int\n    def f(self):\n        return self.id",
        "import os\nx = os.path.join('a', 'b')",
    ],
)
def test_hunter_lets_deterministic_code_pass(source: str) -> None:
    assert Hunter(source).hunt() == []


def test_hunter_looks_at_every_package() -> None:
    assert {path.relative_to(ROOT / "mia").parts[0] for path in sources()} == set(PACKAGES)
