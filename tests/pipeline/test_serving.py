"""The page of `search --serve`: asked and abused as an application, once by a browser over the real server."""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from pipeline.searching import Searcher, open_searcher
from proof.checkout import ROOT, environment
from tests.pipeline.prompt import typed

EXTRA = "the extra `serve` is not installed: pip install '.[serve]'"
pytest.importorskip("starlette", reason=EXTRA)
pytest.importorskip("uvicorn", reason=EXTRA)
pytest.importorskip("python_multipart", reason=EXTRA)
pytest.importorskip("httpx2", reason="the client of the tests is not installed: pip install '.[dev]'")

if TYPE_CHECKING:
    from httpx2 import Response
    from starlette.testclient import TestClient

CHROMIUM = shutil.which("chromium")
DOG = "1F415"


@pytest.fixture(scope="module")
def searcher(small_openmoji: Path) -> Searcher:
    from pipeline.params import load_params
    from pipeline.places import find_places
    from pipeline.setting import Setting
    from pipeline.trained import trained_for

    params = load_params(small_openmoji / "params.yaml", [], [])
    trained = trained_for(Setting(params, find_places(small_openmoji, params.store, {})), "scm", 5)
    assert trained is not None
    return open_searcher(trained, "all")


@pytest.fixture
def site(searcher: Searcher) -> TestClient:
    return client(searcher)


def client(searcher: Searcher) -> TestClient:
    from starlette.testclient import TestClient

    from pipeline.serving import application

    return TestClient(application(searcher, 7), base_url="http://127.0.0.1:7860")


def picture(folder: Path, name: str = DOG) -> bytes:
    return (folder / f"data/raw/openmoji/images/{name}.png").read_bytes()


