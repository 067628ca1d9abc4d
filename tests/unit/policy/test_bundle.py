"""The loader refuses every damaged or foreign bundle by name; a good one gives the same bits for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from mia.domain.errors import ConfigError
from mia.policy.bundle import Bundle, find_bundle, load_bundle
from mia.policy.manifest import sha256
from mia.train.bundle_writer import write_bundle
from mia.train.graph import build_graph, reference
from tests.unit.policy.conftest import CATALOGUE, manifest_of, random_inputs, random_weights


def load(folder: Path, **changes: object) -> Bundle:
    arguments: dict[str, object] = {"catalogue_sha256": CATALOGUE, "family": "crypto", "trigger": "quote"}
    return load_bundle(str(folder), **{**arguments, **changes})  # type: ignore[arg-type]


def refused(folder: Path, **changes: object) -> str:
    with pytest.raises(ConfigError) as e:
        load(folder, **changes)
    text = str(e.value)
    assert "\n" not in text
    return text


def rehash(folder: Path, name: str) -> None:
    """Make the manifest agree with the file, as an attacker or a careless exporter would."""
    manifest = folder / "manifest.toml"
    lines = manifest.read_text().splitlines()
    digest = sha256((folder / name).read_bytes())
    manifest.write_text("\n".join(f'"{name}" = "{digest}"' if line.startswith(f'"{name}"') else line for line in lines) + "\n")


def edit_graph(folder: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load_model_from_string((folder / "policy.onnx").read_bytes())
    edit(model)
    (folder / "policy.onnx").write_bytes(model.SerializeToString())
    rehash(folder, "policy.onnx")


def replace_in_manifest(folder: Path, old: str, new: str) -> None:
    path = folder / "manifest.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_written_bundle_says_what_the_arithmetic_says(tiny: Path) -> None:
    bundle = load_bundle(str(tiny), catalogue_sha256=CATALOGUE, family="crypto", trigger="quote")
    obs, probs = random_inputs(200, seed=9)

    targets = [bundle.evaluate(memoryview(o), tuple(map(float, p))) for o, p in zip(obs, probs, strict=True)]

    action, actions, alpha = reference(random_weights(), obs, probs)
    assert np.abs(np.array([t.signal for t in targets]) - action[:, 0]).max() < 1e-6
    assert np.abs(np.array([t.actions for t in targets]) - actions).max() < 1e-6
    assert np.abs(np.array([t.alpha for t in targets]) - alpha[:, 0]).max() < 5e-6  # ten times the action's own error
    assert bundle.columns == tuple(f"f{k}" for k in range(7))
    assert (bundle.trigger, bundle.min_interval_ns, bundle.bar, bundle.alpha_min) == ("quote", 100_000_000, "time:1s", 0.25)


def test_the_same_input_gives_the_same_bits_a_thousand_times_and_in_a_batch(tiny: Path) -> None:
    bundle = load_bundle(str(tiny), catalogue_sha256=CATALOGUE)
    obs, probs = random_inputs(64, seed=4)
    first = [bundle.evaluate(memoryview(o), tuple(map(float, p))) for o, p in zip(obs, probs, strict=True)]

    for _ in range(1_000 // len(obs) + 1):
        assert [bundle.evaluate(memoryview(o), tuple(map(float, p))) for o, p in zip(obs, probs, strict=True)] == first
    action, actions, alpha = bundle.evaluate_rows(obs, probs)

    assert [t.signal for t in first] == action[:, 0].tolist()
    assert [list(t.actions) for t in first] == actions.tolist()
    assert [t.alpha for t in first] == alpha[:, 0].tolist()


def test_alpha_belongs_to_the_side_of_the_action(tiny: Path) -> None:
    weights = random_weights()
    obs, probs = random_inputs(500, seed=5)

    action, _, alpha = reference(weights, obs, probs)

    x = np.clip((obs - weights.mean) * weights.inv_std, -5, 5) * (probs @ weights.gate)
    hidden = np.maximum(np.concatenate([x, probs], axis=1) @ weights.alpha[0].weight + weights.alpha[0].bias, 0)
    sides = 1 / (1 + np.exp(-(hidden @ weights.alpha[1].weight + weights.alpha[1].bias)))
    clear = np.abs(action[:, 0]) > 0.05
    assert clear.sum() > 300
    assert np.abs(alpha[clear, 0] - np.where(action[clear, 0] > 0, sides[clear, 0], sides[clear, 1])).max() < 1e-5


def test_one_flipped_weight_bit_is_refused_by_hash(tiny: Path) -> None:
    path = tiny / "policy.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(bytes(data))

    assert "policy.onnx: sha256" in refused(tiny)


def test_one_flipped_weight_bit_under_a_matching_hash_is_refused_by_golden_vectors(tiny: Path) -> None:
    def flip(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "actor0_mu_b")
        raw = bytearray(tensor.raw_data)
        raw[3] ^= 0x40  # the top bit of the exponent
        tensor.raw_data = bytes(raw)

    edit_graph(tiny, flip)

    text = refused(tiny)
    assert "golden vector" in text
    assert "differs by" in text


def test_a_weight_that_is_not_finite_is_named(tiny: Path) -> None:
    def poison(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "actor1_mu_b")
        tensor.raw_data = np.array([np.nan], np.float32).tobytes()

    edit_graph(tiny, poison)

    assert "'actor1_mu_b' holds a value that is not finite" in refused(tiny)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_a_truncated_model_is_refused_even_when_its_hash_matches(tiny: Path, keep: float) -> None:
    data = (tiny / "policy.onnx").read_bytes()
    (tiny / "policy.onnx").write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    assert "policy.onnx: sha256" in refused(tiny)
    rehash(tiny, "policy.onnx")

    assert "policy.onnx" in refused(tiny)


@pytest.mark.parametrize(
    "garbage", [b"PK\x03\x04 a zip of pickles", os.urandom(4096), b"\x80\x05\x95cos\nsystem\n"], ids=["zip", "noise", "pickle"]
)
def test_garbage_instead_of_a_model_is_refused(tiny: Path, garbage: bytes) -> None:
    (tiny / "policy.onnx").write_bytes(garbage)
    rehash(tiny, "policy.onnx")

    assert "policy.onnx" in refused(tiny)


def test_a_model_of_another_width_is_refused(tiny: Path) -> None:
    (tiny / "policy.onnx").write_bytes(build_graph(random_weights(columns=8)))
    rehash(tiny, "policy.onnx")

    assert "obs has shape ['N', 8], the manifest asks for [N, 7]" in refused(tiny)


def test_a_model_of_float64_is_refused(tiny: Path) -> None:
    node = helper.make_node("Relu", ["obs"], ["action"])
    names = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["N", w]) for n, w in (("obs", 7), ("regime_probs", 3), ("action", 7))]
    rest = [helper.make_node("Identity", ["regime_probs"], ["actions"]), helper.make_node("Identity", ["regime_probs"], ["alpha"])]
    outs = [names[2], *(helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["N", 3]) for n in ("actions", "alpha"))]
    model = helper.make_model(helper.make_graph([node, *rest], "g", names[:2], outs), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    (tiny / "policy.onnx").write_bytes(model.SerializeToString())
    rehash(tiny, "policy.onnx")

    assert "tensor(double)" in refused(tiny)


def test_external_data_is_refused_and_never_read(tiny: Path) -> None:
    (tiny / "weights.bin").write_bytes(b"\0" * 64)

    def leak(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        external_data_helper.set_external_data(tensor, location="../../etc/passwd", length=28)
        tensor.ClearField("raw_data")

    edit_graph(tiny, leak)

    assert "external data" in refused(tiny)


def test_too_new_an_opset_or_format_is_refused(tiny: Path) -> None:
    original = (tiny / "policy.onnx").read_bytes()
    edit_graph(tiny, lambda model: setattr(model.opset_import[0], "version", 99))
    assert "opset 99 is newer" in refused(tiny)
    (tiny / "policy.onnx").write_bytes(original)

    edit_graph(tiny, lambda model: setattr(model, "ir_version", 99))

    assert "IR version 99 is newer" in refused(tiny)


def test_foreign_operators_and_functions_are_refused(tiny: Path) -> None:
    edit_graph(tiny, lambda model: setattr(model.graph.node[0], "op_type", "If"))
    assert "'If'" in refused(tiny)

    edit_graph(tiny, lambda model: setattr(model.graph.node[0], "domain", "com.evil"))

    assert "com.evil" in refused(tiny) or "'If'" in refused(tiny)


def test_a_tensor_in_another_storage_form_is_refused(tiny: Path) -> None:
    def unpack(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        values = numpy_helper.to_array(tensor)
        tensor.ClearField("raw_data")
        tensor.float_data.extend(values.ravel().tolist())

    edit_graph(tiny, unpack)

    assert "raw bytes" in refused(tiny)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"catalogue_sha256": "d" * 64}, "catalogue"),
        ({"family": "index_future"}, "family is 'crypto'"),
        ({"trigger": "bar"}, "trigger is 'quote'"),
        ({"known_columns": {"f0", "f1"}}, "unknown column 'f2'"),
    ],
)
def test_a_bundle_made_for_something_else_is_refused_by_name(tiny: Path, change: dict[str, object], words: str) -> None:
    assert words in refused(tiny, **change)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format = 1", "format = 2", "format 2"),
        ("alpha_min = 0.25", "alpha_min = 1.5", "alpha_min"),
        ("alpha_min = 0.25", "alpha_min = nan", "alpha_min"),
        ("lo = [-50.0", "lo = [nan", "lo"),
        ("lo = [-50.0", "lo = [50.0", "lo"),
        ('"f0", "f1"', '"f0", "f0"', "distinct"),
        ('"f0", "f1"', '"f1"', "lo must hold 6"),
        ('trigger = "quote"', 'trigger = "whim"', "trigger"),
        ('name = "tiny"', 'name = "tiny"\nsurprise = 1', "surprise"),
        ('name = "tiny"', "name = ", "TOML"),
    ],
)
def test_a_wrong_manifest_is_refused_by_key(tiny: Path, old: str, new: str, words: str) -> None:
    replace_in_manifest(tiny, old, new)

    text = refused(tiny)
    assert words in text
    assert "manifest.toml" in text


def test_swapped_feature_names_are_accepted_by_hash_of_files_but_change_the_bundle_hash(tiny: Path) -> None:
    before = load_bundle(str(tiny), catalogue_sha256=CATALOGUE).sha256
    replace_in_manifest(tiny, '"f0", "f1"', '"f1", "f0"')

    assert load_bundle(str(tiny), catalogue_sha256=CATALOGUE).sha256 != before


@pytest.mark.parametrize("name", ["policy.onnx", "regime.json", "golden.json", "manifest.toml"])
def test_a_missing_file_is_named(tiny: Path, name: str) -> None:
    (tiny / name).unlink()

    assert name in refused(tiny)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"obs": 1}'])
def test_damaged_golden_vectors_are_refused(tiny: Path, content: bytes) -> None:
    (tiny / "golden.json").write_bytes(content)
    rehash(tiny, "golden.json")

    assert "golden.json" in refused(tiny)


def test_golden_vectors_without_rows_prove_nothing_and_are_refused(tiny: Path) -> None:
    golden = msgspec.json.decode((tiny / "golden.json").read_bytes())
    (tiny / "golden.json").write_bytes(msgspec.json.encode({key: [] for key in golden}))
    rehash(tiny, "golden.json")

    assert "golden.json" in refused(tiny)


def test_an_unknown_name_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nosuch.*not found"):
        find_bundle("nosuch", [tmp_path])


def test_a_name_is_found_in_the_first_folder_that_has_it(tiny: Path, tmp_path: Path) -> None:
    assert find_bundle("tiny", [tmp_path / "empty", tmp_path]) == tiny


def test_an_observation_of_another_width_is_an_error_not_a_guess(tiny: Path) -> None:
    bundle = load_bundle(str(tiny), catalogue_sha256=CATALOGUE)

    with pytest.raises(ValueError):
        bundle.evaluate(memoryview(np.zeros(6, np.float32)), (0.3, 0.3, 0.4))


@pytest.fixture
def with_models(tmp_path: Path) -> Path:
    """A bundle that carries models behind columns."""
    folder = tmp_path / "modelled"
    write_bundle(folder, manifest_of(), random_weights(), b"{}", *random_inputs(64), models=b'{"format":1}\n')
    return folder


def test_the_models_of_a_bundle_are_handed_on_as_they_were_written(with_models: Path, tiny: Path) -> None:
    assert load(with_models).models == b'{"format":1}\n'
    assert load(tiny).models == b""  # a bundle of before there were any


def test_changed_models_are_refused_by_hash(with_models: Path) -> None:
    path = with_models / "feature_models.json"
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))

    assert "feature_models.json: sha256" in refused(with_models)


def test_models_that_the_manifest_lists_must_be_there_and_of_a_size_that_makes_sense(with_models: Path) -> None:
    path = with_models / "feature_models.json"
    path.unlink()
    missing = refused(with_models)
    path.write_bytes(b" " * ((4 << 20) + 1))

    assert "feature_models.json: cannot be read" in missing
    assert "feature_models.json: larger than" in refused(with_models)


def test_models_that_the_manifest_does_not_list_are_not_read(tiny: Path) -> None:
    (tiny / "feature_models.json").write_bytes(b"{}")

    assert load(tiny).models == b""


def test_a_file_that_nobody_knows_is_refused(tiny: Path) -> None:
    replace_in_manifest(tiny, "[files]\n", '[files]\n"other.json" = "00"\n')

    assert "nothing else" in refused(tiny)


def test_a_bundle_is_not_written_with_models_that_no_daemon_would_take(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="feature_models"):
        write_bundle(tmp_path / "x", manifest_of(), random_weights(), b"{}", *random_inputs(64), models=b'{"format":9}')
