# SPDX-License-Identifier: GPL-2.0-only
"""The hypervisor: libvirt in this process, and the folders that machines live in."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import libvirt

from harness.base import limits
from harness.base.cache import home
from harness.base.closing import Closing
from harness.base.errors import PrerequisiteError, SpecError
from harness.vm import guard, orphans
from harness.vm.choices import EMBEDDED
from harness.vm.domain import Domain
from harness.vm.spec import DomainSpec, environment

_PREFIX = "kspawn-"
# A machine that we ended ourselves has files that libvirt is still to remove.
_CLOSE_SECONDS = 2.0
_QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
user = "+{uid}"
group = "+{gid}"
remember_owner = 0
namespaces = []
cgroup_controllers = []
"""


# An absolute path that is short, and nothing but a path wherever it stands.
_PLAIN = re.compile(r"/[A-Za-z0-9._/-]{0,39}")


def runtime_base() -> Path:
    """Where runtime folders are made.

    Not under KSPAWN_HOME: a socket's path has at most 107 bytes. The path goes into a
    URI and into commands of QEMU's monitor, where a space ends it.
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    if _PLAIN.fullmatch(base) and os.access(base, os.W_OK):
        return Path(base)
    return Path("/tmp")


class _EventLoop:
    """libvirt's default event loop, in a thread; one a process."""

    _started = False
    _lock = threading.Lock()

    @classmethod
    def start(cls) -> None:
        """Start it, once; must come before the first connection."""
        with cls._lock:
            if cls._started:
                return
            libvirt.registerErrorHandler(lambda _ctx, _error: None, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=cls._run, name="libvirt-events", daemon=True).start()
            cls._started = True

    @staticmethod
    def _run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


class Hypervisor(Closing):
    """A connection to libvirt, and the folders that its machines live in.

    The embedded driver (`qemu:///embed`) needs no daemon, has a root folder of
    its own, and takes one process a root. Any other URI works as well.

    Args:
        uri: The connection URI; "embed" for the embedded driver.

    Raises:
        PrerequisiteError: libvirt or its QEMU driver is not there.
    """

    def __init__(self, *, uri: str = EMBEDDED) -> None:
        self.uri = uri
        base = runtime_base()
        guard.sweep(base, prefix=_PREFIX)
        limits.check()
        self.runtime, self.scratch, self._lock = guard.make_runtime(
            base, prefix=_PREFIX, scratches=home()
        )
        self._guard = guard.Guard(runtime=self.runtime, scratch=self.scratch)
        self._domains: dict[str, Domain] = {}
        # Those that libvirt has not seen the end of.
        self._known: set[str] = set()
        self._ended = threading.Condition()
        try:
            self.connection = self._open()
            # One for all domains: libvirt takes a callback only once.
            self.connection.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None
            )
            self.connection.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._rebooted, None
            )
            self.connection.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, self._io_error, None
            )
        except BaseException:
            self._release()
            raise

    def _rebooted(self, _conn: object, domain: libvirt.virDomain, _opaque: object) -> None:
        known = self._domains.get(domain.name())
        if known is not None:
            known.note_reset()

    def _lifecycle(
        self, _conn: object, domain: libvirt.virDomain, event: int, detail: int, _opaque: object
    ) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            with self._ended:
                self._known.discard(domain.name())
                self._ended.notify_all()
        known = self._domains.get(domain.name())
        if known is None:
            return
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            known.note_stop(detail)
        elif event == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN:
            known.note_shutdown(by_host=detail == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST)

    def _io_error(
        self,
        _conn: object,
        domain: libvirt.virDomain,
        path: str,
        _alias: str,
        action: int,
        reason: str,
        _opaque: object,
    ) -> None:
        known = self._domains.get(domain.name())
        if known is not None and action == libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE:
            known.io_error = f"{path}: {'no space left' if reason == 'enospc' else reason}"

    def _open(self) -> libvirt.virConnect:
        _EventLoop.start()
        try:
            return libvirt.open(self._embedded_uri() if self.uri == EMBEDDED else self.uri)
        except libvirt.libvirtError as exc:
            raise PrerequisiteError(
                f"libvirt cannot open {self.uri}: {exc}", hint="see ./kspawn doctor"
            ) from exc

    def _embedded_uri(self) -> str:
        orphans.see_to_them()
        root = self.runtime / "root"
        (root / "etc").mkdir(parents=True)
        (root / "etc" / "qemu.conf").write_text(_QEMU_CONF.format(uid=os.getuid(), gid=os.getgid()))
        # The first open probes QEMU for seconds; what it finds is kept.
        capabilities = home() / "libvirt-cache"
        capabilities.mkdir(parents=True, exist_ok=True)
        (root / "cache").symlink_to(capabilities)
        return f"qemu:///embed?root={root}"

    @property
    def versions(self) -> str:
        """The versions of QEMU and of libvirt, by which a kept state is known."""
        return f"{self.connection.getVersion()} {self.connection.getLibVersion()}"

    @property
    def embedded(self) -> bool:
        """Whether the driver runs in this process."""
        return self.uri == EMBEDDED

    def start(self, spec: DomainSpec) -> Domain:
        """Start a machine, connected to its sockets from the first byte.

        Args:
            spec: What it looks like.

        Raises:
            LostVMError: QEMU did not start.
        """
        flags = libvirt.VIR_DOMAIN_START_PAUSED
        if not self.embedded:
            flags |= libvirt.VIR_DOMAIN_START_AUTODESTROY
        self._guard.on_duty()
        domain = Domain(self, spec)
        self._domains[spec.name] = domain
        self._known.add(spec.name)
        try:
            domain.start(flags)
        except BaseException:
            domain.destroy()
            self._known.discard(spec.name)
            raise
        return domain

    def check_cpu(self, model: str, features: Iterable[str]) -> None:
        """Check the names of a CPU and of its features.

        Args:
            model: The CPU; "max" is all that the accelerator has.
            features: What is switched on or off.

        Raises:
            SpecError: libvirt does not know one; the line begins with the field.
        """
        names = self.connection.getCPUModelNames("x86_64")
        if model != "max" and model not in names:
            near = difflib.get_close_matches(model, ("max", *names), n=1)
            raise SpecError(
                f"cpu: there is no CPU model {model!r}",
                hint=f"is it {near[0]!r}?" if near else "`virsh cpu-models x86_64` lists them",
            )
        for name in features:
            # The model plays no part: only a description is compared.
            cpu = environment.get_template("cpu.xml.j2").render(feature=name)
            try:
                self.connection.compareCPU(cpu)
            except libvirt.libvirtError as exc:
                if "nknown CPU feature" in str(exc):
                    raise SpecError(f"cpu_features.{name}: unknown CPU feature") from None
                # It does not say: then starting the machine tells.

    def forget(self, domain: Domain) -> None:
        """No more news of a domain is wanted."""
        self._domains.pop(domain.spec.name, None)

    def close(self) -> None:
        """Close the connection and remove all that was left."""
        with self._ended:
            self._ended.wait_for(lambda: not self._known, timeout=_CLOSE_SECONDS)
        with contextlib.suppress(libvirt.libvirtError):
            self.connection.close()
        self._release()

    def _release(self) -> None:
        self._guard.close()
        os.close(self._lock)
