"""Search at the prompt, on the embedded default made small, and on a tiny table for heads that read tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.commands.search import spread
from proof.checkout import make_extracted, make_folder, pipeline, set_params
from tests.pipeline.prompt import typed

PICTURES = "data/raw/openmoji/images"
DOGS = [f"{PICTURES}/{name}.png" for name in ("1F415", "1F9AE", "1F415-200D-1F9BA")]


@pytest.fixture
def folder(small_openmoji: Path) -> Path:
    return small_openmoji


def hits(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = typed(folder, "search", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"query", "hits"}
    return list(found["hits"])


def test_a_text_finds_pictures_and_trains_what_it_needs(folder: Path) -> None:
    done = pipeline(folder, "search", "a dog", "--top", "7", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["query"] == "a dog"
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3, 4, 5, 6, 7]
    assert set(found["hits"][0]) == {"rank", "score", "id", "label", "text"}
    scores = [hit["score"] for hit in found["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert {hit["label"] for hit in found["hits"][:5]} == {"animal-mammal"}
    assert (folder / "runs/search/heads/openmoji/lite0-minilm.json").is_file()
    assert not (folder / "runs/heads").exists()  # what `train` makes for all methods is left alone


def test_a_search_takes_the_head_that_train_made(folder: Path) -> None:
    found = hits(folder, "a dog")
    assert typed(folder, "train", "--method", "scm").returncode == 0
    alone = folder / "runs/search/heads/openmoji/lite0-minilm.json"
    alone.unlink()
    assert hits(folder, "a dog", "--method", "scm", "--shots", "5") == found
    assert not alone.exists()
    assert hits(folder, "a dog", "--shots", "1") != found
    assert alone.exists()  # for 1 shot no head stood


@pytest.mark.parametrize("asked", [("--shots", "1"), ("--shots", "0,1,5", "--seeds", "2", "--method", "cca,scm")])
def test_the_head_of_any_train_is_found_whatever_shots_and_draws_it_was_asked_for(
    folder: Path, asked: tuple[str, ...]
) -> None:
    alone = folder / "runs/search"
    shutil.rmtree(alone, ignore_errors=True)
    assert typed(folder, "train", *asked).returncode == 0
    heads = sorted((folder / "data/store/heads").iterdir())
    hits(folder, "a dog", "--shots", "1")
    done = typed(folder, "export", "--shots", "1", "--card", "one.md", "--force")
    assert done.returncode == 0, done.stderr
    assert sorted((folder / "data/store/heads").iterdir()) == heads
    assert not alone.exists()
    seeds = asked[3] if "--seeds" in asked else "1"
    assert f"over draws of the supports ({seeds} of them" in (folder / "one.md").read_text()


def test_the_head_of_another_value_is_not_taken(folder: Path) -> None:
    assert typed(folder, "train", "--shots", "1").returncode == 0
    other = hits(folder, "a dog", "--shots", "1", "-S", "train.align.dims=8")
    assert (folder / "runs/search/heads/openmoji/lite0-minilm.json").is_file()
    assert other != hits(folder, "a dog", "--shots", "1")


def test_a_picture_finds_texts_and_the_sheet_and_the_page_hold_the_hits(folder: Path) -> None:
    asked = ("--image", DOGS[0], "--top", "5", "--sheet", "out/found.png", "--page", "out/found.html")
    done = typed(folder, "search", *asked)
    assert done.returncode == 0, done.stderr
    above, head, *rows = done.stdout.splitlines()
    assert above.startswith("the query looks like: animal-mammal ")
    assert head.split() == ["rank", "score", "id", "label", "text"]
    assert len(rows) == 5
    assert done.stderr.splitlines()[-2:] == ["out/found.png", "out/found.html"]
    with Image.open(folder / "out/found.png") as sheet:
        sheet.load()
    page = (folder / "out/found.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 6  # the question and the hits
    assert "OpenMoji" in page
    assert "http" not in page.replace("openmoji.org", "")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["found.html", "found.png"]


def test_texts_on_the_page_are_escaped(folder: Path) -> None:
    asked = "<script>alert(1)</script> & 'more'"
    done = typed(folder, "search", asked, "--top", "1", "--page", "escaped.html")
    assert done.returncode == 0, done.stderr
    page = (folder / "escaped.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; " in page


def test_the_gallery_test_holds_target_test_items_alone(folder: Path) -> None:
    everything = hits(folder, "a dog", "--top", "100000")
    tested = hits(folder, "a dog", "--top", "100000", "--gallery", "test")
    assert {hit["id"] for hit in tested} < {hit["id"] for hit in everything}
    assert len(everything) == 620
    assert len({hit["label"] for hit in tested}) == 16


def test_a_class_is_taught_by_example_used_and_kept(folder: Path) -> None:
    lesson = ("--add-class", "dogs", "--support", *DOGS[:2], "--texts", "dog", "guide dog")
    done = typed(folder, "search", "service dog", *lesson, "--keep", "dogs.safetensors", "--top", "4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the query looks like: dogs ")
    again = typed(folder, "search", "service dog", "--head", "dogs.safetensors", "--top", "4")
    assert again.stdout == done.stdout
    unasked = hits(folder, *lesson, "--top", "3")
    assert unasked[0]["text"] in {"dog", "guide dog", "service dog"}
    before = (folder / "dogs.safetensors").read_bytes()
    refused = typed(folder, "search", "x", *lesson, "--keep", "dogs.safetensors")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "is there already; give the head another name" in refused.stderr
    assert (folder / "dogs.safetensors").read_bytes() == before


def test_a_head_without_classes_cannot_be_taught(folder: Path) -> None:
    done = typed(folder, "search", "--add-class", "dogs", "--texts", "dog", "--method", "cca", "--shots", "0")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "method 'cca' judges no classes and can learn none; use --method scm"


def test_a_head_of_another_encoder_is_refused_in_one_line(folder: Path) -> None:
    from cache.heads import read_head, write_head

    head = next((folder / "data/store/heads").glob("*/head.safetensors"))
    tensors, about = read_head(head)
    write_head(folder / "other.safetensors", tensors, {**about, "encoder": "ViT-B-32/openai", "features": {}})
    done = typed(folder, "search", "a dog", "--head", "other.safetensors")
    assert done.returncode == 1
    told = "head expects ViT-B-32/openai, the cache holds lite0-minilm; pass --encoder ViT-B-32/openai"
    assert done.stderr.splitlines() == [told]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "the query is empty; say what to look for"),
        (("",), 2, "the query is empty; say what to look for"),
        (("  \n",), 2, "the query is empty; say what to look for"),
        (("x", "--image", "a.png"), 2, "a text and --image at once; ask with one of them"),
        (("--image", "nix.png"), 1, "nix.png: no such picture; look at the path"),
        (("--image", "words.png"), 1, "words.png: not a picture in any known format"),
        (("--image", "empty.png"), 1, "empty.png: the file is empty"),
        (("--image", "data"), 2, "data: is a folder; name one picture"),
        (("x", "--top", "0"), 2, "Invalid value for '--top'"),
        (("x", "--shots", "-1"), 2, "Invalid value for '--shots'"),
        (("x", "--method", "smc"), 2, "no method 'smc'; did you mean 'scm'?"),
        (("x", "--method", "clip"), 2, "method 'clip' needs aligned features and lite0-minilm has none"),
        (("x", "--gallery", "rest"), 2, "no gallery 'rest'; there are: all, test"),
        (("x", "--sheet", "found.jpg"), 2, "the contact sheet is a PNG"),
        (("x", "--page", "found.pdf"), 2, "the page is HTML"),
        (("x", "--page", "words.html"), 2, "is there and is no page"),
        (("x", "--head", "nix.safetensors"), 1, "no such head; 'export --head' writes one"),
        (("x", "--head", "words.png"), 2, "words.png: not a head of this project"),
        (("x", "--head", "words.png", "--shots", "1"), 2, "leave --method and --shots out"),
        (("x", "--texts", "a"), 2, "belong to a new class; name it with --add-class NAME"),
        (("--add-class", "a", "--support", "empty.png"), 1, "empty.png: the file is empty"),
        (("x", "--add-class", "a", "--keep", "a.txt"), 2, "a head's name ends in .safetensors"),
        (("x", "--dataset", "wikipedia"), 1, "data/raw/wikipedia"),
    ],
)
def test_wrong_use_is_one_line_and_an_exit_code(
    folder: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (folder / "words.png").write_text("hello")
    (folder / "words.html").write_text("hello")
    (folder / "empty.png").write_bytes(b"")
    done = typed(folder, "search", *arguments)
    assert done.stdout == ""
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert message in done.stderr


def test_what_is_costly_is_named_and_not_made(folder: Path) -> None:
    done = typed(folder, "search", "a dog", "--precision", "bf16")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "run python -m pipeline extract --dataset openmoji" in done.stderr


def test_several_values_follow_an_option_as_a_person_writes_them() -> None:
    typed = ["what", "--support", "a.jpg", "b.jpg", "--texts", "one", "two words", "--top", "3", "--texts", "last"]
    assert spread(typed) == [
        *("what", "--support", "a.jpg", "--support", "b.jpg", "--texts", "one", "--texts", "two words"),
        *("--top", "3", "--texts", "last"),
    ]
    assert spread(["--support", "a", "-"]) == ["--support", "a", "--support", "-"]
    assert spread([]) == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_extracted(tmp_path_factory.mktemp("tiny") / "here")


@pytest.mark.parametrize(
    "how",
    [
        ("--method", "gcrdp"),
        ("--method", "gcrdp", "-S", "train.gcrdp.space=head"),
        ("--method", "gap"),
        ("--method", "flexclip", "-S", "train.flexclip.steps=2", "-S", "train.flexclip.generator.steps=1"),
        ("-S", "train.scm.attention=true"),
        ("-S", "train.scm.vote_neighbours=0.2"),
    ],
    ids=lambda how: " ".join(how[:3]),
)
def test_an_items_own_picture_finds_what_its_cached_features_find(tiny: Path, how: tuple[str, ...]) -> None:
    """The query goes the same way as the item: each head, with views and tokens too, sees both alike."""
    import numpy as np

    from pipeline.params import load_params, parse_override
    from pipeline.places import find_places
    from pipeline.searching import open_searcher
    from pipeline.setting import Setting
    from pipeline.trained import trained_for
    from stages.extract.alone import read_picture

    method = how[1] if how[0] == "--method" else "scm"
    changes = [parse_override(how[i + 1]) for i, word in enumerate(how) if word == "-S"]
    params = load_params(tiny / "params.yaml", [], changes)
    trained = trained_for(Setting(params, find_places(tiny, params.store, {})), method, 1)
    assert trained is not None
    searcher = open_searcher(trained, "all")
    row = trained.items.ids.index("dot3")
    asked = searcher.of_pictures([read_picture(tiny / "data/raw/tiny/dot3.png")])
    seen, known = (searcher.head.vectors(own, "image", "all").values[0] for own in (asked, trained.items.take([row])))
    assert np.sum(seen * known) / np.sqrt(np.sum(seen**2) * np.sum(known**2)) > 0.9999
    answer = searcher.ask("dot3", asked, "image", 5)
    assert [hit.rank for hit in answer.hits] == [1, 2, 3, 4, 5]
    text = searcher.ask("a dot", searcher.of_texts(["a dot number 3 in colour"]), "text", 5)
    assert len(text.hits) == 5


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures with texts and no classes, extracted once by two separate towers and once by heads that align
    them (drawn at random: nothing here asks how well)."""
    import numpy as np
    from safetensors.numpy import save_file

    from stages.extract.encoders.lite0_minilm import HEADS

    here = make_folder(tmp_path_factory.mktemp("unlabelled") / "here")
    rng = np.random.default_rng(0)
    drawn = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in HEADS.items()}
    save_file(drawn, here / "heads.safetensors")
    lines = ["image,text", *(f"{name}0.png,a {name}" for name in ("circle", "cross", "dot"))]
    (here / "data/raw/tiny/pairs.csv").write_text("\n".join(lines) + "\n")
    set_params(here, ingest__table__id=None, ingest__table__label=None)
    for more in ((), ("--heads", "heads.safetensors")):
        done = typed(here, "extract", *more)
        assert done.returncode == 0, done.stderr
    return here


def test_pairs_without_labels_are_searched_by_what_needs_none(unlabelled: Path) -> None:
    aligned = ("--heads", "heads.safetensors")
    refused = typed(unlabelled, "search", "a dot", *aligned)
    assert refused.stderr == "table: no pair has a label, and scm learns from labels; pass --method clip\n"
    apart = typed(unlabelled, "search", "a dot")
    assert apart.stderr.endswith("use an aligned encoder and --method clip\n")
    assert (refused.returncode, apart.returncode) == (2, 2)
    found = hits(unlabelled, "a dot", *aligned, "--method", "clip")
    assert sorted(hit["text"] for hit in found) == ["a circle", "a cross", "a dot"]
    assert {hit["label"] for hit in found} == {""}