def unchosen(files: str, fields: dict[str, str]) -> dict[str, Any]:
    """A form as browsers send it where no file was chosen."""
    file = f'--x\r\nContent-Disposition: form-data; name="{files}"; filename=""\r\n'
    parts = [f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{told}\r\n' for key, told in fields.items()]
    body = "".join([*parts, file, "Content-Type: application/octet-stream\r\n\r\n\r\n--x--\r\n"])
    return {"content": body.encode(), "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


def texts(page: Response) -> list[str]:
    """The texts of the hits, as a person reads them."""
    return [unescape(text) for text in re.findall(r'<div class="text">(.*?)</div>', page.text)]


def classes(page: Response) -> list[tuple[str, float]]:
    """The names and the lengths of the bars."""
    found = re.findall(r'<li><span>(.*?)</span><svg.*?width="([0-9.]+)%"', page.text)
    return [(unescape(name), float(value)) for name, value in found]


def problem(page: Response) -> str:
    """The one line in place of an answer: nothing was found beside it."""
    assert not texts(page)
    (line,) = re.findall(r'<p class="problem" role="alert">(.*?)</p>', page.text)
    return unescape(line)


def test_the_first_visit_asks_nothing(site: TestClient) -> None:
    page = site.get("/")
    assert page.status_code == 200
    assert 'name="q"' in page.text
    assert 'type="file"' in page.text
    assert not texts(page)
    assert not classes(page)
    assert "problem" not in page.text


def test_a_text_finds_what_the_command_finds(site: TestClient, searcher: Searcher) -> None:
    page = site.get("/", params={"q": "a dog"})
    answer = searcher.ask("a dog", searcher.of_texts(["a dog"]), "text", 7)
    assert texts(page) == [hit.text for hit in answer.hits]
    ranks = re.findall(r'<div class="rank"><span>(\d+)</span><span>([0-9.]+)</span>', page.text)
    assert ranks == [(str(hit.rank), f"{hit.score:.3f}") for hit in answer.hits]
    assert re.findall(r'<div class="label">(.*?)</div>', page.text)[0] == "animal-mammal"
    assert classes(page) == [(name, pytest.approx(100 * value, abs=0.051)) for name, value in answer.classes[:5]]
    assert 'value="a dog"' in page.text


def test_a_picture_finds_what_the_command_finds(site: TestClient, searcher: Searcher, small_openmoji: Path) -> None:
    from stages.extract.alone import open_picture

    data = picture(small_openmoji)
    page = site.post("/", files={"picture": ("<b>dog.png", data)})
    answer = searcher.ask("", searcher.of_pictures([open_picture(data, "")]), "image", 7)
    assert page.status_code == 200
    assert texts(page) == [hit.text for hit in answer.hits]
    assert classes(page)[0][0] == "animal-mammal"
    assert 'class="asked" src="data:image/jpeg;base64,' in page.text
    assert "&lt;b&gt;dog.png" in page.text
    assert "<b>" not in page.text


@pytest.mark.parametrize(("by", "modality"), [("picture", "image"), ("text", "text")])
def test_more_like_a_hit_asks_with_that_item(site: TestClient, searcher: Searcher, by: str, modality: Any) -> None:
    first = site.get("/", params={"q": "a dog"})
    links = [unescape(link) for link in re.findall(rf'href="(/\?by={by}&amp;like=[^"]+)"', first.text)]
    assert len(links) == 7
    page = site.get(links[2])
    name = links[2].partition("like=")[2]
    answer = searcher.ask("", searcher.of_item(name), modality, 7)
    assert texts(page) == [hit.text for hit in answer.hits]
    assert (f'class="asked" src="/picture?id={name}"' in page.text) == (by == "picture")


def test_a_class_is_learnt_from_all_that_was_told_of_it(searcher: Searcher, small_openmoji: Path) -> None:
    from stages.extract.alone import open_picture

    data, told = picture(small_openmoji), {"name": "class seven", "texts": "dog\r\n\r\nguide dog"}
    lessons: list[tuple[dict[str, Any], list[Image.Image]]] = [
        (unchosen("pictures", told), []),
        ({"data": told, "files": {"pictures": ("a.png", data)}}, [open_picture(data, "")]),
    ]
    for sent, pictures in lessons:
        site = client(searcher)
        site.post("/class", **sent)
        knows = searcher.teach("class seven", pictures, ["dog", "guide dog"])
        likely = knows.ask("", knows.of_texts(["service dog"]), "text", 1).classes[:5]
        shown = classes(site.get("/", params={"q": "service dog"}))
        assert shown == [(name, pytest.approx(100 * value, abs=0.051)) for name, value in likely]
        assert dict(shown)["class seven"] > 1


def test_a_class_is_learnt_by_example_and_asked_for(searcher: Searcher, small_openmoji: Path) -> None:
    site = client(searcher)
    dogs = [("pictures", (f"{name}.png", picture(small_openmoji, name))) for name in (DOG, "1F9AE")]
    told = {"name": "dogs & <i>", "texts": "dog\r\n\r\nguide dog\r\n"}
    page = site.post("/class", data=told, files=dogs)
    assert page.url.path == "/"
    assert page.url.params["q"] == "dogs & <i>"
    assert page.history[0].status_code == 303
    assert classes(site.get("/", params={"q": "service dog"}))[0][0] == "dogs & <i>"
    assert "<i>" not in page.text
    again = site.post("/class", data=told, files=dogs)
    assert problem(again) == "class 'dogs & <i>' is known already; give the new class another name"
    assert classes(client(searcher).get("/", params={"q": "service dog"}))[0][0] == "animal-mammal"  # a site of its own


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"name": " ", "texts": "dog"}, "the new class has no name; give it one"),
        ({"name": "dogs", "texts": " \n"}, "nothing says what class 'dogs' is like; give a picture or a text of it"),
    ],
)
def test_half_a_class_is_refused(site: TestClient, told: dict[str, str], line: str) -> None:
    page = site.post("/class", **unchosen("pictures", told))
    assert (page.status_code, problem(page)) == (400, line)


