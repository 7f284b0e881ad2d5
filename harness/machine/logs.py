# SPDX-License-Identifier: GPL-2.0-only
"""The logs of a machine's kernels, one for each kernel and life of QEMU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.base.errors import KernelCrashError
from harness.logs.complaints import tolerate
from harness.logs.splats import SplatScanner, mark_expected
from harness.record.result import Complaint, LogFile, Splat

# Lines from which on it can be told whether a log is a kernel's.
_ENOUGH = 20


@dataclass
class KernelLog:
    """The log of one kernel in one life of QEMU."""

    path: Path
    kernel: str
    boot: int
    scanner: SplatScanner = field(init=False)
    position: int = 0
    splats: list[Splat] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scanner = SplatScanner(log_name=self.path.name)

    def scan(self, *, last: bool = False) -> None:
        """Read what has come since, and collect the splats in it."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.position)
                data = file.read()
            self.position += len(data)
            self.splats += self.scanner.feed(data)
        if last:
            self.splats += self.scanner.finish()

    @property
    def complaints(self) -> list[Complaint]:
        """Its complaints so far."""
        return self.scanner.complaints

    @property
    def hardly_kernel(self) -> bool:
        """Whether much was written, of which hardly a line looks like a kernel's."""
        return self.scanner.reader.lines >= _ENOUGH and self.scanner.reader.hardly_kernel

    @property
    def written(self) -> bool:
        """Whether its kernel has said something."""
        return self.path.exists() and self.path.stat().st_size > 0

    def tail(self, lines: int = 25) -> str:
        """The last lines of the log."""
        if not self.path.exists():
            return ""
        text = self.path.read_bytes()[-16384:].decode(errors="replace")
        return "\n".join(text.replace("\r", "").splitlines()[-lines:])

    def excerpt(self, splat: Splat, lines: int = 60) -> str:
        """The log from a splat on, with a few lines before it."""
        text = self.path.read_bytes().decode(errors="replace")
        first = max(0, splat.log_line - 4)
        return "\n".join(text.replace("\r", "").splitlines()[first : first + lines])


class Logs:
    """The logs of all kernels of a machine, and the splats and complaints in them.

    Args:
        folder: Where they lie.
        expected: Patterns of splats and complaints that do not fail the run; may grow later.
        accel: What runs the kernels: "kvm" or "tcg".
    """

    def __init__(self, folder: Path, *, expected: list[str], accel: str) -> None:
        self.folder = folder
        self.accel = accel
        self.expected = expected
        self.all: list[KernelLog] = []

    def add(self, boot: int, names: Sequence[str]) -> list[Path]:
        """Begin the logs of a boot.

        Args:
            boot: Its number.
            names: The kernels that log to the first and to the third serial port.

        Returns:
            The paths of their files.
        """
        paths = [self.folder / f"{boot}-{name}.log" for name in names]
        for path, name in zip(paths, names, strict=True):
            self.all.append(KernelLog(path=path, kernel=name.partition("-")[0], boot=boot))
        return paths

    def drop(self, boot: int) -> None:
        """Forget the logs of a boot that did not begin."""
        for log in self.of_boot(boot):
            log.path.unlink(missing_ok=True)
            self.all.remove(log)

    def of_boot(self, boot: int) -> list[KernelLog]:
        """The logs of one boot."""
        return [log for log in self.all if log.boot == boot]

    def scan(self, boot: int, *, last: bool = False) -> None:
        """Read what has come since in the logs of a boot."""
        for log in self.of_boot(boot):
            log.scan(last=last)
            mark_expected(log.splats, self.expected)
            mark_expected(log.complaints, self.expected)
            tolerate(log.complaints, accelerator=self.accel)

    @property
    def splats(self) -> list[Splat]:
        """All splats so far, in the order of the logs."""
        return [splat for log in self.all for splat in log.splats]

    @property
    def complaints(self) -> list[Complaint]:
        """All complaints so far, in the order of the logs."""
        return [complaint for log in self.all for complaint in log.complaints]

    def unexpected(self, boot: int | None = None) -> Splat | None:
        """The first splat that nobody expects, of one boot or of all."""
        logs = self.all if boot is None else self.of_boot(boot)
        return next((splat for log in logs for splat in log.splats if not splat.expected), None)

    @property
    def splat_open(self) -> bool:
        """Whether a splat has begun and not ended yet."""
        return any(log.scanner.open for log in self.all)

    def tail(self, boot: int) -> str:
        """The last lines of the kernel of a boot that wrote last."""
        written = [log for log in self.of_boot(boot) if log.written]
        return max(written, key=lambda log: log.path.stat().st_mtime).tail() if written else ""

    def crash(self, splat: Splat) -> KernelCrashError:
        """The error that a splat is, with its part of the log."""
        where = f" in {splat.function}" if splat.function else ""
        logs = [log for log in self.all if log.path.name == splat.log]
        return KernelCrashError(
            f"{splat.kind}{where}: {splat.title} ({splat.log}:{splat.log_line})",
            log_tail=logs[0].excerpt(splat) if logs else "",
            splat=splat,
        )

    def files(self, boots: int) -> list[LogFile]:
        """The logs that were left, those that a kernel wrote to, and the status lines.

        Args:
            boots: How many boots there were.
        """
        files = [
            LogFile(path=log.path.name, kernel=log.kernel, boot=log.boot)
            for log in self.all
            if log.written
        ]
        for number in range(1, boots + 1):
            if (self.folder / f"{number}-status.log").exists():
                files.append(LogFile(path=f"{number}-status.log", kernel="status", boot=number))
        return sorted(files, key=lambda log: (log.boot, log.path))
