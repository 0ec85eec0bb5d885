"""Search as a page on this machine: asked with a text, a picture or an item, taught a class by example.

Nobody else is answered: the address is that of the machine itself, requests must name it as their host, and what other
pages send is refused. No path is ever taken from a request: a picture is named by the id of its item.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from threading import Lock
from typing import Any
from urllib.parse import urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cache.errors import MissingError, UsageError, UserError
from pipeline.answers import LIKELY, SIDE, about, credit, embedded, fill, picture_at
from pipeline.searching import Answer, Searcher
from stages.extract.alone import open_picture
from stages.items import Modality
from stages.pictures import jpeg
from stages.search.teach import require_teachable

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # what a request may call this machine
MEGABYTES = 20  # of one request, pictures and all
EXAMPLES = 100  # pictures of a new class
KINDS: dict[str, Modality] = {"picture": "image", "text": "text"}  # what of an item is asked with

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass
class Site:
    """What the page asks: one searcher, another once it has learnt a class; the lock has it asked one at a time."""

    searcher: Searcher
    top: int
    lock: Lock = field(default_factory=Lock)

    def home(self, request: Request) -> Response:
        """The page, with an answer where the address asks: q a text, or like the id of an item and by what of it."""
        asked = request.query_params
        if "like" in asked:
            return self._like(asked["like"], asked.get("by", ""))
        return self._told(asked["q"]) if "q" in asked else self.page()

    def _told(self, text: str) -> Response:
        if not text.strip():
            raise UsageError("the query is empty; type what to look for")
        with self.lock:
            answer = self.searcher.ask(text, self.searcher.of_texts([text]), "text", self.top)
        return self.page(answer, typed=text)

    def _like(self, name: str, by: str) -> Response:
        """What fits the picture or the text of an item."""
        if by not in KINDS:
            raise UsageError(f"by is '{by}'; ask with 'picture' or 'text' of an item")
        with self.lock:
            place = self.searcher.place_of(name)
            told = self.searcher.trained.manifest.texts[place][0]
            answer = self.searcher.ask(told, self.searcher.of_item(name), KINDS[by], self.top)
        return self.page(answer, asked=_address(name) if by == "picture" else "")

    async def shown(self, request: Request) -> Response:
        """The page with what fits an uploaded picture."""
        _require_own(request)
        async with request.form(max_files=1, max_fields=1) as form:
            pictures = await _pictures(form.getlist("picture"))
        if not pictures:
            raise UsageError("no picture was chosen; choose a file")
        return await run_in_threadpool(self._seen, *pictures[0])

    def _seen(self, name: str, data: bytes) -> Response:
        picture = open_picture(data, name)
        with self.lock:
            answer = self.searcher.ask(name, self.searcher.of_pictures([picture]), "image", self.top)
        return self.page(answer, asked=embedded(picture))

    async def learn(self, request: Request) -> Response:
        """Learn a class by example, then lead to the page that asks for it."""
        _require_own(request)
        async with request.form(max_files=EXAMPLES, max_fields=2) as form:
            pictures = await _pictures(form.getlist("pictures"))
            name, texts = str(form.get("name", "")).strip(), str(form.get("texts", "")).splitlines()
        await run_in_threadpool(self._learn, name, pictures, [text for text in texts if text.strip()])
        return RedirectResponse(f"/?{urlencode({'q': name})}", status_code=303)

    def _learn(self, name: str, pictures: list[tuple[str, bytes]], texts: list[str]) -> None:
        if not name:
            raise UsageError("the new class has no name; give it one")
        if not pictures and not texts:
            raise UsageError(f"nothing says what class '{name}' is like; give a picture or a text of it")
        examples = [open_picture(data, file) for file, data in pictures]
        with self.lock:
            self.searcher = self.searcher.teach(name, examples, texts)

    def picture(self, request: Request) -> Response:
        """The picture of an item, small, as JPEG."""
        found = picture_at(self.searcher, self.searcher.place_of(request.query_params.get("id", "")), SIDE)
        if found.picture is None:
            raise MissingError(f"{found.id}: {found.problem}")
        return Response(jpeg(found.picture), media_type="image/jpeg")

    def page(
        self, answer: Answer | None = None, typed: str = "", asked: str = "", problem: str = "", status: int = 200
    ) -> Response:
        """The page; asked: the address of the picture that was asked with, problem: why there is no answer."""
        searcher = self.searcher
        values = {
            "query": answer.query if answer else "",
            "classes": answer.classes[:LIKELY] if answer else [],
            "hits": [{**hit.row(), "picture": _address(hit.id)} for hit in answer.hits] if answer else [],
            **{"typed": typed, "asked": asked, "problem": problem, "megabytes": MEGABYTES},
            **{"about": about(searcher), "credit": credit(searcher), "taught": _taught(searcher)},
        }
        return HTMLResponse(fill("serve.html.j2", **values), status_code=status)

    def refused(self, _: Request, error: Exception) -> Response:
        """The page with one line in place of an answer."""
        if isinstance(error, HTTPException):
            return self.page(problem=error.detail, status=error.status_code)
        return self.page(problem=str(error), status=404 if isinstance(error, MissingError) else 400)


def _address(name: str) -> str:
    return "/picture?" + urlencode({"id": name})


def _taught(searcher: Searcher) -> list[str] | None:
    """The classes learnt by example; None where the head can learn none."""
    try:
        return list(require_teachable(searcher.head).about.get("taught", []))
    except UsageError:
        return None


async def _pictures(sent: list[UploadFile | str]) -> list[tuple[str, bytes]]:
    """Names and bytes of the files of a form; a field where none was chosen holds an empty one without a name."""
    return [(one.filename, await one.read()) for one in sent if isinstance(one, UploadFile) and one.filename]


def _require_own(request: Request) -> None:
    """Refuse what another page sends: a browser says where a form stood."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{request.headers['host']}":
        raise HTTPException(403, "sent from another page; use the form here")


