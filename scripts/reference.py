"""Write the generated pages of the docs: commands, settings, and the contributions of the manifest.

Usage: python scripts/reference.py [--check]
With --check nothing is written; exit code 1 where a page is not what the program says.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from napari_unet_tumour import cli
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.settings import FinetuneSettings, SegmentSettings, TrainSettings, options_of

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "src" / "napari_unet_tumour" / "napari.yaml"
NOTE = "<!-- Made by scripts/reference.py: do not edit. -->\n\n"
# What napari calls its menus.
MENUS = {
    "napari/layers/segment": "Layers > Segment",
    "napari/layers/annotate": "Layers > Annotate",
    "napari/layers/measure": "Layers > Measure",
    "napari/layers/transform": "Layers > Transform",
}
FORMS = (
    ("Segment", "`segment`, `evaluate`, and the Segment widget", SegmentSettings),
    ("Fine-tune", "`finetune`, and the Correct and fine-tune widget", FinetuneSettings),
    ("Train", "`train`, and settings files", TrainSettings),
)


def pages() -> dict[str, str]:
    """Return the text of every generated page by its name in docs/."""
    return {"commands.md": commands(), "settings.md": settings(), "napari.md": napari()}


def commands() -> str:
    """Return the help of every command; the settings are on a separate page."""
    os.environ["COLUMNS"] = "100"
    lines = [
        "# Commands\n\n" + NOTE,
        "`napari-unet-tumour COMMAND --help` says the same. Exit codes: 0 done, 1 a one-line error on standard error, "
        "2 wrong usage, 130 interrupted.\n",
    ]
    for name, parser in subparsers(cli.parser()):
        text = " ".join((parser.description or "").split())
        lines.append(f"\n## {name}\n\n{text + chr(10) * 2 if text else ''}{table(*rows(parser))}")
        lines += [f"\n### {name} {verb}\n\n{table(*rows(below))}" for verb, below in subparsers(parser)]
    return "".join(lines)


def subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield (name, parser) of the commands of a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def rows(parser: argparse.ArgumentParser) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of a table of a parser's arguments."""
    given = {flag for action in parser._actions for flag in action.option_strings}
    forms = [{f"--{name.replace('_', '-')}" for name, *_ in options_of(kind)} for *_, kind in FORMS]
    known = next((flags for flags in forms if flags <= given), set())
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        if isinstance(action, argparse._SubParsersAction):
            found += [(f"`{one.dest}`", str(one.help)) for one in action._choices_actions]
        elif not known & set(action.option_strings):
            found.append((f"`{word(action)}`", (action.help or "") % {"default": action.default, "prog": ""}))
    if known:
        found.append(("settings", "see [settings](settings.md)"))
    return ("argument", "meaning"), found


def word(action: argparse.Action) -> str:
    """Return an argument as it is typed."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest)
    value = " ".join(value) if isinstance(value, tuple) else str(value)
    if not action.option_strings:
        return value
    return action.option_strings[0] + ("" if action.nargs == 0 else f" {value}")


def settings() -> str:
    """Return every setting with its flag, default, help text and caption in the widget."""
    text = (
        "# Settings\n\n"
        + NOTE
        + "Widgets, flags, settings files and this page come from one definition: `settings.py`.\n"
    )
    by_model = ModelSpec("", "").defaults
    for title, where, kind in FORMS:
        found = []
        for name, hint, default, option in options_of(kind):
            flag = f"--{name.replace('_', '-')}"
            if hint is bool:
                flag += f", --no-{name.replace('_', '-')}"
            shown = "on" if default is True else "off" if default is False else "none" if default == "" else default
            of_model = kind is SegmentSettings and name in by_model
            choices = f" One of {', '.join(option.choices)}." if option.choices else ""
            caption = option.label or name.replace("_", " ")
            found.append((caption, f"`{flag}`", "as the model says" if of_model else str(shown), option.text + choices))
        text += f"\n## {title}\n\nUsed by {where}.\n\n{table(('caption', 'flag', 'default', 'meaning'), found)}"
    return text


def napari() -> str:
    """Return the contributions of the manifest to napari."""
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    given = manifest["contributions"]
    titles = {one["id"]: one["title"] for one in given["commands"]}
    menus = [(f"**{MENUS[at]} > {titles[one['command']]}**",) for at, some in given["menus"].items() for one in some]
    menus += [(f"**Plugins > {manifest['display_name']} > {one['display_name']}**",) for one in given["widgets"]]
    samples = [
        (f"**File > Open Sample > {manifest['display_name']} > {one['display_name']}**",)
        for one in given["sample_data"]
    ]
    patterns = [one for reader in given["readers"] for one in reader["filename_patterns"]]
    named = ", ".join(f"`{one}`" for one in patterns if "[" not in one)
    writers = [
        (
            one["display_name"],
            ", ".join(one["layer_types"]),
            ", ".join(f"`{end}`" for end in one["filename_extensions"]),
        )
        for one in given["writers"]
    ]
    return (
        "# Menus, widgets and file types in napari\n\n" + NOTE + table(("menu",), [*menus, *samples])
        + f"\n## Opened\n\n{named}, folders, and files without suffix or with a number at the end (DICOM).\n"
        + "\n## Saved\n\n" + table(("file type", "layers", "suffix"), writers)
    )  # fmt: skip


def table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *body]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main() -> int:
    wrong = []
    for name, text in pages().items():
        path = ROOT / "docs" / name
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            wrong.append(name)
    if wrong:
        print(f"not up to date: {', '.join(wrong)}: run python scripts/reference.py")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
