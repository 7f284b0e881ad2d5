# SPDX-License-Identifier: GPL-2.0-only
"""The lab: the kernels, the hypervisor and the accelerator that runs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.base import cache
from harness.base.closing import Closing
from harness.base.errors import SpecError
from harness.guest import debianimage, guestbuild, initramfs
from harness.kernel import flavors, making
from harness.kernel.own import Own
from harness.kernel.specs import KernelSpec, load_vm_config, shown
from harness.kernel.vmconfig import VMConfig
from harness.machine import bundle
from harness.machine.kernels import Kernels
from harness.machine.machine import Machine
from harness.machine.options import Options
from harness.machine.states import TCG_SCALE, Timeouts
from harness.record.result import KernelInfo
from harness.record.timeline import Timeline
from harness.vm import accel
from harness.vm.hypervisor import Hypervisor

Builds = Callable[[str, int, int, str], None]


def no_builds(kernel: str, done: int, total: int, what: str) -> None:
    """A `Builds` that tells nobody."""


def build_kernels(
    spec: KernelSpec,
    *,
    own: Own | None = None,
    progress: Builds = no_builds,
) -> Kernels:
    """Build all that a cycle boots, as far as it is not in the cache.

    Args:
        spec: The kernel.
        own: What the user said of it besides.
        progress: Told what is built, and how far.

    Raises:
        BuildError: Something does not build.
        PrerequisiteError: Something that the build needs is missing.
    """

    def tell(role: str) -> making.Progress:
        return lambda done, total, what: progress(f"{role} {spec.name}", done, total, what)

    own = own or Own()
    own.check_source(spec)
    for kind in cache.KINDS:
        cache.sweep(kind)
    guest = guestbuild.build_guest(notify=lambda what: progress("guest", 0, 0, what))
    # Its packages are fetched now: later, the first boot would wait for them.
    initramfs.userland(notify=lambda what: progress("userland", 0, 0, what))
    normal, spawned = own.build(spec, init=guest["kspawn"], tell=tell)
    return Kernels(normal=normal, spawned=spawned, guest=guest)


class Lab(Closing):
    """What machines are made in; closing it ends all of them.

    Args:
        options: What the user chose.
        progress: Told what is built.
    """

    def __init__(self, options: Options, *, progress: Builds = no_builds) -> None:
        self.options = options
        self.warm = options.warm
        """Whether machines may start from a kept state; a test may want a boot."""
        self.spec = options.own.spec(options.kernel)
        self.config = load_vm_config(options.vm_config)
        self.folder: Path | None = None
        self.root_image: Path | None = None
        # First: a mistake in a file is not to cost a build, nor the start of libvirt.
        if options.userland is not None:
            debianimage.check(options.userland)
        if options.built is None:
            options.own.check_source(self.spec)
        self.hypervisor = Hypervisor(uri=options.libvirt_uri)
        try:
            self._check_cpu()
            if options.built is not None:
                self.kernels = bundle.load(options.built)
            else:
                self.kernels = build_kernels(self.spec, own=options.own, progress=progress)
            self._add_userland(progress)
            self.accelerator = accel.choose(
                options.accel,
                hypervisor=self.hypervisor,
                spawned=self.kernels.spawned,
                notify=lambda what: progress("machine", 0, 0, what),
            )
        except BaseException:
            self.hypervisor.close()
            raise

    def _add_userland(self, progress: Builds) -> None:
        """Of what the user chose: a folder that is added, or the image of a root filesystem."""
        given = self.options.userland
        if given is not None and given.is_dir():
            self.folder = given
        elif given is not None:
            self.root_image = debianimage.image(
                given, notify=lambda what: progress("userland", 0, 0, what)
            )

    def _check_cpu(self) -> None:
        try:
            self.hypervisor.check_cpu(self.config.cpu, self.config.cpu_features)
        except SpecError as exc:
            raise SpecError(f"{shown(self.config.file)}: {exc.message}", hint=exc.hint) from None

    def timeouts(self, config: VMConfig | None = None) -> Timeouts:
        """The deadlines for a machine under this accelerator."""
        scale = (config or self.config).timeout_scale * flavors.slow(self.options.own.flavors)
        return Timeouts(scale=scale * (TCG_SCALE if self.accelerator.name == "tcg" else 1.0))

    def machine(
        self,
        folder: Path,
        *,
        timeline: Timeline | None = None,
        config: VMConfig | None = None,
        kernels: Kernels | None = None,
        disk_bytes: int | None = None,
        expected: Sequence[str] = (),
        userland_disk: bool = False,
        data_disk: Path | None = None,
        root_image: Path | None = None,
    ) -> Machine:
        """A new machine, switched off.

        Args:
            folder: Where its logs go.
            timeline: Where its phases go.
            config: Its hardware; by default that of the options.
            kernels: Other kernels than those of the lab.
            disk_bytes: Size of the disk for the image.
            expected: Patterns of splats and complaints that do not fail a run.
            userland_disk: Whether it has a second disk, with the normal userland.
            data_disk: A file that is its second disk.
            root_image: An ext4 filesystem for the root of its normal kernel; by default that
                of the options.
        """
        machine = Machine(
            hypervisor=self.hypervisor,
            kernels=kernels or self.kernels,
            config=config or self.config,
            accel=self.accelerator.name,
            folder=folder,
            timeline=timeline or Timeline(),
            timeouts=self.timeouts(config),
            disk_bytes=disk_bytes,
            expected=expected,
            keep_bytes=self.options.keep_bytes,
            userland_disk=userland_disk,
            data_disk=data_disk,
            more_userland=self.folder,
            root_image=root_image or self.root_image,
        )
        machine.warm = self.warm
        return machine

    def kernel_info(self) -> list[KernelInfo]:
        """The kernels, for the result."""
        return [
            KernelInfo(
                role=kernel.role,
                name=kernel.name,
                release=kernel.release,
                flavors=list(self.options.own.flavors) if kernel.role == "normal" else [],
                config_hash=kernel.config_hash,
                build_hash=kernel.build_hash,
            )
            for kernel in (self.kernels.normal, self.kernels.spawned)
        ]

    def close(self) -> None:
        """End all machines and the hypervisor."""
        self.hypervisor.close()