@pytest.mark.parametrize(
    ("address", "code", "line"),
    [
        ("/?q=", 400, "the query is empty; type what to look for"),
        ("/?q=+%0a", 400, "the query is empty; type what to look for"),
        ("/?like=nix&by=text", 404, "no item with the id 'nix'; take one that a search found"),
        (f"/?like={DOG}", 400, "by is ''; ask with 'picture' or 'text' of an item"),
        ("/picture", 404, "no item with the id ''; take one that a search found"),
        ("/picture?id=..%2f..%2f..%2fparams.yaml", 404, "no item with the id '../../../params.yaml'; take one that a"),
        (f"/picture?id=images%2f{DOG}.png", 404, f"no item with the id 'images/{DOG}.png'; take one that a search"),
        ("/../params.yaml", 404, "Not Found"),
    ],
)
def test_a_wrong_address_is_answered_with_one_line(site: TestClient, address: str, code: int, line: str) -> None:
    page = site.get(address)
    assert page.status_code == code
    assert problem(page).startswith(line)


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("words.png", b"no picture", "words.png: not a picture in any known format; give a picture, as JPEG or PNG"),
        ("empty.png", b"", "empty.png: the file is empty; give a picture, as JPEG or PNG for instance"),
    ],
)
def test_what_is_no_picture_is_refused(site: TestClient, name: str, data: bytes, line: str) -> None:
    page = site.post("/", files={"picture": (name, data)})
    assert page.status_code == 400
    assert problem(page).startswith(line)


@pytest.mark.parametrize("sent", [unchosen("picture", {}), {"content": b"x"}, {"data": {"picture": "text"}}])
def test_a_form_without_a_picture_is_refused(site: TestClient, sent: dict[str, Any]) -> None:
    page = site.post("/", **sent)
    assert (page.status_code, problem(page)) == (400, "no picture was chosen; choose a file")


