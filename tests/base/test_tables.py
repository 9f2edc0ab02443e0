"""Tables as people and spreadsheets make them."""

from __future__ import annotations

import unicodedata

import pytest

from napari_unet_tumour.base import tables
from napari_unet_tumour.errors import TableError

KNOWN = {"file": tables.FILE, "person": tables.PERSON}
PLAIN = "file,person\na.png,P1\nb.png,P2\n"


def read(folder, content, encoding="utf-8"):
    path = folder / "cases.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return tables.read_table(path, KNOWN, ("file",), "file,person")


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (PLAIN, "utf-8-sig"),
        (PLAIN, "utf-16"),
        (PLAIN, "utf-16-le"),
        (PLAIN.replace(",", ";"), "utf-8"),
        (PLAIN.replace(",", "\t"), "utf-16"),
        ("sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"), "utf-8"),
        (PLAIN.replace("file,person", " Image File , PATIENT_ID "), "utf-8"),
        (PLAIN.replace("file,person", "Scan,Subject"), "utf-8"),
        (PLAIN.replace("file,person", "image_path,Patient No."), "utf-8"),
        (PLAIN.replace("file,person", "Image ID,Subject #"), "utf-8"),
        ("\n# of the second reader\n;\n" + PLAIN.replace(",", ";"), "utf-8-sig"),
        ('"sep=;"\n' + PLAIN.replace(",", ";"), "utf-8-sig"),
        ("sep=\t\n" + PLAIN.replace(",", "\t"), "utf-16"),
        ("person,file\n P1 ,a.png \nP2,\u00a0b.png\n\n", "utf-8"),
    ],
)
def test_one_table_in_many_forms(tmp_path, content, encoding):
    table = read(tmp_path, content, encoding)
    assert table.rows == [{"file": "a.png", "person": "P1"}, {"file": "b.png", "person": "P2"}]
    assert tables.persons_of(table) == ["P1", "P2"]
    assert table.note == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("photo,person\na,b\n", "no column 'file' (found: photo, person)"),
        ("file,Patient code\na,b\n", "column 'Patient code' that may say whose a scan is"),
        ("file,case_id\na,b\n", "column 'case_id' that may say whose a scan is"),
        ("file,person\nMüller,b\n".encode("cp1252"), "not in UTF-8"),
        ("file,patient,subject\na,b,c\n", "2 columns for one thing (patient, subject)"),
        ("file,person\na.png,Doe, Jane\n", "line 2 has 3 cells"),
        (b"\x89PNG\r\n\x1a\n\xff", "no text file"),
        ("file,person\n\na\0,b\n", "no text file"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(tmp_path, content, words):
    with pytest.raises(TableError) as error:
        read(tmp_path, content)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("empty", ["", " ", "NA", "nan", "-", "?"])
def test_a_row_without_a_person_is_an_error(tmp_path, empty):
    with pytest.raises(TableError, match="line 3 names no person"):
        tables.persons_of(read(tmp_path, f"file,person\na,P1\nb,{empty}\n"))


def test_a_person_in_other_letters_is_the_same(tmp_path):
    assert tables.persons_of(read(tmp_path, "file,person\na,P1\nb,p1 \nc,P2\n")) == ["P1", "P1", "P2"]


def test_what_else_a_person_has_is_no_person_and_is_named(tmp_path):
    table = read(tmp_path, "file,patient age,sex\na,70,F\n")
    assert "person" not in table.columns
    assert table.note == "cases.csv: not used: the columns patient age, sex"


def test_names_in_other_unicode_forms_are_found(tmp_path):
    name = "Müller_é.png"
    folder = tmp_path / unicodedata.normalize("NFD", "für")
    folder.mkdir()
    (folder / unicodedata.normalize("NFD", name)).write_bytes(b"")
    wanted = tmp_path / unicodedata.normalize("NFC", "für") / unicodedata.normalize("NFC", name)
    assert tables.existing(wanted).exists()
    assert tables.existing(tmp_path / "no.png") == tmp_path / "no.png"
    assert tables.name_in("images\\" + unicodedata.normalize("NFD", name)) == unicodedata.normalize("NFC", name)
