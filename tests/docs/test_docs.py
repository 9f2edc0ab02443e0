"""The docs say what the program says: commands, menus, files, captions; and the site builds without a warning."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from napari_unet_tumour import cli

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src" / "napari_unet_tumour"
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("benchmarks/*.md")])
GENERATED = runpy.run_path(str(REPOSITORY / "scripts" / "reference.py"))
# Words of the first version's private language.
PRIVATE = (
    r"lone pieces?", r"mirrored copy", r"\bshelf\b", r"\btwins?\b", r"\bgrafts?\b", r"shipped before", r"\bvouch",
    r"\bhealed\b(?!=)", r"\blest\b", r"hangs? together", r"\ba (bar|row|folder|card|label|round) a (slice|scan|round)",
)  # fmt: skip


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def command_lines(text: str) -> list[str]:
    """Return the command lines of this program in code blocks and in code within sentences."""
    blocks = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, re.M | re.S)).replace("\\\n", " ")
    lines = [line.strip() for line in blocks.splitlines()] + re.findall(r"`(napari-unet-tumour [^`\n]+)`", text)
    return [line for line in lines if line.startswith("napari-unet-tumour ")]


def menus() -> set[str]:
    return set(re.findall(r"\*\*([^*]+ > [^*]+)\*\*", GENERATED["napari"]()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_are_what_the_parser_takes(page):
    for line in command_lines(text_of(page)):
        words = shlex.split(line, comments=True)[1:]
        if words[0] in ("COMMAND", "--version") or words == ["finetune"]:  # the name of the command alone
            continue
        try:
            cli.parser().parse_args([word.removesuffix("...") for word in words if word != "..."])
        except SystemExit:
            pytest.fail(f"{page.name}: {line}")


def test_the_finder_of_command_lines_finds_them():
    text = "`napari-unet-tumour info`\n\n```\nnapari-unet-tumour a \\\n    --b\n$ other\n```\n"
    assert command_lines(text) == ["napari-unet-tumour a      --b", "napari-unet-tumour info"]
    assert sum(len(command_lines(text_of(page))) for page in PAGES) > 25


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_menus_are_those_of_the_manifest(page):
    """Menus of napari alone (File > Open Folder...) end in three dots."""
    named = re.findall(r"\*\*((?:Layers|Plugins|File) > [^*]+)\*\*", text_of(page).replace("\n", " "))
    assert [one for one in named if one not in menus() and not one.endswith("...")] == []
    bare = re.findall(r"(?<!\*)\b(?:Layers|Plugins) > [A-Z]", text_of(page))
    assert bare == [], "menus are written in bold, so that they can be compared"


def test_tutorial_and_readme_name_every_menu_of_the_layers():
    for page in ("README.md", "docs/napari.md"):
        for name in ("Segment", "Annotate", "Measure"):
            assert re.search(rf"\*\*Layers > {name} > ", text_of(REPOSITORY / page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_files_that_are_named_exist(page):
    for name in re.findall(r"`([\w/]+\.py)`", text_of(page)):
        places = [SOURCE / name, REPOSITORY / name, REPOSITORY / "benchmarks" / name, REPOSITORY / "scripts" / name]
        assert any(one.is_file() for one in places), f"{page.name} names {name}"


@pytest.mark.parametrize("walk", ["segment", "correct", "train"])
def test_every_walk_names_its_files(walk):
    text = text_of(REPOSITORY / "docs" / "architecture.md")
    part = re.search(rf"## Walk \d: {walk}\n(.*?)\n## ", text, re.S)
    assert part is not None
    assert len(re.findall(r"`[\w/]+\.py`", part[1])) >= 10


def test_the_routes_name_functions_that_exist():
    text = text_of(REPOSITORY / "docs" / "architecture.md")
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (`.*) \|$", text, re.M)
    assert len(rows) >= 15
    for file, functions in rows:
        code = text_of(SOURCE / file)
        missing = [name for name in re.findall(r"`(\w+)`", functions) if f"def {name}(" not in code]
        assert not missing, f"{file} has no {missing}"


def test_the_picture_names_every_package():
    picture = re.search(r"```\n(.*?)```", text_of(REPOSITORY / "docs" / "architecture.md"), re.S)
    assert picture is not None
    for folder in (one for one in SOURCE.iterdir() if (one / "__init__.py").is_file()):
        assert f"{folder.name}/" in picture[1]


@pytest.mark.parametrize("name", sorted(GENERATED["pages"]()))
def test_generated_pages_are_what_the_program_says(name):
    assert text_of(REPOSITORY / "docs" / name) == GENERATED["pages"]()[name], "run python scripts/reference.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_the_fields_words(page):
    found = [word for pattern in PRIVATE for word in re.findall(pattern, text_of(page), re.I)]
    assert found == [], page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)#]+)", text_of(page)):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_page_is_in_the_navigation():
    config = yaml.safe_load(text_of(REPOSITORY / "mkdocs.yml"))
    named = {page for part in config["nav"] for one in part.values() for page in _pages(one)}
    assert named == {str(page.relative_to(REPOSITORY / "docs")) for page in REPOSITORY.glob("docs/**/*.md")}


def _pages(part) -> list[str]:
    return [part] if isinstance(part, str) else [page for one in part for page in one.values()]


def test_the_site_builds_without_a_warning(tmp_path):
    if find_spec("mkdocs") is None or find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install 'napari-unet-tumour[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=150,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "tutorial" / "index.html").is_file()