@pytest.mark.parametrize("announced", [True, False])
def test_twenty_megabytes_are_refused(site: TestClient, announced: bool) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
    parts = [body, *[bytes(1_000_000)] * 20, b"\r\n--x--\r\n"]
    content = b"".join(parts) if announced else iter(parts)
    page = site.post("/", content=content, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert (page.status_code, problem(page)) == (413, "more than 20 MB; send a smaller picture, or fewer")


def test_a_little_less_is_read(site: TestClient, small_openmoji: Path) -> None:
    large = picture(small_openmoji) + bytes(19_000_000)  # decoders leave what follows a picture alone
    assert len(texts(site.post("/", files={"picture": ("large.png", large)}))) == 7


def test_the_picture_of_an_item_is_small(site: TestClient) -> None:
    answer = site.get("/picture", params={"id": DOG})
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as small:
        assert small.format == "JPEG"
        assert max(small.size) <= 320
        assert np.asarray(small.convert("L")).std() > 10


def test_html_of_captions_labels_and_queries_stays_text(searcher: Searcher) -> None:
    held = searcher.trained.manifest
    evil = "<script>alert(1)</script>"
    manifest = replace(held, texts=[[evil]] * len(held), labels=[[evil]] * len(held))
    page = client(replace(searcher, trained=replace(searcher.trained, manifest=manifest))).get("/", params={"q": evil})
    assert texts(page) == [evil] * 7
    assert "<script" not in page.text
    assert page.text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 7 * 3 + 2  # text, alt, label; title, text box


@pytest.mark.parametrize("address", ["/", "/?q=", "/?q=dog", "/nix", "/style.css", f"/picture?id={DOG}"])
def test_every_answer_forbids_what_the_page_needs_not(site: TestClient, address: str) -> None:
    told = site.get(address, headers={"Origin": "http://evil.example"}).headers
    policy = dict(part.strip().split(" ", 1) for part in told["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'self'"
    assert "script-src" not in policy
    assert told["x-content-type-options"] == "nosniff"
    assert told["cross-origin-resource-policy"] == "same-origin"
    assert not [name for name in told if name.startswith("access-control")]


def test_the_page_needs_nothing_from_elsewhere(site: TestClient) -> None:
    both = site.get("/", params={"q": "dog"}).text + site.get("/style.css").text
    assert "//" not in both
    assert "<script" not in both
    assert " style=" not in both  # which the policy would not let through
    assert "@import" not in both


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:7860", "", "192.168.0.1", "0.0.0.0:7860"])
def test_another_host_is_refused(site: TestClient, host: str) -> None:
    answer = site.get("/?q=dog", headers={"Host": host})
    assert (answer.status_code, answer.text) == (400, "Invalid host header")


def test_this_machine_has_two_names(site: TestClient) -> None:
    assert site.get("/", headers={"Host": "localhost:7860"}).status_code == 200
    assert site.get("/", headers={"Host": "127.0.0.1"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8080", "https://127.0.0.1:7860"])
@pytest.mark.parametrize("address", ["/", "/class"])
def test_a_form_of_another_page_is_refused(site: TestClient, address: str, origin: str) -> None:
    page = site.post(address, data={"name": "x", "texts": "x"}, headers={"Origin": origin})
    assert (page.status_code, problem(page)) == (403, "sent from another page; use the form here")


def test_a_head_without_classes_has_no_form_for_them(searcher: Searcher) -> None:
    about = {**searcher.head.about, "classes": {"target": [], "source": []}}
    page = client(replace(searcher, head=replace(searcher.head, about=about))).get("/")
    assert 'action="/class"' not in page.text


def test_requests_at_once_get_their_own_answers(site: TestClient) -> None:
    from concurrent.futures import ThreadPoolExecutor

    asked = ["a dog", "a cake", "a train", "a violin"] * 3
    alone = {text: texts(site.get("/", params={"q": text})) for text in asked}
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda text: texts(site.get("/", params={"q": text})), asked)) == [alone[q] for q in asked]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("dog", "--serve"), "--serve is asked on its page; leave the query, --image,"),
        (("--serve", "--json"), "--serve is asked on its page; leave the query, --image,"),
        (("dog", "--port", "7861"), "--port is where --serve answers; add --serve, or leave --port out"),
        (("--serve", "--port", "65536"), "Invalid value for '--port'"),
    ],
)
def test_wrong_use_is_one_line(small_openmoji: Path, arguments: tuple[str, ...], line: str) -> None:
    done = typed(small_openmoji, "search", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(line)


def test_a_port_that_is_taken_is_said(small_openmoji: Path) -> None:
    from pipeline.serving import listen

    with listen(0) as own:
        own.listen()
        port = own.getsockname()[1]
        done = typed(small_openmoji, "search", "--serve", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"port {port} of 127.0.0.1: Address already in use; pass another, as in --port 7861\n"


def test_without_the_extra_the_command_says_what_to_install(
    small_openmoji: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.commands.search.find_spec", lambda _: None)
    done = typed(small_openmoji, "search", "--serve")
    assert (done.returncode, done.stderr) == (1, "--serve needs the extra `serve`; run pip install '.[serve]'\n")


@pytest.fixture
def server(small_openmoji: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a person runs it, at a free port, and its address."""
    command = [sys.executable, "-m", "pipeline", "search", "--serve", "--port", "0"]
    told = environment(PYTHONPATH=str(ROOT))
    with subprocess.Popen(command, cwd=small_openmoji, env=told, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        try:
            yield process, next(line for line in lines if line.startswith("http://")).split()[0]
        finally:
            process.kill()


def dom(address: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    return subprocess.run([*command, address], capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed, in which the page would be opened")
def test_a_browser_shows_the_page_and_ctrl_c_ends_it(server: tuple[subprocess.Popen[str], str]) -> None:
    process, address = server
    page = dom(f"{address}/?q=a%20dog%20%3Cscript%3Edocument.title%3D%22evil%22%3C%2Fscript%3E")
    assert page.count('<div class="text">') == 10
    assert '<div class="label">animal-mammal</div>' in page
    assert "<title>a dog &lt;script&gt;" in page
    assert '<p class="problem" role="alert">the query is empty' in dom(f"{address}/?q=")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr is not None
    assert process.stderr.read().count("\n") == 1