def style(_: Request) -> Response:
    """The style of the page."""
    own = resources.files("pipeline")
    both = "".join(own.joinpath(name).read_text(encoding="utf-8") for name in ("answer.css", "serve.css"))
    return Response(both, media_type="text/css")


def application(searcher: Searcher, top: int) -> ASGIApp:
    """The site with its guards: hosts, sizes, headers."""
    site = Site(searcher, top)
    routes = [
        Route("/", site.home),
        Route("/", site.shown, methods=["POST"]),
        Route("/class", site.learn, methods=["POST"]),
        Route("/picture", site.picture),
        Route("/style.css", style),
    ]
    refusals: dict[Any, Callable[[Request, Exception], Response]] = {
        UserError: site.refused,
        HTTPException: site.refused,
    }
    inner = Starlette(routes=routes, exception_handlers=refusals)
    return _with_headers(TrustedHostMiddleware(_bounded(inner), allowed_hosts=NAMES, www_redirect=False))


def _with_headers(app: ASGIApp) -> ASGIApp:
    """The same with HEADERS on every answer."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await app(scope, receive, sent)

    return guarded


def _bounded(app: ASGIApp) -> ASGIApp:
    """The same for requests of at most MEGABYTES; of a larger one nothing is kept, but all is taken, for a browser
    shows no answer before it has sent everything."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        taken, bound = 0, MEGABYTES * 1_000_000
        announced = Headers(scope=scope).get("content-length", "0") if scope["type"] == "http" else "0"
        too_large = announced.isdigit() and int(announced) > bound

        async def received() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if too_large or taken > bound:
                while message.get("more_body"):
                    message = await receive()
                raise HTTPException(413, f"more than {MEGABYTES} MB; send a smaller picture, or fewer")
            return message

        await app(scope, received, send)

    return guarded


def listen(port: int) -> socket.socket:
    """A socket at a port of this machine, 0 for any that is free; UserError where another program has it."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((HOST, port))
    except OSError as error:
        own.close()
        raise UserError(f"port {port} of {HOST}: {error.strerror}; pass another, as in --port 7861") from error
    return own


def serve(searcher: Searcher, top: int, own: socket.socket) -> None:
    """Answer at a socket until Ctrl-C."""
    config = uvicorn.Config(application(searcher, top), log_level="warning", lifespan="off", server_header=False)
    uvicorn.Server(config).run(sockets=[own])
