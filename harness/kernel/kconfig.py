# SPDX-License-Identifier: GPL-2.0-only
"""The options of a kernel: what a .config says, and why an option did not take.

The syntax is that of Documentation/kbuild/kconfig-language.rst, as far as it
takes to explain an option; conf(1) of the tree does the configuring.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.base import paths
from harness.base.errors import BuildError, UsageError

# Deeper than any line: no help text is being read.
_NO_HELP = 1 << 30
# A .config of all options has 300 KiB.
_LARGEST = 4 << 20
# Of expressions in expressions; trees have a few.
_MAX_DEPTH = 40
# A tree has some 2000.
_MAX_FILES = 10_000


def parse(text: str) -> dict[str, str]:
    """The options of a .config or of a fragment, without CONFIG_; not set is "n".

    Args:
        text: The content of the file; where an option is there twice, the last counts.
    """
    options: dict[str, str] = {}
    for line in text.splitlines():
        if found := re.match(r"CONFIG_(\w+)=(.*)$", line.strip()):
            options[found[1]] = found[2].strip('"')
        elif found := re.match(r"# CONFIG_(\w+) is not set$", line.strip()):
            options[found[1]] = "n"
    return options


def read_options(path: Path, *, what: str = "") -> dict[str, str]:
    """The options of a file that somebody named as a .config or as a fragment.

    Args:
        path: The file.
        what: Names it in errors, such as "--config".

    Raises:
        UsageError: It cannot be read, is no text, or has no option.
    """
    label = f"{what}: " if what else ""
    data = paths.read(path, largest=_LARGEST, what=what)
    try:
        options = parse(data.decode())
    except UnicodeDecodeError:
        raise UsageError(f"{label}{path} is no text: are these options of a kernel?") from None
    if len(data) > _LARGEST:
        raise UsageError(f"{label}{path} is larger than {_LARGEST >> 20} MiB")
    if not options:
        raise UsageError(f"{label}no line of {path} is an option", hint="such as CONFIG_KEXEC=y")
    return options


def _never(name: str) -> bool:
    return False


def check(
    wanted: str,
    got: str,
    *,
    tree: Path,
    label: str = "",
    may_lack: Callable[[str], bool] = _never,
) -> None:
    """Check that every option that was asked for took.

    Args:
        wanted: The fragments.
        got: The .config that came out.
        tree: The source, to say what an option depends on.
        label: Names the kernel in the error.
        may_lack: Tells whether a tree may be without an option, by its name.

    Raises:
        BuildError: An option did not take; it is named, with its unmet dependency.
    """
    config = parse(got)
    for name, value in parse(wanted).items():
        actual = config.get(name, "n")
        if actual == value:
            continue
        known = Kconfig(tree)
        if name not in known.symbols and may_lack(name):
            continue
        reason = known.explain(name, config)
        place = f"{label}: " if label else ""
        raise BuildError(f"{place}CONFIG_{name}={value} did not take, it is {actual}: {reason}")


@dataclass
class Symbol:
    """One definition of an option in a Kconfig file."""

    file: str
    line: int
    depends: list[str]
    has_prompt: bool = False
    prompt_if: str = ""
    in_choice: bool = False


@dataclass
class Kconfig:
    """What the Kconfig files say of the options: enough to explain, not to configure.

    Args:
        tree: The source.
        arch: The folder of arch/ whose files count.
    """

    tree: Path
    arch: str = "x86"
    symbols: dict[str, list[Symbol]] = field(default_factory=dict)
    selects: dict[str, list[str]] = field(default_factory=dict)
    _open: set[Path] = field(default_factory=set)
    _files: int = 0

    def __post_init__(self) -> None:
        self._read("Kconfig", [])

    def explain(self, name: str, config: Mapping[str, str]) -> str:
        """Why an option cannot be what was asked for, in one line.

        Args:
            name: The option, without CONFIG_.
            config: The options that came out.
        """
        definitions = self.symbols.get(name)
        if not definitions:
            return "this kernel has no such option"
        reasons = [self._explain_one(name, symbol, config) for symbol in definitions]
        return "; or ".join(dict.fromkeys(reasons))

    def _explain_one(self, name: str, symbol: Symbol, config: Mapping[str, str]) -> str:
        where = f"({symbol.file}:{symbol.line})"
        terms = [term for expression in symbol.depends for term in conjuncts(expression)]
        unmet = [term for term in dict.fromkeys(terms) if not holds(term, config)]
        if unmet:
            return f"unmet dependency {' && '.join(unmet)} {where}"
        if not symbol.has_prompt:
            selectors = " ".join(self.selects.get(name, [])) or "nothing"
            return f"it cannot be set by hand, only be selected, by: {selectors} {where}"
        if symbol.prompt_if and not holds(symbol.prompt_if, config):
            return f"it can only be set if {symbol.prompt_if} {where}"
        if symbol.in_choice:
            return f"another member of its choice was taken {where}"
        return f"its dependencies are met; is the value in its range, or is it selected? {where}"

    def _read(self, name: str, outer: list[str]) -> None:
        # What a file says of another is not believed: a circle, a device, no name at all.
        try:
            path = (self.tree / name).resolve()
            text = path.read_text(errors="replace") if path.is_file() else ""
        except (OSError, RuntimeError, ValueError):
            return
        if path in self._open or self._files >= _MAX_FILES:
            return
        self._files += 1
        self._open.add(path)
        _KconfigReader(self, name, outer).read(_logical_lines(text))
        self._open.remove(path)


class _KconfigReader:
    """Reads one file; blocks (if, menu, choice) add to what is in them depends on."""

    def __init__(self, kconfig: Kconfig, name: str, outer: Sequence[str]) -> None:
        self.kconfig = kconfig
        self.name = name
        # For each open block its word and the expressions it adds.
        self.blocks: list[tuple[str, list[str]]] = [("file", list(outer))]
        self.symbol: Symbol | None = None
        self.option = ""
        # The depth of the help text that is being read, 0 before its first line.
        self.help_depth = _NO_HELP

    def read(self, lines: Iterator[tuple[int, str]]) -> None:
        for number, line in lines:
            if self._is_help(line):
                continue
            word, _, rest = line.strip().partition(" ")
            self._statement(word, rest.strip(), number)

    def _is_help(self, line: str) -> bool:
        """Help is as deep as its first line, and ends before what is less deep."""
        text = line.expandtabs()
        if not text.strip():
            return True
        depth = len(text) - len(text.lstrip())
        if self.help_depth == 0:
            self.help_depth = depth or _NO_HELP
        if depth >= self.help_depth:
            return True
        self.help_depth = _NO_HELP
        if text.strip() in ("help", "---help---"):
            self.help_depth = 0
            return True
        return text.lstrip().startswith("#")

    def _statement(self, word: str, rest: str, number: int) -> None:
        match word:
            case "config" | "menuconfig":
                self._config(rest, number)
            case "if" | "menu" | "choice":
                self.symbol = None
                self.blocks.append((word, [rest] if word == "if" else []))
            case "endif" | "endmenu" | "endchoice":
                self.symbol = None
                if len(self.blocks) > 1:
                    self.blocks.pop()
            case "comment":
                self.symbol = Symbol(self.name, number, [])
            case "source":
                self._source(rest)
            case _:
                self._property(word, rest)

    def _config(self, name: str, number: int) -> None:
        depends = [term for _, terms in self.blocks for term in terms]
        in_choice = any(word == "choice" for word, _ in self.blocks)
        self.option = name
        self.symbol = Symbol(self.name, number, depends, in_choice=in_choice)
        self.kconfig.symbols.setdefault(name, []).append(self.symbol)

    def _source(self, rest: str) -> None:
        self.symbol = None
        name = rest.strip('"').replace("$(SRCARCH)", self.kconfig.arch)
        self.kconfig._read(name, [term for _, terms in self.blocks for term in terms])

    def _property(self, word: str, rest: str) -> None:
        if word == "depends" and rest.startswith("on "):
            expression = rest.removeprefix("on ").strip()
            (self.symbol.depends if self.symbol else self.blocks[-1][1]).append(expression)
        elif self.symbol and word in ("bool", "tristate", "string", "int", "hex", "prompt"):
            self._prompt(self.symbol, rest)
        elif self.symbol and word == "select":
            target = rest.partition(" ")[0]
            self.kconfig.selects.setdefault(target, []).append(self.option)

    @staticmethod
    def _prompt(symbol: Symbol, rest: str) -> None:
        if not rest.startswith(('"', "'")):
            return
        symbol.has_prompt = True
        _, found, condition = rest[1:].partition(rest[0])
        if found and condition.strip().startswith("if "):
            symbol.prompt_if = condition.strip().removeprefix("if ").strip()


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; a backslash at the end joins the next."""
    start, held = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        start = start or number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        yield start, held + line
        start, held = 0, ""


