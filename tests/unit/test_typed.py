import pytest

from syscontainers.typed import Document, DocumentError, parse_json


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply|not valid JSON"),
        (b"\xff", "not valid JSON"),
        ("", "not valid JSON"),
    ],
)
def test_what_is_not_strict_json_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        parse_json(text, "file")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":[', "]}]")])
def test_nesting_is_bounded_where_it_is_parsed(opening: str, closing: str) -> None:
    levels = 100 // (opening.count("[") + opening.count("{")) - 1
    parse_json(opening * levels + "1" + closing * levels, "file")
    parse_json("[" + "[1]," * 1000 + '"[[[["]', "file")
    with pytest.raises(DocumentError, match="file: nested too deeply"):
        parse_json(opening * (levels + 2) * 8 + "1" + closing * (levels + 2) * 8, "file")


def test_a_key_that_stands_twice_is_found_among_many() -> None:
    # Counting each key among all of them took hours for a document as large as a manifest may be.
    keys = ",".join(f'"{number:x}":1' for number in range(400_000))
    with pytest.raises(DocumentError, match="the key '0' stands twice"):
        parse_json(f'{{{keys},"0":1}}', "file")


def test_complaints_name_the_place() -> None:
    document = Document.parse('{"layers": [{"size": "7"}]}', "manifest.json")
    with pytest.raises(DocumentError, match=r"^manifest.json: layers\[0\].size must be an integer, not a string$"):
        document.get_objects("layers")[0].get_int("size")


def test_true_is_not_a_number() -> None:
    with pytest.raises(DocumentError, match="must be an integer, not a boolean"):
        Document.parse('{"size": true}', "m").get_int("size")


def test_null_counts_as_absent_only_where_a_default_exists() -> None:
    document = Document.parse('{"a": null}', "m")
    assert document.get_str("a", "x") == "x"
    with pytest.raises(DocumentError, match="must not be null"):
        document.get_str("a")
    with pytest.raises(DocumentError, match="is missing"):
        document.get_str("b")


def test_bounds_are_checked() -> None:
    with pytest.raises(DocumentError, match="at least 0"):
        Document.parse('{"size": -1}', "m").get_int("size", minimum=0)
