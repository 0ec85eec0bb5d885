"""Imported features become ordinary caches: the same parts, keys by content, resumed and verified as all others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cache import shards
from cache.errors import ParamsError, UsageError, UserError
from cache.features import FeatureCache
from cache.hdf5 import Array
from cache.manifest import read_manifest
from cache.store import folder_of, read_ledger
from proof.checkout import ROOT
from proof.toys import bytes_of
from stages.extract import imported
from stages.extract.encoders.encoder import load_encoder
from stages.extract.params import ExtractParams, ExtractSection
from stages.extract.run import choose, run
from stages.ingest.params import IngestParams, IngestSection
from stages.ingest.run import run as ingest
from tests.listener import Listener
from tests.stages.imported.written import WRITERS, Given, arrays, given, section, write_npz

VALUES = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def ingested(
    home: Path, path: Path, features: dict[str, Any], kept: str | None = None, captions: str = "first", **extract: Any
) -> ExtractParams:
    """The parameters to copy features, once their manifest is made. kept: the type of tokens that ingest is told of."""
    own = section(path, **features)
    values = IngestSection.model_validate({**VALUES["ingest"], "features": own, "captions": captions})
    made = home / "manifest.parquet"
    params = IngestParams(dataset="features", section=values, home=home, manifest=made, made_from="0", storage=kept)
    ingest(params)
    return ExtractParams(
        encoder="imported",
        label="imported@given",
        section=ExtractSection.model_validate({**VALUES["extract"], "rows_per_shard": 5, **extract}),
        home=home,
        store=home / "store",
        manifest=made,
        ledger=home / "ledger.json",
        made_from="test",
        wait_for_lock=False,
        features=own,
    )


def extracted(home: Path, path: Path, features: dict[str, Any] | None = None, **extract: Any) -> ExtractParams:
    run(params := ingested(home, path, features or {}, **extract))
    return params


def caches_of(params: ExtractParams) -> dict[str, FeatureCache]:
    keys = read_ledger(params.ledger).keys
    return {key.about["rows"]: FeatureCache.open(folder_of(params.store, key.kind, key.key), True) for key in keys}


def keys_of(params: ExtractParams) -> list[str]:
    return [key.key for key in read_ledger(params.ledger).keys]


def ragged(cache: FeatureCache) -> tuple[Array, Array]:
    found = cache.tokens(range(len(cache)))
    assert isinstance(found, tuple)
    return found


def test_the_caches_hold_what_the_source_holds(tmp_path: Path) -> None:
    g = given()
    caches = caches_of(extracted(tmp_path, write_npz(tmp_path, g), storage="float32"))
    image, text = caches["image"], caches["text"]
    assert image.ids == text.ids == g.ids
    np.testing.assert_array_equal(image.pooled(), g.image)
    np.testing.assert_array_equal(text.pooled(), g.text)
    np.testing.assert_array_equal(image.tokens(range(12)), g.image_tokens)
    np.testing.assert_array_equal(ragged(text)[0], np.concatenate(g.text_tokens))
    assert text.index["n_tokens"].to_pylist() == [len(row) for row in g.text_tokens]
    assert image.index["part"].to_pylist() == [0] * 5 + [1] * 5 + [2] * 2
    assert (image.about["dims"]["tokens"], image.about["dims"]["tokens_an_image"]) == (6, 3)
    assert (text.about["dims"]["tokens"], text.about["dims"]["tokens_an_image"]) == (7, None)
    assert (len(caches["name"]), image.failed.num_rows) == (0, 0)


@pytest.mark.parametrize("form", WRITERS)
def test_the_same_numbers_have_the_same_keys_in_every_format(form: str, tmp_path: Path) -> None:
    (tmp_path / "npz").mkdir()
    first = extracted(tmp_path / "npz", write_npz(tmp_path / "npz", given()))
    (tmp_path / "other").mkdir()
    second = extracted(tmp_path / "other", WRITERS[form](tmp_path / "other", given()))
    assert keys_of(first) == keys_of(second)
    assert bytes_of(first.store) == bytes_of(second.store)


def test_half_precision_is_the_same_as_those_numbers_in_full(tmp_path: Path) -> None:
    halves = {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in arrays(given()).items()}
    wide = {k: v.astype(np.float64) if v.dtype == np.float16 else v for k, v in halves.items()}
    keys = []
    for own in (halves, wide):
        np.savez(tmp_path / "x.npz", **own)
        keys.append(keys_of(extracted(tmp_path, tmp_path / "x.npz")))
    assert keys[0] == keys[1]


@pytest.mark.parametrize("what", ["image", "text", "image_tokens", "text_tokens"])
def test_another_number_makes_another_key(what: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays(given()))
    before = keys_of(extracted(tmp_path, tmp_path / "x.npz"))
    own = arrays(given())
    own[what].flat[-1] += 1
    np.savez(tmp_path / "x.npz", **own)
    after = keys_of(extracted(tmp_path, tmp_path / "x.npz"))
    changed = [kind for kind, a, b in zip(("image", "text", "name"), before, after, strict=True) if a != b]
    assert changed == [what.split("_")[0]]


def test_a_run_that_was_stopped_goes_on_and_damage_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = ingested(tmp_path, write_npz(tmp_path, given()), {})
    copied: list[int] = []
    original = imported._copy

    def stopping(own: Any, task: Any) -> Any:
        if len(copied) == 2:
            raise KeyboardInterrupt
        copied.append(task.index)
        return original(own, task)

    with monkeypatch.context() as patched:
        patched.setattr(imported, "_copy", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(params)
    assert not params.ledger.exists()
    monkeypatch.setattr(imported, "_copy", lambda own, task: (copied.append(task.index), original(own, task))[1])
    run(params)
    assert copied == [0, 1, 2, 0, 1, 2]
    clean = replace(params, store=tmp_path / "clean", ledger=tmp_path / "clean.json")
    run(clean)
    assert bytes_of(params.store) == bytes_of(clean.store)
    part = next((params.store / "features" / keys_of(params)[1]).glob("part-00001.h5"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    assert shards.repair(part.parent) == ["part-00001.h5"]
    run(params)
    assert bytes_of(params.store) == bytes_of(clean.store)


def test_tokens_may_be_left_out_and_come_in_a_joint_space(tmp_path: Path) -> None:
    g = given()
    one = replace(g, text=g.image * 2, text_tokens=[row[:, :5] for row in g.text_tokens])
    path = write_npz(tmp_path, one)
    caches = caches_of(extracted(tmp_path, path, {"aligned": True}))
    assert [caches[kind].about["content"]["tokens"] for kind in ("image", "text")] == ["raw", "joint"]
    assert read_ledger(tmp_path / "ledger.json").about["aligned"] is True
    none = caches_of(extracted(tmp_path, path, tokens="none"))
    assert not none["image"].has_tokens
    np.testing.assert_array_equal(none["image"].pooled(), g.image)


def test_ragged_picture_tokens_stay_ragged(tmp_path: Path) -> None:
    g = given()
    values, offsets = arrays(g)["text_tokens"], arrays(g)["text_tokens_offsets"]
    np.savez(tmp_path / "x.npz", **{**arrays(g), "image_tokens": values, "image_tokens_offsets": offsets})
    cache = caches_of(extracted(tmp_path, tmp_path / "x.npz", storage="float32"))["image"]
    np.testing.assert_array_equal(ragged(cache)[0], values)
    assert ragged(cache)[1].tolist() == offsets.tolist()


def test_class_names_and_raw_vectors_arrive(tmp_path: Path) -> None:
    g = given()
    names = np.arange(15, dtype=np.float32).reshape(3, 5) + 1
    own = {**arrays(g), "text": g.image + 1, "image_raw": g.image[:, :2], "text_raw": g.text, "names": names}
    np.savez(tmp_path / "x.npz", **own, names_raw=names[:, :4], names_classes=np.array(list("cab")))
    caches = caches_of(extracted(tmp_path, tmp_path / "x.npz", {"aligned": True}, templates=["a {}", "the {}"]))
    assert caches["name"].ids == ["a", "b", "c"]
    np.testing.assert_array_equal(caches["name"].pooled(), names[[1, 2, 0]])
    np.testing.assert_array_equal(caches["name"].pooled_raw(), names[[1, 2, 0], :4])
    np.testing.assert_array_equal(caches["image"].pooled_raw(), g.image[:, :2])
    np.testing.assert_array_equal(caches["text"].pooled_raw(), g.text)


def test_raw_vectors_count_in_the_key_and_in_what_ingest_saw(tmp_path: Path) -> None:
    g = given()
    own = {**arrays(g), "text": g.image + 1, "image_raw": g.image[:, :2].copy(), "text_raw": g.text.copy()}
    np.savez(tmp_path / "x.npz", **own)
    params = extracted(tmp_path, tmp_path / "x.npz", {"aligned": True})
    before = keys_of(params)
    own["text_raw"][-1, -1] += 1
    np.savez(tmp_path / "x.npz", **own)
    run(params)
    assert [a == b for a, b in zip(before, keys_of(params), strict=True)] == [True, False, True]
    own["image_raw"][-1, -1] += 1
    np.savez(tmp_path / "x.npz", **own)
    with pytest.raises(UserError, match="changed since 'ingest' saw it"):
        run(params)


def changed(g: Given, what: str) -> Given:
    values = {"id": {"ids": ["other", *g.ids[1:]]}, "image": {"image": g.image + 1}, "rows": {"image": g.image[::-1]}}
    return replace(g, **values[what])


@pytest.mark.parametrize("what", ["id", "image", "rows"])
def test_a_source_that_changed_since_ingest_is_refused(what: str, tmp_path: Path) -> None:
    params = ingested(tmp_path, write_npz(tmp_path, given()), {})
    write_npz(tmp_path, changed(given(), what))
    with pytest.raises(UserError) as error:
        run(params)
    assert str(error.value) == "given.npz: changed since 'ingest' saw it; run 'ingest' again, then 'extract'"
    assert not params.store.exists()


def test_tokens_too_large_for_their_storage_are_refused(tmp_path: Path) -> None:
    g = given()
    params = ingested(tmp_path, write_npz(tmp_path, replace(g, image_tokens=g.image_tokens * 1e6)), {})
    with pytest.raises(UserError) as error:
        run(params)
    assert str(error.value) == (
        "given.npz: image tokens are no finite numbers in float16; keep tokens in full: --storage float32, or leave "
        "them out: --tokens none"
    )
    assert not params.store.exists()
    run(replace(params, section=params.section.model_copy(update={"storage": "float32"})))


def test_what_is_no_encoder_encodes_nothing(tmp_path: Path) -> None:
    params = replace(ingested(tmp_path, write_npz(tmp_path, given()), {}), features=None)
    with pytest.raises(UsageError, match="encoder 'imported' only copies features; use it with --dataset features"):
        load_encoder(choose(params))


def test_the_manifest_has_no_pictures_and_says_so(tmp_path: Path, listener: Listener) -> None:
    params = ingested(tmp_path, write_npz(tmp_path, given()), {"caption": None})
    manifest = read_manifest(params.manifest)
    assert set(manifest.images) == {""}
    assert manifest.texts == [[""]] * 12
    assert len(set(manifest.xxh3)) == 12
    assert listener.said == [
        "features: image vectors 5 wide, text vectors 4, two spaces",
        "features: not there: class names (methods that need them refuse), texts",
        "features: 12 pairs, 0 captions, 3 classes, 6 train, 6 test",
    ]


@pytest.mark.parametrize(
    ("changes", "kept", "said"),
    [
        (
            {"id": np.array(["twice", "twice", *given().ids[2:]])},
            None,
            "x.npz: 1 id stands more than once in 'id', the f",
        ),
        ({"id": np.array(["", *given().ids[1:]])}, None, "x.npz: 1 of 12 items ha"),
        ({"label": np.array(["", *given().labels[1:]])}, None, "x.npz: 1 of 12 items ha"),
        (
            {"image": given().image * np.nan},
            None,
            "x.npz: no finite numbers in 12 of 12 image vectors, the first is that",
        ),
        (
            {"text": given().text * 0},
            None,
            "x.npz: nothing but zeros in 12 of 12 text vectors, the first is that of 'ite",
        ),
        (
            {"text_tokens": arrays(given())["text_tokens"] * 1e6},
            "float16",
            "x.npz: numbers too large for float16 in the",
        ),
    ],
)
def test_nothing_is_made_or_said_before_all_is_known_to_fit(
    changes: dict[str, Any], kept: str | None, said: str, tmp_path: Path, listener: Listener
) -> None:
    np.savez(tmp_path / "x.npz", **{**arrays(given()), **changes})
    with pytest.raises(UserError) as error:
        ingested(tmp_path, tmp_path / "x.npz", {}, kept)
    assert str(error.value).startswith(said)
    assert listener.said == listener.warned == []
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_each_text_of_a_pair_has_its_row_across_the_parts(tmp_path: Path, listener: Listener) -> None:
    g = given()
    counts = [1 + i % 3 for i in range(12)]
    bounds = np.cumsum([0, *counts])
    rows = np.arange(24, dtype=np.float32)[:, None]
    own = {
        "image": g.image,
        "text": rows + 1,
        "text_offsets": bounds,
        "id": np.array(g.ids),
        "label": np.array(g.labels),
    }
    tokens = {"text_tokens": np.repeat(rows, 2, 0) * 10, "text_tokens_offsets": np.arange(25) * 2}
    np.savez(tmp_path / "x.npz", **own, **tokens, caption=np.array([f"text {i}" for i in range(24)]))
    params = extracted(tmp_path, tmp_path / "x.npz", {"split": None})
    text = caches_of(params)["text"]
    assert text.index["part"].to_pylist() == [i // 5 for i in range(24)]
    expected = [(item, caption) for item, count in zip(g.ids, counts, strict=True) for caption in range(count)]
    assert list(zip(text.ids, text.index["caption"].to_pylist(), strict=True)) == expected
    np.testing.assert_array_equal(text.pooled(), rows + 1)
    np.testing.assert_array_equal(ragged(text)[0], np.repeat(rows, 2, 0) * 10)
    manifest = read_manifest(params.manifest)
    assert manifest.texts[2] == ["text 3", "text 4", "text 5"]
    assert listener.said[0] == "features: image vectors 5 wide, text vectors 1, two spaces; 24 texts of 12 pairs"
    with pytest.raises(ParamsError, match=r"ingest.captions is join, but its texts have a vector each; set it to"):
        ingested(tmp_path, tmp_path / "x.npz", {"split": None}, captions="join")
    regrouped = {**own, "text_offsets": np.array([0, 2, *bounds[2:]])}
    np.savez(tmp_path / "x.npz", **regrouped, **tokens, caption=np.array([f"text {i}" for i in range(24)]))
    with pytest.raises(UserError, match="changed since 'ingest' saw it"):
        run(params)