_TOKEN = re.compile(r'\s*(&&|\|\||!=|<=|>=|=|<|>|!|\(|\)|"[^"]*"|\$\([^)]*\)|[\w./$-]+)')


def conjuncts(expression: str) -> list[str]:
    """The terms of an expression that are joined by && at its top.

    Args:
        expression: A Kconfig expression.
    """
    terms, depth, current = [], 0, ""
    for part in re.split(r"(&&|\|\||\(|\))", expression.partition(" #")[0]):
        depth += {"(": 1, ")": -1}.get(part, 0)
        if part == "||" and depth == 0:
            return [expression.strip()]
        if part == "&&" and depth == 0:
            terms.append(current.strip())
            current = ""
        else:
            current += part
    return [*terms, current.strip()]


def holds(expression: str, config: Mapping[str, str]) -> bool:
    """Whether an expression is other than "n"; what depends on the compiler counts as "y".

    Args:
        expression: A Kconfig expression.
        config: The options, without CONFIG_.
    """
    return _Expression(_TOKEN.findall(expression), config).disjunction()


class _Expression:
    """A parser that evaluates: disjunction, conjunction, negation, comparison."""

    def __init__(self, tokens: list[str], config: Mapping[str, str]) -> None:
        self.tokens = tokens
        self.config = config
        self.depth = 0

    def disjunction(self) -> bool:
        value = self._conjunction()
        while self._take("||"):
            value = self._conjunction() or value
        return value

    def _conjunction(self) -> bool:
        value = self._term()
        while self._take("&&"):
            value = self._term() and value
        return value

    def _term(self) -> bool:
        self.depth += 1
        try:
            return self._nested()
        finally:
            self.depth -= 1

    def _nested(self) -> bool:
        if self.depth > _MAX_DEPTH:
            self.tokens.clear()
            return False
        if self._take("!"):
            return not self._term()
        if self._take("("):
            value = self.disjunction()
            self._take(")")
            return value
        return self._comparison()

    def _comparison(self) -> bool:
        left = self._value()
        if self.tokens and self.tokens[0] in ("=", "!=", "<", ">", "<=", ">="):
            operator = self.tokens.pop(0)
            return _compare(left, operator, self._value())
        return left not in ("n", "", '""')

    def _value(self) -> str:
        token = self.tokens.pop(0) if self.tokens else "n"
        if token.startswith("$("):
            return "y"
        if token.startswith('"') or token in ("y", "m", "n") or token[0].isdigit():
            return token.strip('"')
        return self.config.get(token, "n")

    def _take(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            self.tokens.pop(0)
            return True
        return False


def _compare(left: str, operator: str, right: str) -> bool:
    try:
        difference = int(left, 0) - int(right, 0)
    except ValueError:
        difference = 0 if left == right else (1 if left > right else -1)
    match operator:
        case "=":
            return difference == 0
        case "!=":
            return difference != 0
        case "<":
            return difference < 0
        case ">":
            return difference > 0
        case "<=":
            return difference <= 0
    return difference >= 0
