# SPDX-License-Identifier: GPL-2.0-only
"""What a failed run leaves of its machine: memory, image, and which kernels they are of."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.base.errors import PrerequisiteError, UsageError
from harness.base.files import FileName
from harness.image import cpustate, vmcore
from harness.image.core import Core, Piece
from harness.kernel.built import BuiltKernel
from harness.kernel.specs import Role
from harness.kernel.vmconfig import VMConfig
from harness.machine.kernels import Kernels
from harness.machine.lives import Life
from harness.machine.states import Timeouts
from harness.vm.domain import Domain
from harness.vm.memory import ram_ranges

FOLDER = "kept"
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class KeptKernel(BaseModel):
    """Where a kernel of the run is in the cache."""

    model_config = ConfigDict(extra="forbid")

    folder: Path
    name: str
    role: Role
    tree: Path
    build: str

    @property
    def built(self) -> BuiltKernel:
        """The kernel."""
        return BuiltKernel(**self.model_dump())


class Kept(BaseModel):
    """What was kept, as kept.json in the folder has it."""

    model_config = ConfigDict(extra="forbid")

    state: str
    reason: str
    memory: FileName | None = None
    image: FileName | None = None
    # The state of the whole machine, as QEMU's migration writes it, and its disk.
    machine: FileName | None = None
    disk: FileName | None = None
    data_disk: FileName | None = None
    accel: str = ""
    life: Life | None = None
    config: VMConfig | None = None
    host_key: str = ""
    not_kept: str = ""
    kernels: dict[str, KeptKernel] = {}

    _folder: Path = Path()

    def path(self, name: str) -> Path:
        """The path of a file that was kept."""
        return self._folder / name

    def kernel(self, role: str) -> BuiltKernel:
        """The kernel of a role."""
        return self.kernels[role].built

    def core(self, name: str) -> Core:
        """The memory of the normal kernel in a file that was kept, as it was found.

        Raises:
            UsageError: It is no core.
        """
        return Core.of(self.path(name), symbols=self.kernel("normal").symbols)

    def needed(self) -> tuple[Life, Path]:
        """What it takes to have the machine again: its life, and the file of its state.

        Raises:
            UsageError: They were not kept.
        """
        if self.machine is None or self.life is None or self.disk is None:
            raise UsageError(f"the state of the machine was not kept: {self.not_kept}")
        return self.life, self.path(self.machine)

    @property
    def running(self) -> Role | None:
        """The kernel that the machine stood in; None amid a jump, or if that was not kept."""
        if self.memory is None:
            return None
        return vmcore.running(self.core(self.memory), self.path("registers.txt").read_text())


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A machine that broke, as far as it is kept.

    Args:
        state: Where it was.
        folder: Where its logs are.
        kernels: What it boots.
        config: Its hardware.
        accel: "kvm" or "tcg".
        keep_bytes: Its memory is kept up to so much of it.
        domain: Its QEMU, which runs.
        life: What that was started with.
        disk: Its disk.
        data_disk: Its second disk, if that has filesystems of the normal kernel.
        private_key: What its userland lets in.
        host_key: The host key of its sshd.
        timeouts: How long keeping it may take.
    """

    state: str
    folder: Path
    kernels: Kernels
    config: VMConfig
    accel: str
    keep_bytes: int
    domain: Domain
    life: Life
    disk: Path
    data_disk: Path | None
    private_key: Path
    host_key: str
    timeouts: Timeouts


def parse_size(text: str) -> int:
    """A size in bytes, from what a person writes.

    Args:
        text: Such as "1GiB", "512MiB" or "0".

    Raises:
        UsageError: It is none.
    """
    found = re.fullmatch(r"(\d+) ?(KiB|MiB|GiB|)", text)
    if not found:
        raise UsageError(f"{text!r} is no size, write it like 1GiB, 512MiB or 0")
    return int(found[1]) * _UNITS[found[2]]


def keep_all(machine: Standing, reason: str) -> Kept:
    """Keep what a machine has in its memory and on its disk.

    The memory is an ELF core, as QEMU's dump-guest-memory writes it; the disk
    begins with the hibernation image, if there is one. Both are sparse files.

    Args:
        machine: A machine whose QEMU still runs; it stands still afterwards.
        reason: Why it is kept.

    Raises:
        LostVMError: QEMU does not answer.
    """
    folder = machine.folder / FOLDER
    # The memory of a machine is all that its processes knew.
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    kept = _describe(machine, reason)
    size = machine.config.memory_bytes
    if size > machine.keep_bytes:
        limit = machine.keep_bytes >> 20
        kept.not_kept = f"{size >> 20} MiB of memory are above the limit of {limit} MiB"
    else:
        kept.memory = "memory.elf"
        _keep_memory(machine, folder / kept.memory)
        kept.machine, kept.disk = "machine.state", "disk.raw"
        kept.data_disk = "data.raw" if machine.data_disk else None
        _keep_machine(machine, folder)
    if keep_image(machine.disk, folder / "image.raw"):
        kept.image = "image.raw"
    (folder / "kept.json").write_text(kept.model_dump_json(indent=2) + "\n")
    for path in folder.iterdir():
        path.chmod(0o600)
    return kept


