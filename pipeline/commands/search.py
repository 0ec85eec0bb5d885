"""Search: a text finds pictures, a picture finds texts.

What is slow to import is imported inside the commands: `--help` does not wait for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand

from cache.errors import MissingError, UsageError, UserError
from pipeline.commands.options import PANEL, AsJson, takes_setting
from pipeline.console import show
from pipeline.setting import Setting
from stages.progress import reporter

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipeline.searching import Answer, Searcher
    from stages.search.params import SearchSection

MANY = ("--support", "--texts")  # options that take all that follows, up to the next option

Query = Annotated[str | None, typer.Argument(help="What to look for, in words. It stands first.", show_default=False)]
Picture = Annotated[Path | None, typer.Option("--image", metavar="FILE", help="A picture to look for texts of.")]
Method = Annotated[
    str | None, typer.Option("--method", help="The method of the head, or FILE.py:CLASS.", rich_help_panel=PANEL)
]
Shots = Annotated[
    int | None, typer.Option("--shots", min=0, help="Its labelled pairs a target class.", rich_help_panel=PANEL)
]
Top = Annotated[int | None, typer.Option("--top", min=1, help="How many hits.", rich_help_panel=PANEL)]
Where = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        help="all: every item of the dataset, judged among all its classes. test: the target test items, judged among"
        " the target classes, as where methods are measured.",
        rich_help_panel=PANEL,
    ),
]
HeadFile = Annotated[
    Path | None, typer.Option("--head", metavar="FILE", help="A head kept as a file, in place of one.")
]
Sheet = Annotated[Path | None, typer.Option("--sheet", metavar="PNG", help="Draw the hits' pictures on one sheet.")]
Page = Annotated[Path | None, typer.Option("--page", metavar="HTML", help="Write the answer as one HTML file.")]
Serve = Annotated[bool, typer.Option("--serve", help="Answer on a page in the browser, on this machine alone.")]
Port = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="Where --serve answers; 0: any free port.", rich_help_panel=PANEL),
]
TEACH = "Teach by example"
NewClass = Annotated[
    str | None,
    typer.Option("--add-class", metavar="NAME", help="A class that the head learns now.", rich_help_panel=TEACH),
]
Support = Annotated[
    list[Path] | None,
    typer.Option(
        "--support", metavar="FILE ...", help="Pictures of it, one or several: a.jpg b.jpg.", rich_help_panel=TEACH
    ),
]
Texts = Annotated[
    list[str] | None,
    typer.Option("--texts", metavar="TEXT ...", help='Texts of it, as in "a wave" "a board".', rich_help_panel=TEACH),
]
Keep = Annotated[
    Path | None,
    typer.Option("--keep", metavar="FILE", help="Keep the head with its new class, for --head.", rich_help_panel=TEACH),
]


class _Searching(TyperCommand):
    """A command whose --support and --texts take several values, as a person would write them: a.jpg b.jpg."""

    def parse_args(self, ctx: object, args: list[str]) -> list[str]:
        """Repeat such an option before each of its values."""
        return super().parse_args(ctx, spread(args))  # type: ignore[arg-type]


def spread(arguments: list[str]) -> list[str]:
    """The arguments with each of MANY repeated before every value after its first: `--texts a b` is `--texts a --texts
    b`. The values end at the next argument that begins with a dash."""
    out: list[str] = []
    option: str | None = None
    for argument in arguments:
        if argument.startswith("-") and argument != "-":
            option = argument if argument in MANY else None
        elif option is not None and out[-1] != option:
            out.append(option)
        out.append(argument)
    return out


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(cls=_Searching, rich_help_panel="Use")(takes_setting(search))


@dataclass(frozen=True)
class _Lesson:
    """A class to learn before anything is asked."""

    name: str
    pictures: list[Image]
    texts: list[str]


def search(
    setting: Setting,
    query: Query = None,
    image: Picture = None,
    method: Method = None,
    shots: Shots = None,
    top: Top = None,
    gallery: Where = None,
    head: HeadFile = None,
    add_class: NewClass = None,
    support: Support = None,
    texts: Texts = None,
    keep: Keep = None,
    sheet: Sheet = None,
    page: Page = None,
    serve: Serve = False,
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """A text finds pictures, or --image finds texts: by the head of a method that stands, or is trained now.

    `--add-class surfing --support a.jpg b.jpg --texts "a man rides a wave"` first teaches it a class by example."""
    lesson = _lesson(add_class, support or [], texts or [], keep)
    _require_alone(serve, port, [query is not None, image is not None, sheet is not None, page is not None, as_json])
    question = "" if serve else _question(query, image, lesson)
    _require_targets(sheet, page, keep)
    if head is not None and (method is not None or shots is not None):
        raise UsageError("--head names a head, which has its method and shots; leave --method and --shots out")
    section = section_of(setting, {"method": method, "shots": shots, "top": top, "gallery": gallery, "port": port})
    if serve:
        return _serve(section, lambda: _open(setting, section, head, lesson, keep))
    searcher = _open(setting, section, head, lesson, keep)
    picture = None if isinstance(question, str) else question.picture
    answer = _ask(searcher, question, section.top)
    _tell(answer, as_json)
    _draw(searcher, answer, picture, sheet, page)


def _require_alone(serve: bool, port: int | None, asked: list[bool]) -> None:
    """UsageError for a page that is served and a question, or what is made of its answer, at once."""
    if serve and any(asked):
        raise UsageError("--serve is asked on its page; leave the query, --image, --sheet, --page and --json out")
    if port is not None and not serve:
        raise UsageError("--port is where --serve answers; add --serve, or leave --port out")


def _serve(section: SearchSection, opened: Callable[[], Searcher]) -> None:
    """Answer on a page until Ctrl-C; the port is taken before anything costly is done."""
    if not all(find_spec(name) for name in ("starlette", "uvicorn", "python_multipart")):
        raise MissingError("--serve needs the extra `serve`; run pip install '.[serve]'")
    from pipeline import serving

    with serving.listen(section.port) as own:
        searcher = opened()
        reporter().say(f"http://{serving.HOST}:{own.getsockname()[1]} (Ctrl-C ends it)")
        serving.serve(searcher, section.top, own)


@dataclass(frozen=True)
class _Asked:
    """A picture that is asked with."""

    name: str
    picture: Image


def _lesson(name: str | None, support: list[Path], texts: list[str], keep: Path | None) -> _Lesson | None:
    """What is to be learnt, its pictures read; UsageError for examples of nothing."""
    if name is None:
        if support or texts or keep:
            raise UsageError("--support, --texts and --keep belong to a new class; name it with --add-class NAME")
        return None
    from stages.extract.alone import read_picture

    return _Lesson(name, [read_picture(path) for path in support], texts)


def _question(query: str | None, image: Path | None, lesson: _Lesson | None) -> str | _Asked:
    """What is asked: a text, a picture, or else the name of the class that is to be learnt."""
    if query is not None and image is not None:
        raise UsageError("a text and --image at once; ask with one of them")
    if image is not None:
        from stages.extract.alone import read_picture

        return _Asked(str(image), read_picture(image))
    asked = query if query is not None or lesson is None else lesson.name
    if asked is None or not asked.strip():
        raise UsageError('the query is empty; say what to look for, as in search "a dog", or pass --image FILE')
    return asked


def _require_targets(sheet: Path | None, page: Path | None, keep: Path | None) -> None:
    """UsageError unless everything that is to be written can be put there: before anything costly is done."""
    from pipeline.answers import require_page
    from pipeline.contact_sheet import require_place

    if sheet is not None:
        require_place(sheet)
    if page is not None:
        require_page(page)
    if keep is not None and (keep.suffix != ".safetensors" or keep.exists()):
        what = "is there already; give the head another name" if keep.exists() else "a head's name ends in .safetensors"
        raise UsageError(f"{keep}: {what}")


def section_of(setting: Setting, given: dict[str, str | int | None]) -> SearchSection:
    """params.yaml's values with those of the flags; UsageError for a method or gallery that is none."""
    from pipeline.own_methods import from_folder
    from stages.search.params import GALLERIES
    from stages.train.methods import find

    section = setting.params.search.model_copy(update={key: value for key, value in given.items() if value is not None})
    section = section.model_copy(update={"method": from_folder(section.method, Path.cwd())})
    find(section.method)
    if section.gallery not in GALLERIES:
        raise UsageError(f"no gallery '{section.gallery}'; there are: {', '.join(GALLERIES)}")
    return section


