"""The text of an article."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import UserError
from stages.ingest.articles import article_text
from tests.stages.ingest.given import article

BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>
<document><text>&c;</text></document>"""
OUTSIDE = b"""<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname">]><document><text>&x;</text></document>"""


def test_only_the_words_of_text_are_kept_with_blanks_evened_out() -> None:
    assert article_text(article("One\n\n  two & three").encode(), "x") == ("One two & three", True)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("<d><text>one</text><p>no</p><text>two <b>three</b></text></d>", "one two three"),
        ("<article><p>one</p>two</article>", "one two"),
        ("<text>one</text>", "one"),
        ("<text><![CDATA[1 < 2]]></text>", "1 < 2"),
        ("\ufeff<d><text>caf\u00e9</text></d>", "caf\u00e9"),
        ("<d><text> </text></d>", ""),
    ],
)
def test_other_shapes_of_the_document_are_read(document: str, text: str) -> None:
    assert article_text(document.encode(), "x") == (text, True)


def test_the_declared_encoding_is_respected() -> None:
    latin = '<?xml version="1.0" encoding="ISO-8859-1"?><d><text>caf\u00e9</text></d>'.encode("latin-1")
    assert article_text(latin, "x") == ("caf\u00e9", True)


@pytest.mark.parametrize(
    "document",
    [
        b'<d name="A & B"><text>one &amp; two</text></d>',
        b"<d><text>one &amp; two</text><image></d>",
        b"<d><text>one & two</text>",
        b'<?xml version="1.0" encoding="big5"?><d><text>one & two</text></d>',
        b'<?xml version="1.0" encoding="no-such"?><d><text>one & two</text></d>',
    ],
)
def test_a_file_that_is_not_well_formed_is_read_between_the_tags(document: bytes) -> None:
    assert article_text(document, "x") == ("one & two", False)


@pytest.mark.parametrize("document", [BOMB, OUTSIDE, BOMB.decode().encode("utf-16"), b"<d>" + BOMB])
def test_an_entity_declaration_is_refused_in_one_line(document: bytes) -> None:
    with pytest.raises(UserError) as error:
        article_text(document, "wikipedia: texts/a-1.xml")
    assert str(error.value) == (
        "wikipedia: texts/a-1.xml: declares an XML entity, which is refused; take the declaration out of the file"
    )


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_it_fail_or_leave_uneven_blanks(data: bytes) -> None:
    if b"<!ENTITY" not in data.replace(b"\0", b""):
        text, _ = article_text(data, "x")
        assert text == " ".join(text.split())
