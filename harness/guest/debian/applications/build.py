# SPDX-License-Identifier: GPL-2.0-only
"""`make -j2` of a small C project, whose objects must be those of a build elsewhere."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from applications.application import Application, run

PROJECT = Path("/usr/lib/kspawn/project")
"""The sources, and the build that was made with the image."""

# With a pause before each: where a compiler takes no time at all it is to be under way too.
_UNITS = 16
_MAKEFILE = """\
objects := $(patsubst %.c,%.o,$(sort $(wildcard unit*.c)))
program: main.o $(objects)
\tgcc -o $@ $^
%.o: %.c
\tsleep $(PAUSE)
\tgcc -O1 -c -o $@ $<
"""


class Build(Application):
    """It must be under way before, and end as if nothing had been."""

    name = "build"
    units = ("kspawn-build.service",)
    least = 1

    def arm(self) -> None:
        """Start it with clean sources."""
        shutil.copytree(PROJECT, self.folder, ignore=shutil.ignore_patterns("*.o", "program"))
        super().arm()

    def progress(self) -> int:
        """Objects that there are; some of the compiler's may be unfinished."""
        return len(list(self.folder.glob("*.o")))

    def note(self) -> dict[str, Any]:
        """As of all, and of how many objects."""
        return {**super().note(), "of": _UNITS + 1}

    def goes_on(self, noted: Mapping[str, Any]) -> list[str]:
        """Wait for its end."""
        if not 0 < noted["progress"] < noted["of"]:
            return [f"{noted['progress']} of {noted['of']} objects before: it was not under way"]
        wrong = super().goes_on({**noted, "progress": noted["of"] - self.least})
        # It ends by itself: `stop` would be a signal.
        said = run("systemctl", "show", "-P", "Result", "--", *self.units).strip()
        return wrong + ([f"make: {said}"] if said != "success" else [])

    def settle(self) -> None:
        """Wait until the program is linked."""
        self.wait(_UNITS + 1)
        run(
            "sh",
            "-c",
            f"for i in $(seq 300); do systemctl -q is-active {self.units[0]} || "
            "exit 0; sleep 0.2; done; exit 1",
        )

    def judge(self) -> list[str]:
        """Compare all that was made with what it must be."""
        names = sorted(path.name for path in PROJECT.iterdir())
        wrong = [f"{name} is not there" for name in names if not (self.folder / name).exists()]
        wrong += [
            f"{name} has another content"
            for name in names
            if name not in str(wrong) and _sum(self.folder / name) != _sum(PROJECT / name)
        ]
        if not wrong and run(str(self.folder / "program")) != run(str(PROJECT / "program")):
            wrong.append("the program says something else")
        return wrong

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """A byte of an object; an object less."""

        def byte() -> None:
            path = self.folder / "unit07.o"
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)

        return {"content": byte, "lost": (self.folder / "unit11.o").unlink}


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_project() -> None:
    """Make the sources, and the build to compare with; called as the image is made."""
    PROJECT.mkdir(parents=True)
    (PROJECT / "Makefile").write_text(_MAKEFILE)
    names = [f"unit{number:02}" for number in range(_UNITS)]
    for number, name in enumerate(names):
        (PROJECT / f"{name}.c").write_text(_unit(name, number))
    declared = "".join(f"unsigned long {name}(unsigned long);\n" for name in names)
    calls = "".join(f"\tvalue = {name}(value);\n" for name in names)
    (PROJECT / "main.c").write_text(
        f"#include <stdio.h>\n{declared}int main(void)\n{{\n\tunsigned long value = 1;\n{calls}"
        '\tprintf("%lx\\n", value);\n\treturn 0;\n}\n'
    )
    run("make", "-C", str(PROJECT), "-j2", "PAUSE=0")


def _unit(name: str, number: int) -> str:
    """A source that keeps the compiler busy for a while."""
    functions = "".join(
        f"static unsigned long f{i}(unsigned long v)\n{{\n\tunsigned long t[64];\n"
        f"\tfor (int i = 0; i < 64; i++)\n\t\tt[i] = v * {number + i + 3} + i;\n"
        f"\tfor (int i = 1; i < 64; i++)\n\t\tt[i] ^= t[i - 1] >> {i % 13 + 1};\n"
        f"\tswitch (v % 5) {{\n\tcase 0: return t[63];\n\tcase 1: return t[7] + t[9];\n"
        f"\tcase 2: return t[v & 63];\n\tdefault: return v + {i};\n\t}}\n}}\n"
        for i in range(4)
    )
    calls = "".join(f"\tv = f{i}(v) + {i};\n" for i in range(4))
    headers = "".join(f"#include <{of}.h>\n" for of in ("stdio", "stdlib", "string", "math"))
    whole = f"unsigned long {name}(unsigned long v)\n{{\n{calls}\treturn v;\n}}\n"
    return f"{headers}{functions}{whole}"
