"""params.yaml: one source of defaults, read by something, with errors that name the key."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from cache.errors import MissingError, ParamsError
from pipeline.params import Params as Model
from pipeline.params import known_keys, leaves, load_params, parse_override, read_overlay, read_values

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "params.yaml"


def model_leaves() -> set[str]:
    keys = set(known_keys(Model))
    return {key for key in keys if not any(other.startswith(key + ".") for other in keys)}


def attributes_read() -> set[str]:
    files = [p for folder in ("pipeline", "stages") for p in (ROOT / folder).rglob("*.py") if p.name != "params.py"]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    return {node.attr.rstrip("_") for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_the_file_and_the_model_have_the_same_keys() -> None:
    assert {key for key, _ in leaves(read_values(SHIPPED))} == model_leaves()


def test_every_key_is_read_by_some_code() -> None:
    read = attributes_read()
    assert not {key for key in model_leaves() if key.split(".")[-1] not in read}


def test_every_key_is_tracked_by_a_stage_of_dvc() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    tracked = {key for stage in stages for key in stage.get("params", [])}
    free = {  # change no number
        *(f"extract.{key}" for key in ("batch", "rows_per_shard", "workers", "backend", "allow_pickle")),
        *(f"train.{key}" for key in ("workers", "backend")),
        "verify_on_read",
        *(f"search.{key}" for key in ("method", "shots", "top", "gallery", "port")),  # read by a command alone
        *(f"classify.{key}" for key in ("methods", "variants", "shots")),  # read by a flag alone, which sets others
    }
    assert {
        key for key in model_leaves() - free if not any(key == t or key.startswith(t + ".") for t in tracked)
    } == set()


def test_no_section_has_a_default() -> None:
    def fields(model: Any) -> list[str]:
        inner = [f.annotation for f in model.model_fields.values() if hasattr(f.annotation, "model_fields")]
        own = [name for name, field in model.model_fields.items() if not field.is_required()]
        return own + [name for section in inner for name in fields(section)]

    assert fields(Model) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mixture.compnents=3", "-S: no key 'mixture.compnents'; did you mean 'mixture.components'?"),
        ("mixture.components=99", "-S: mixture.components is 99; input should be less than or equal to 8"),
        ("split.shots=[0,x]", "-S: split.shots.1 is 'x'; input should be a valid integer"),
        ("train.gcrdp.lambda=-1", "-S: train.gcrdp.lambda is -1; input should be greater than or equal to 0"),
        (
            "extract.device=gpu",
            "-S: extract.device is 'gpu'; input should be auto, cpu, mps, cuda, or one of several, as in cuda:1",
        ),
        ("extract.templates=[photo]", "-S: extract.templates.0 is 'photo'; input should be text with {} for the class"),
        ("extract.device=cuda:x", "-S: extract.device is 'cuda:x'; input should be auto, cpu, mps, cuda, or one"),
        (
            "ingest.table.name=a/b",
            "-S: ingest.table.name is 'a/b'; input should be letters, digits and . _ -, a letter",
        ),
        (
            "train.scm.tau=[]",
            "-S: train.scm.tau is []; an empty list has no value to choose; list some, or write one value",
        ),
        ("train.scm.tau=[0.1,x]", "-S: train.scm.tau is 'x'; input should be a valid number"),
        ("train.scm.shrinkage=[0.5,2]", "-S: train.scm.shrinkage is 2; input should be less than or equal to 1"),
        ("train.scm.covariance=[within,full]", "-S: train.scm.covariance is 'full'; input should be 'within' or"),
        ("train.scm.names=[true,false]", "-S: train.scm.names is [True, False]; input should be a valid boolean"),
        ("train.selection.draws=0", "-S: train.selection.draws is 0; input should be greater than or equal to 1"),
        (
            "train.variants=[{method: scm, variant: A, values: {}}]",
            "-S: train.variants.0.variant is 'A'; input should be small letters, digits, blanks and . _ -, a letter or",
        ),
        (
            "train.variants=[{method: scm, variant: a, valus: {}}]",
            "-S: no key 'train.variants.0.valus'; did you mean 'values'?",
        ),
        (
            "train.variants=[{method: scm, variant: a}]",
            "-S: key 'train.variants.0.values' is missing; an entry has method, variant, values",
        ),
        ("train.variants=[nameless]", "-S: train.variants.0 is 'nameless'; it is a section, with keys of its own"),
        ("train.workers=0", "-S: train.workers is 0; input should be 'auto' or greater than or equal to 1"),
        ("train.gcrdp.theta=2", "-S: train.gcrdp: theta 2 is no quantile; pass 0 to 1, or theta_kind absolute"),
        ("train.gcrdp.over=class", "-S: train.gcrdp.retrieve is 'mix'; over class gives no item a view to be read; p"),
        ("mixture", "-S mixture: expected key=value"),
        ("split.shots=[0", "-S split.shots=[0: the value is not valid YAML; quote it"),
    ],
)
def test_a_wrong_override_is_named(text: str, message: str) -> None:
    with pytest.raises(ParamsError) as error:
        load_params(SHIPPED, [], [parse_override(text)])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_an_unknown_key_of_the_file_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(SHIPPED.read_text().replace("  components: 3", "  compnents: 3"))
    with pytest.raises(ParamsError, match=r"params.yaml: no key 'mixture.compnents'; did you mean 'mixture.comp"):
        load_params(path, [], [])


def test_a_missing_key_of_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("".join(line for line in SHIPPED.read_text().splitlines(True) if "seeds:" not in line))
    with pytest.raises(ParamsError, match=r"params.yaml: key 'split.seeds' is missing"):
        load_params(path, [], [])


def test_a_file_that_is_no_yaml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("dataset: openmoji\nencoder: [\n")
    with pytest.raises(ParamsError, match=r"params.yaml: line \d+: not valid YAML"):
        load_params(path, [], [])


def test_an_absent_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        read_values(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ingest.table.separator=';'", ";"),
        ("ingest.table.path=null", None),
        ("split.shots=[0,1]", [0, 1]),
        ("train.gcrdp.lr=1e-3", "1e-3"),
        ("ingest.table.separator=", ""),
    ],
)
def test_override_values_are_yaml(text: str, value: object) -> None:
    assert parse_override(text)[1] == value


def test_exponents_without_a_point_are_numbers() -> None:
    assert load_params(SHIPPED, [], [parse_override("train.gcrdp.lr=1e-3")]).train.gcrdp.lr == 1e-3


def test_an_overlay_changes_its_keys_alone(tmp_path: Path) -> None:
    overlay = tmp_path / "more.yaml"
    overlay.write_text("train: {gcrdp: {lambda: 0}}\nmixture: {components: 5}\n")
    params = load_params(SHIPPED, [overlay], [("mixture.components", 2)])
    shipped = load_params(SHIPPED, [], [])
    assert (params.train.gcrdp.lambda_, params.mixture.components) == (0, 2)
    assert params.train.gap == shipped.train.gap


VARIANTS = "[{method: scm, variant: nameless, values: {names: false, tau: [0.1, 0.2]}}]"


def test_variants_come_from_the_prompt_and_from_overlays(tmp_path: Path) -> None:
    overlay = tmp_path / "more.yaml"
    overlay.write_text(f"train: {{variants: {VARIANTS}}}\n")
    prompt = load_params(SHIPPED, [], [parse_override(f"train.variants={VARIANTS}")])
    assert prompt == load_params(SHIPPED, [overlay], [])
    assert load_params(SHIPPED, [overlay], [parse_override("train.variants=[]")]) == load_params(SHIPPED, [], [])
    (only,) = prompt.train.variants
    assert (only.method, only.variant, only.values) == ("scm", "nameless", {"names": False, "tau": [0.1, 0.2]})


def test_a_key_that_lists_values_may_have_one(tmp_path: Path) -> None:
    overlay = tmp_path / "more.yaml"
    overlay.write_text("train: {scm: {tau: 0.3, shrinkage: [1, 0]}}\n")
    found = load_params(SHIPPED, [overlay], [parse_override("train.scm.name_weight=2")]).train.scm
    assert (found.tau, found.shrinkage, found.name_weight) == (0.3, [1.0, 0.0], 2.0)


def test_an_unknown_key_of_an_overlay_names_the_overlay(tmp_path: Path) -> None:
    overlay = tmp_path / "more.yaml"
    overlay.write_text("mixture: {compnents: 5}\n")
    with pytest.raises(ParamsError, match=r"more.yaml: no key 'mixture.compnents'; did you mean"):
        load_params(SHIPPED, [overlay], [])


@pytest.mark.parametrize("overlay", sorted((ROOT / "ablations/overlays").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_overlay_is_valid(overlay: Path) -> None:
    values = dict(leaves(load_params(SHIPPED, [overlay], []).model_dump(by_alias=True)))
    assert {key: values[key] for key, _ in read_overlay(overlay)} == dict(read_overlay(overlay))
