"""What may be said of a photo: attributes, their labels, and the prompts that describe each label to CLIP.

A taxonomy is written in TOML (fashion_clip/taxonomies/ has examples) and checked here, once. Whoever holds a
`Taxonomy` may trust it: names are unique, placeholders are known, parents exist.
"""

import csv
import difflib
import hashlib
import json
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Formatter

from fashion_clip.errors import TaxonomyError, UsageError
from fashion_clip.machine import local_path

DEFAULT_TEMPLATES: tuple[str, ...] = ("a photo of {text}",)
PLACEHOLDERS = ("label", "text")
NAME_LIMIT = 200
# CLIP reads 77 tokens; English has about four characters to a token.
TEXT_LIMIT = 300
# Control, format, surrogate, line and paragraph separator: none can be seen, and some break a log line, a CSV
# row or the reading direction. The two joiners are needed to spell Persian and Indian words and in emoji.
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
JOINERS = "\u200c\u200d"


@dataclass(frozen=True)
class Label:
    """One answer: its name as stored in SQL, its prompt text, and its labels in the parent attribute.

    A label without parents may stand under any label of the parent attribute.
    """

    name: str
    text: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attribute:
    """One question, of whose labels exactly one is the answer. Among equal scores the earlier label wins."""

    name: str
    labels: tuple[Label, ...]
    templates: tuple[str, ...]
    parent: str | None = None

    def prompts(self, label: Label) -> tuple[str, ...]:
        """The templates filled in: `{label}` is the label's name, `{text}` its prompt text."""
        return tuple(template.format(label=label.name, text=label.text) for template in self.templates)