def _describe(machine: Standing, reason: str) -> Kept:
    return Kept(
        state=machine.state,
        reason=reason,
        accel=machine.accel,
        life=machine.life,
        config=machine.config,
        host_key=machine.host_key,
        kernels={
            kernel.role: KeptKernel(
                folder=kernel.folder,
                name=kernel.name,
                role=kernel.role,
                tree=kernel.tree,
                build=kernel.build,
            )
            for kernel in (machine.kernels.normal, machine.kernels.spawned)
        },
    )


def _keep_memory(machine: Standing, target: Path) -> None:
    """Write the memory as an ELF core, with the registers of the CPUs.

    By pmemsave: at the event that ends dump-guest-memory, libvirt 9.0 dies.
    """
    raw = target.with_suffix(".raw").absolute()
    machine.domain.monitor("stop")
    try:
        registers = machine.domain.monitor("info registers -a")
        (target.parent / "registers.txt").write_text(registers)
        pieces, at = [], 0
        with raw.open("wb") as whole:
            for phys, size in ram_ranges(machine.config.memory_bytes, machine.config.machine):
                part = raw.with_suffix(".part")
                machine.domain.monitor(f'pmemsave {phys:#x} {size:#x} "{part}"')
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole, 1 << 20)
                part.unlink()
                pieces.append(Piece(phys, size, at))
                at += size
        symbols = machine.kernels.normal.symbols
        vmcore.write(Core(raw, pieces, cpustate.prstatus(registers), symbols), target)
    finally:
        raw.unlink(missing_ok=True)


def _keep_machine(machine: Standing, folder: Path) -> None:
    """Keep all that it takes to have the machine again, as it is now."""
    deadline = machine.timeouts.deadline(
        "save", "the state of the machine", memory=machine.config.memory_bytes
    )
    machine.domain.save_state(folder / "machine.state", deadline)
    # Now that it stands still, so does its disk.
    _copy_sparse(machine.disk, folder / "disk.raw")
    if machine.data_disk is not None:
        copy_whole(machine.data_disk, folder / "data.raw")
    if machine.life.initrd is not None:
        shutil.copy(machine.life.initrd, folder / "initrd.cpio")
    shutil.copy(machine.private_key, folder / "id_ed25519")


def restore(kept: Kept, *, disk: Path, private_key: Path) -> None:
    """Put what was kept of a machine where a new one has it.

    Args:
        kept: What was kept.
        disk: The disk of the new machine.
        private_key: The file of what its userland lets in.

    Raises:
        UsageError: It was not kept.
    """
    kept.needed()
    assert kept.disk is not None
    shutil.copy(kept.path(kept.disk), disk)
    shutil.copy(kept.path("id_ed25519"), private_key)


def keep_image(disk: Path, target: Path) -> bool:
    """Copy the hibernation image of a disk, if there is one.

    Args:
        disk: The disk.
        target: The copy; it is an image again if the disk's was used.

    Returns:
        Whether there was one.
    """
    with disk.open("rb") as file:
        magic = file.read(4)
    if magic not in (b"\x7fELF", b"USED"):
        return False
    _copy_sparse(disk, target)
    with target.open("r+b") as file:
        file.write(b"\x7fELF")
    return True


def _copy_sparse(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a disk, with what lies below it if it is but the difference to another one.

    Args:
        source: The disk; QEMU may have it open.
        target: The copy, a raw file.
    """
    if source.suffix != ".qcow2":
        _copy_sparse(source, target)
        return
    # QEMU, which stands still, holds its lock.
    subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", str(source), str(target)], check=True)


def load(run: Path) -> Kept:
    """What a run kept.

    Args:
        run: The folder of the run, or one in it that has a machine's logs.

    Raises:
        UsageError: There is no such run, or it kept nothing.
    """
    if not run.is_dir():
        raise UsageError(f"there is no run {run}")
    found = sorted([*run.glob(f"{FOLDER}/kept.json"), *run.glob(f"*/{FOLDER}/kept.json")])
    if not found:
        raise UsageError(
            f"{run} kept no memory: it passed, or its machine was gone",
            hint="./kspawn cycle keeps it when a run fails; pytest with --keep-memory 1GiB",
        )
    if len(found) > 1:
        names = ", ".join(str(path.parent.parent) for path in found[:4])
        raise UsageError(f"{run} kept several machines", hint=f"name one of: {names}")
    try:
        kept = Kept.model_validate_json(found[0].read_bytes())
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{found[0]}: {where}: {first['msg']}") from exc
    kept._folder = found[0].parent
    if kept.memory is None and kept.image is None:
        raise PrerequisiteError(f"{run} kept neither memory nor an image: {kept.not_kept}")
    return kept
