# SPDX-License-Identifier: GPL-2.0-only
"""YAML files of the checkout and of the user: read, and their mistakes in a line each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from harness.base import data, paths, yamltext
from harness.base.errors import SpecError, UsageError
from harness.base.text import cut

ROOT = data.root()

Role = Literal["normal", "spawned"]
"""Which of the two builds of a kernel."""


def shown(path: Path) -> str:
    """A path as a person reads it: from the checkout or from here, where it can be."""
    resolved = path.resolve()
    for base in (ROOT, Path.cwd()):
        if resolved.is_relative_to(base):
            return str(resolved.relative_to(base))
    return str(path)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that is a mapping.

    Raises:
        SpecError: It cannot be read, or is something else.
    """
    try:
        return yamltext.parse(paths.read(path, largest=yamltext.LARGEST))
    except SpecError as exc:
        raise SpecError(f"{shown(path)}: {exc.message}") from None
    except UsageError as exc:
        raise SpecError(exc.message) from None


# What is said of keys that are not known, or are no words.
_KEYS = ("extra_forbidden", "invalid_key")


def first_error(exc: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong with a file, in one line with its field.

    Args:
        exc: What reading it raised.
        model: What it was read as.
    """
    # What a key that is not known was meant for is missing: the typo is the one to name.
    errors = sorted(exc.errors(include_url=False), key=lambda e: e["type"] not in _KEYS)
    error = errors[0]
    place = _place(error["loc"])
    message = _message(error, model)
    return f"{place}: {message}" if place else message


def _place(location: tuple[int | str, ...]) -> str:
    parts = [cut(str(part), 60) for part in location]
    # pydantic puts the kind of a source between its number and what is in it.
    if parts[:1] == ["source"] and len(parts) > 3:
        del parts[2]
    # One source need not be a list.
    if parts[:2] == ["source", "0"]:
        del parts[1]
    return ".".join(parts)


def _message(error: Any, model: type[BaseModel]) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            message = unknown_key(str(error["loc"][-1]), _known(model, error["loc"][:-1]))
        case "missing":
            message = "missing"
        case "value_error":
            message = str(context["error"])
        case "union_tag_not_found":
            message = "kind: missing"
        case "union_tag_invalid":
            message = f"kind: {context['tag']!r} is none of {context['expected_tags']}"
        case _:
            text = str(error["msg"])
            message = f"{text[0].lower()}{text[1:]}, not {cut(repr(error['input']))}"
    return cut(message, 400)


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key that is not known: what may have been meant, or all that there is.

    Args:
        key: As it is written in the file.
        known: Those that may be there.
    """
    names = list(known)
    if near := difflib.get_close_matches(key, names, n=1):
        return f"unknown key, is it {near[0]!r}? (known are: {', '.join(names)})"
    return "unknown key" + (f" (known are: {', '.join(names)})" if names else "")


def _known(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that may be at a place of a file, by the JSON schema of its model."""
    schema = model.model_json_schema()
    node = schema
    for part in place:
        if mapping := node.get("discriminator", {}).get("mapping"):
            node = {"$ref": mapping.get(part, "")}
        else:
            other = node.get("items") or node.get("additionalProperties") or {}
            node = node.get("properties", {}).get(part, other)
        # What may be left out is this or nothing.
        node = next((one for one in node.get("anyOf", ()) if "$ref" in one), node)
        if reference := node.get("$ref"):
            node = schema["$defs"].get(reference.rpartition("/")[2], {})
    return list(node.get("properties", ()))