@dataclass(frozen=True)
class Taxonomy:
    """All questions that are asked of a photo."""

    name: str
    attributes: tuple[Attribute, ...]

    @cached_property
    def version(self) -> str:
        """sha256 (64 hex digits) of the content, whichever way the file spells it.

        Names, texts, parents, templates, and the order of labels and templates count. The order of attributes
        does not: it changes no score, and neither TOML nor PostgreSQL's jsonb promises to keep it.
        """
        canonical = json.dumps(self.to_document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    def linked(self, attribute: str) -> frozenset[str]:
        """The attributes of one tree of parents, that one among them: their labels are chosen together."""
        parents = {each.name: each.parent for each in self.attributes}
        root = _root(parents, attribute)
        return frozenset(name for name in parents if _root(parents, name) == root)

    def to_document(self) -> dict[str, object]:
        """The content as plain dicts, lists and strings, for JSON; `parse_taxonomy` reads it back."""
        return {"name": self.name, "attributes": {entry.name: _entry(entry) for entry in self.attributes}}


def _root(parents: Mapping[str, str | None], name: str) -> str:
    while (above := parents[name]) is not None:
        name = above
    return name


def load_taxonomy(spec: str | Path) -> Taxonomy:
    """The taxonomy that ships under the name `spec`, else the one in the TOML file at that path.

    A shipped name wins over a file of that name in the working folder: write `./products` for the file.
    Raises TaxonomyError, which names the file and the place in it.
    """
    where = f"taxonomy {str(spec)!r}"
    shipped = _shipped_files()
    try:
        source = shipped[spec] if spec in shipped else local_path(spec)
        content = source.read_bytes()
    except FileNotFoundError:
        hint = _suggestion(Path(spec).stem, shipped)
        raise TaxonomyError(
            f"{where}: there is no such file, and none ships under that name{hint}. "
            f"Give the path of a TOML file or one of: {', '.join(shipped)}"
        ) from None
    except (OSError, UsageError, ValueError) as error:
        raise TaxonomyError(f"{where} cannot be read: {error}") from error
    try:
        return parse_taxonomy(tomllib.loads(content.decode("utf-8-sig")))
    except TaxonomyError as error:
        raise TaxonomyError(f"{where}: {error}") from error
    except UnicodeDecodeError as error:
        raise TaxonomyError(f"{where} is not UTF-8 text: {error}. Save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise TaxonomyError(f"{where} is not valid TOML: {error}") from error


def parse_taxonomy(document: Mapping[str, object]) -> Taxonomy:
    """The taxonomy that parsed TOML or stored JSON describes. Raises TaxonomyError at the first fault."""
    _refuse_unknown_keys(document, ("name", "attributes"), "the file")
    if "name" not in document:
        raise TaxonomyError('the file has no name: begin it with a line such as name = "products"')
    name = _one_line(document["name"], "the taxonomy's name", NAME_LIMIT)
    entries = _table(document.get("attributes", {}), "attributes")
    if not entries:
        raise TaxonomyError("the file has no attributes: add a table such as [attributes.colour] with labels")
    attributes = tuple(_parse_attribute(key, entry) for key, entry in entries.items())
    _refuse_repeated([attribute.name for attribute in attributes], "attribute")
    _check_parents(attributes)
    return Taxonomy(name, attributes)


def attribute_from_labels(labels: str) -> Attribute:
    """The attribute `label` with the labels of a command line: "Tops, Bottoms", read as one row of CSV.

    A label that holds a comma stands in double quotes. Empty parts (a trailing comma) are skipped.
    Raises TaxonomyError where no label is left, two are alike, or quotes do not match.
    """
    example = 'write them like "Tops, Bottoms, Shoes"'
    where = f"label list {_shown(labels)}"
    try:
        rows = list(csv.reader([labels], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise TaxonomyError(f"{where} must be one line, with quotes in pairs: {example}") from error
    names = [part.strip() for row in rows for part in row if part.strip()]
    if not names:
        raise TaxonomyError(f"{where} holds no label: {example}")
    return Attribute("label", _parse_labels(names, where), DEFAULT_TEMPLATES)


def shipped_taxonomies() -> tuple[str, ...]:
    """The names of the taxonomies that ship with the package."""
    return tuple(_shipped_files())


def _shipped_files() -> dict[str, Traversable]:
    folder = resources.files("fashion_clip") / "taxonomies"
    files = {
        file.name.removesuffix(".toml"): file for file in folder.iterdir() if file.name.endswith(".toml")
    }
    return dict(sorted(files.items()))


def _entry(attribute: Attribute) -> dict[str, object]:
    labels = [
        {"name": label.name, "text": label.text} | ({"parents": list(label.parents)} if label.parents else {})
        for label in attribute.labels
    ]
    parent = {"parent": attribute.parent} if attribute.parent is not None else {}
    return parent | {"templates": list(attribute.templates), "labels": labels}


def _parse_attribute(key: str, value: object) -> Attribute:
    name = _one_line(key, "the name of an attribute", NAME_LIMIT)
    where = f"attribute {name!r}"
    entry = _table(value, where)
    _refuse_unknown_keys(entry, ("labels", "templates", "parent"), where)
    labels = _parse_labels(_list(entry.get("labels", []), f"{where}: labels"), where)
    templates = DEFAULT_TEMPLATES
    if "templates" in entry:
        given = _list(entry["templates"], f"{where}: templates")
        templates = tuple(_parse_template(item, where) for item in given)
    if not templates:
        raise TaxonomyError(f'{where}: templates is empty: leave it out for "{DEFAULT_TEMPLATES[0]}"')
    _refuse_repeated(templates, f"{where}: template")
    parent = _one_line(entry["parent"], f"{where}: parent", NAME_LIMIT) if "parent" in entry else None
    return Attribute(name, labels, templates, parent)


def _parse_labels(items: Sequence[object], where: str) -> tuple[Label, ...]:
    labels = tuple(_parse_label(item, f"{where}, label {number}") for number, item in enumerate(items, 1))
    if not labels:
        raise TaxonomyError(f'{where} has no labels: add labels = ["Tops", "Bottoms"]')
    _refuse_repeated([label.name for label in labels], f"{where}: label")
    return labels


def _parse_label(item: object, where: str) -> Label:
    if isinstance(item, str):
        name = _one_line(item, where, NAME_LIMIT)
        return Label(name, name)
    if not isinstance(item, Mapping):
        raise TaxonomyError(f'{where} must be "Name" or {{name = "Name", text = "..."}}, not {_shown(item)}')
    _refuse_unknown_keys(item, ("name", "text", "parents"), where)
    if "name" not in item:
        raise TaxonomyError(f'{where} has no name: add name = "..." to {_shown(item)}')
    name = _one_line(item["name"], f"{where}: name", NAME_LIMIT)
    where = f"{where} ({name!r})"
    text = _one_line(item["text"], f"{where}: text", TEXT_LIMIT) if "text" in item else name
    given = _list(item.get("parents", []), f"{where}: parents")
    parents = tuple(_one_line(parent, f"{where}: a parent", NAME_LIMIT) for parent in given)
    _refuse_repeated(parents, f"{where}: parent")
    return Label(name, text, parents)


def _parse_template(item: object, where: str) -> str:
    template = _one_line(item, f"{where}: a template", TEXT_LIMIT)
    where = f"{where}: template {_shown(template)}"
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise TaxonomyError(f"{where}: {error}. Write {{{{ or }}}} where a brace itself is meant") from error
    for _, field, form, conversion in parts:
        if field not in PLACEHOLDERS or form or conversion:
            raise TaxonomyError(f"{where}: the placeholder {field!r} must be exactly {{label}} or {{text}}")
    if not parts:
        raise TaxonomyError(f"{where} has neither {{label}} nor {{text}}: all its prompts would be the same")
    return template


def _check_parents(attributes: Iterable[Attribute]) -> None:
    by_name = {attribute.name: attribute for attribute in attributes}
    for attribute in by_name.values():
        where = f"attribute {attribute.name!r}"
        named = [(label, parent) for label in attribute.labels for parent in label.parents]
        if attribute.parent is None:
            if named:
                raise TaxonomyError(
                    f"{where}, label {named[0][0].name!r} names parents, but the attribute has no parent: "
                    'add parent = "..." to the attribute, or remove parents'
                )
            continue
        if attribute.parent not in by_name:
            hint = _suggestion(attribute.parent, by_name)
            raise TaxonomyError(
                f"{where}: its parent {attribute.parent!r} is no attribute of this file{hint}"
            )
        if not named:
            raise TaxonomyError(
                f"{where} has the parent {attribute.parent!r}, but no label names parents: "
                'add parents = ["..."] to the labels, or remove parent'
            )
        known = {label.name for label in by_name[attribute.parent].labels}
        for label, parent in named:
            if parent not in known:
                raise TaxonomyError(
                    f"{where}, label {label.name!r}: its parent {parent!r} is no label "
                    f"of attribute {attribute.parent!r}{_suggestion(parent, known)}"
                )
    for attribute in by_name.values():
        _refuse_cycle(attribute, by_name)


def _refuse_cycle(start: Attribute, by_name: Mapping[str, Attribute]) -> None:
    path = [start.name]
    while (parent := by_name[path[-1]].parent) is not None:
        if parent in path:
            circle = " -> ".join(repr(name) for name in [*path, parent])
            raise TaxonomyError(f"the parents of attributes go round in a circle: {circle}. Remove one")
        path.append(parent)


def _refuse_unknown_keys(table: Mapping[str, object], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            hint = _suggestion(key, known)
            raise TaxonomyError(f"{where}: unknown key {_shown(key)}{hint}. Known keys: {', '.join(known)}")


def _refuse_repeated(names: Sequence[str], what: str) -> None:
    """Names that differ only in case, blanks or Unicode spelling count as repeated: people read one name."""
    seen: dict[str, str] = {}
    for name in names:
        folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        if folded in seen:
            raise TaxonomyError(f"{what} {name!r} repeats {seen[folded]!r}: remove or rename one")
        seen[folded] = name


def _one_line(value: object, what: str, limit: int) -> str:
    if not isinstance(value, str):
        raise TaxonomyError(f"{what} must be a string, not {_shown(value)}")
    if not value.strip():
        raise TaxonomyError(f"{what} is empty: fill it in or remove it")
    if value != value.strip():
        raise TaxonomyError(
            f"{what} begins or ends with blanks: write {_shown(value.strip())}, not {_shown(value)}"
        )
    if len(value) > limit:
        raise TaxonomyError(
            f"{what} has {len(value)} characters, at most {limit} are allowed: {_shown(value)}"
        )
    for character in value:
        if unicodedata.category(character) in INVISIBLE and character not in JOINERS:
            raise TaxonomyError(
                f"{what} holds the invisible character U+{ord(character):04X}: remove it from {_shown(value)}"
            )
    return value


def _table(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TaxonomyError(f"{what} must be a table of keys, not {_shown(value)}")
    return value


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise TaxonomyError(f'{what} must be a list such as ["...", "..."], not {_shown(value)}')
    return value


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