def _open(
    setting: Setting, section: SearchSection, head: Path | None, lesson: _Lesson | None, keep: Path | None
) -> Searcher:
    """The searcher, which has learnt its lesson, if there is one; the head that came of that goes where `keep` says."""
    from pipeline.searching import open_searcher
    from pipeline.trained import keep_head, trained_as, trained_for

    found = trained_as(setting, head) if head else trained_for(setting, section.method, section.shots)
    if found is None:
        raise typer.Exit(UserError.exit_code)  # why is told of at the end
    searcher = open_searcher(found, section.gallery)
    if lesson is not None:
        searcher = searcher.teach(lesson.name, lesson.pictures, lesson.texts)
    if keep is not None:
        keep_head(keep, searcher.head)
        reporter().say(f"{keep}: the head with class '{searcher.head.about['taught'][-1]}'; --head {keep} takes it")
    return searcher


def _ask(searcher: Searcher, question: str | _Asked, top: int) -> Answer:
    if isinstance(question, str):
        return searcher.ask(question, searcher.of_texts([question]), "text", top)
    return searcher.ask(question.name, searcher.of_pictures([question.picture]), "image", top)


def _tell(answer: Answer, as_json: bool) -> None:
    """The hits on stdout: JSON and nothing else, or a table with the likeliest classes above it."""
    from pipeline.answers import likely, table_rows

    if as_json:
        print(json.dumps({"query": answer.query, "hits": [hit.row() for hit in answer.hits]}, ensure_ascii=False))
        return
    if line := likely(answer):
        print(line)
    show(table_rows(answer), as_json=False)


def _draw(searcher: Searcher, answer: Answer, asked: Image | None, sheet: Path | None, page: Path | None) -> None:
    from pipeline.answers import write_page, write_sheet

    if sheet is not None:
        write_sheet(sheet, searcher, answer)
    if page is not None:
        write_page(page, searcher, answer, asked)
    for target in (sheet, page):
        if target is not None:
            reporter().say(f"{target}")
