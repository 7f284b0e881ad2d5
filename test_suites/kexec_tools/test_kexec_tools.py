# SPDX-License-Identifier: GPL-2.0-only
"""Does kexec-tools' own procedure jump into a kernel and back?

kexec(8) has `--load-preserve-context` and `--load-jump-back-helper`: the first
loads a kernel that does not replace the running one, `kexec -e` jumps there, and
there the second, with `--entry=` as of `kexec_jump_back_entry=` on that kernel's
command line, and `kexec -e` jump back. These tests are of kexec-tools, as Debian
has it, and not of ours. What is known broken is an expected failure that names
the defect, and turns red when it begins to work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from harness.base.errors import HarnessError, KernelError
from harness.cycle import verdict
from harness.cycle.witness import Witness
from harness.guest import initramfs
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.vm.ssh import Done

pytestmark = pytest.mark.vm

KERNEL = "/boot/spawned"
ARCHIVE = "/run/peer.cpio"
PT_LOAD, PT_NOTE = 1, 4
BELOW_16_MIB = 0xFFFFFF
# What a userland with kexec-tools has room in.
ROOM = 128 << 20

# What the other kernel's init runs: it says what it sees, and goes back as told.
PEER = r"""
export PATH=/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
stty -F /dev/ttyS1 raw -echo 115200
say() {
    detail=$(printf %s "$2" | tr '\n"\\' "  /")
    echo "{\"role\":\"peer\",\"event\":\"$1\",\"detail\":\"$detail\"}" >/dev/ttyS1
}
for word in $(cat /proc/cmdline); do
    case $word in
        kexec_jump_back_entry=*) entry=${word#*=} ;;
        peer.back=*) back=${word#*=} ;;
    esac
done
say init "$(sed -n 's/^[0-9a-f]*-\([0-9a-f]*\) : System RAM.*/\1/p' /proc/iomem | tail -n 1)"
say entry "$entry"
case $back in
    helper)
        said=$(kexec --load-jump-back-helper --entry="$entry" 2>&1)
        say helper "$? $said"
        said=$(kexec -e -x 2>&1)
        ;;
    ours) said=$(jumpback "$entry" 2>&1) ;;
esac
say end "$said"
while :; do sleep 1000; done
"""


@dataclass
class Upstream:
    """A machine that is driven by kexec-tools alone."""

    machine: Machine
    has_archive: bool = False

    @property
    def top(self) -> int:
        """The last address of the other kernel's memory.

        kexec_load takes no more than half of the memory that there is
        (sanity_check_segment_list() in kernel/kexec_core.c).
        """
        return min(ROOM, self.machine.config.memory_bytes * 3 // 8) - 1

    def load(
        self,
        *options: str,
        below: int = 0,
        archive: bool = True,
        restrict: bool = True,
        kernel: str = KERNEL,
        back: str = "none",
    ) -> Done:
        """Load a kernel, the way that kexec(8) documents.

        Args:
            options: More of kexec's options.
            below: The last address that it may use; 0 for `top`.
            archive: Give it a userland.
            restrict: Tell it on its command line which memory is its own.
            kernel: The kernel.
            back: How it goes back: "helper", "ours" or "none".
        """
        words = [
            "kexec --load-preserve-context --mem-min=0x1000",
            f"--mem-max={below or self.top:#x}",
            *(["--pass-memmap-cmdline"] if restrict else []),
            *([f"--initrd={ARCHIVE}"] if archive else []),
            *options,
            f"--append='console=ttyS2,115200 panic=-1 peer.back={back}'",
            kernel,
        ]
        if archive:
            self._put_archive()
        limit = self.machine.timeouts.deadline("spawn", "kexec -l")
        return self.machine.run(" ".join(words), deadline=limit)

    def _put_archive(self) -> None:
        if self.has_archive:
            return
        kernels = self.machine.kernels
        data = initramfs.scripted_initramfs(script=PEER, guest=kernels.guest)
        self.machine.put(data, ARCHIVE)
        self.has_archive = True

    def jump(self) -> dict[str, Any]:
        """Run `kexec -e`, until the other kernel's init has told its entry.

        Its -x leaves the network up: a kernel that comes back wants it.
        """
        back = r"{\"role\":\"normal\",\"event\":\"back\",\"command\":\"kexec -e\",\"exit\":$?}"
        self.machine.leave(f"sh -c 'kexec -e -x; echo \"{back}\" >/dev/ttyS1'")
        return self.peer("entry")

    def peer(self, event: str) -> dict[str, Any]:
        """What the other kernel's init says."""
        limit = self.machine.timeouts.deadline("boot", f"{event!r} from the other kernel")
        return self.machine.wait_status("peer", event, deadline=limit)


@pytest.fixture
def upstream(machine: Machine) -> Upstream:
    """A running machine."""
    machine.boot()
    return Upstream(machine)


def defect(why: str) -> pytest.MarkDecorator:
    """What is known broken: red when it works."""
    return pytest.mark.xfail(reason=why, strict=True, raises=AssertionError)


def failed_with(done: Done, message: str) -> bool:
    """Whether kexec failed, and by the defect that is known.

    Raises:
        HarnessError: It failed with another message: that is no expected failure.
    """
    if done.exit_code and message not in done.err:
        raise HarnessError(f"kexec does not say {message!r} but {done.err.strip()[-400:]!r}")
    return done.exit_code != 0


@pytest.mark.ci
def test_loads_a_kernel_below_16_mib(upstream: Upstream) -> None:
    done = upstream.load(below=BELOW_16_MIB, archive=False)
    assert done.exit_code == 0, done.err
    assert upstream.machine.run("cat /sys/kernel/kexec_loaded").check().strip() == "1"
    assert upstream.machine.run("kexec -u; cat /sys/kernel/kexec_loaded").out.strip() == "0"


def test_insists_on_a_limit(upstream: Upstream) -> None:
    """Without one, there would be no memory left to keep the context in."""
    done = upstream.machine.run(f"kexec --load-preserve-context {KERNEL}")
    assert done.exit_code != 0
    assert "--mem-max" in done.err


@defect(
    "kexec-tools places an initrd at 16 MiB or above (INITRD_BASE in "
    "kexec/arch/i386/x86-linux-setup.h): a kernel below has none"
)
def test_loads_an_initrd_below_16_mib(upstream: Upstream) -> None:
    upstream.load(below=BELOW_16_MIB, archive=False).check()
    upstream.machine.run("dd if=/dev/zero of=/run/page bs=4096 count=1").check()
    done = upstream.load("--initrd=/run/page", below=BELOW_16_MIB, archive=False)
    assert not failed_with(done, "Could not find a free area of memory"), done.err


@defect(
    "a kernel that is not relocatable is loaded by the 32-bit loader, which has put its "
    "purgatory below 640 KiB and then, where the context is kept, the setup at the top: "
    "it refuses its own choice (do_bzImage_load() in kexec/arch/i386/kexec-bzImage.c)"
)
def test_loads_a_kernel_that_is_not_relocatable(lab: Lab, upstream: Upstream) -> None:
    if "RELOCATABLE" in lab.kernels.normal.config:
        pytest.skip("the normal kernel is relocatable")
    upstream.load(archive=False).check()
    upstream.machine.put(lab.kernels.normal.bzimage.read_bytes(), "/run/kernel")
    done = upstream.load(kernel="/run/kernel", archive=False)
    assert not failed_with(done, "Could not put setup code above the kernel parameters"), done.err


def program_headers(upstream: Upstream) -> list[tuple[int, int, int]]:
    """Type, address and size of the segments of the ELF core header, as kexec -d tells."""
    done = upstream.load("-d", below=BELOW_16_MIB, archive=False)
    done.check()
    headers = re.findall(
        r"p_type = (\d+), .*?p_paddr = (0x[0-9a-f]+).*?p_memsz = (0x[0-9a-f]+)",
        done.out + done.err,
    )
    if not headers:
        raise HarnessError(f"kexec -d shows no ELF header: {done.err[-500:]}")
    return [(int(kind), int(start, 16), int(size, 16)) for kind, start, size in headers]


@defect(
    "the memory that is taken out of the map begins at the first range that ends above "
    "640 KiB, reserved or not (get_crash_memory_ranges() in kexec/arch/i386/crashdump-x86.c): "
    "it is that of the BIOS, before the RAM that exclude_region() then ends before its start"
)
def test_elf_core_header_describes_the_memory(upstream: Upstream) -> None:
    loads = [(start, size) for kind, start, size in program_headers(upstream) if kind == PT_LOAD]
    assert [f"{start:#x} + {size:#x}" for start, size in loads if size > 1 << 40] == []


@defect(
    "the ELF core header has no note of vmcoreinfo where the context is kept "
    "(crash_create_elf64_headers() in kexec/crashdump-elf.c leaves it out)"
)
def test_elf_core_header_has_vmcoreinfo(upstream: Upstream) -> None:
    address = int(upstream.machine.run("cat /sys/kernel/vmcoreinfo").check().split()[0], 16)
    notes = [start for kind, start, _ in program_headers(upstream) if kind == PT_NOTE]
    assert hex(address) in map(hex, notes)


@defect(
    "the e820 map that the other kernel is given is that of the machine: memory is kept "
    "apart for KEXEC_ON_CRASH only (setup_e820() in kexec/arch/i386/x86-linux-setup.c), "
    "unless --pass-memmap-cmdline is given, which kexec(8) does not say"
)
def test_other_kernel_keeps_to_its_memory(upstream: Upstream) -> None:
    upstream.load(restrict=False).check()
    upstream.jump()
    top = int(upstream.machine.status_of("peer", "init")["detail"], 16)
    assert top <= upstream.top, f"its System RAM ends at {top:#x}"


def test_jumps_there(upstream: Upstream) -> None:
    """The other kernel runs, in its own memory, and knows the way back."""
    done = upstream.load()
    assert done.exit_code == 0, done.err
    entry = int(upstream.jump()["detail"], 0)
    assert entry > upstream.top
    top = int(upstream.machine.status_of("peer", "init")["detail"], 16)
    assert top <= upstream.top


def assert_helper_loaded(upstream: Upstream) -> None:
    """Jump to the other kernel, and load the helper there."""
    # Where the helper is taken for all of memory.
    upstream.machine.expected.append("^kexec: page allocation failure")
    upstream.load(back="helper").check()
    upstream.jump()
    said = upstream.peer("helper")["detail"]
    loaded = said.startswith("0 ")
    if not loaded and "Cannot allocate memory" not in said:
        raise HarnessError(f"the helper was not loaded: {said}")
    assert loaded, said


@pytest.mark.known_bug("empty-segment-of-the-helper")
def test_helper_is_loaded(upstream: Upstream) -> None:
    assert_helper_loaded(upstream)


@defect(
    "the helper is one empty segment at 0 (load_jump_back_helper_image() in kexec/kexec.c): "
    "since 816d334afa85 (6.8) the kernel takes that for all of memory, and does not load it; "
    "before, the page of the entry, beyond the memory of the kernel that jumps, is not in "
    "the identity mapping that the kernel makes for the jump"
)
def test_helper_jumps_back(upstream: Upstream) -> None:
    assert_helper_loaded(upstream)
    try:
        upstream.machine.come_back()
    except KernelError as exc:
        raise AssertionError(f"nobody came back: {exc}") from exc


@pytest.mark.ci
def test_our_loader_jumps_back(upstream: Upstream) -> None:
    """The control: all of it but the helper works; ours loads the entry's page."""
    machine = upstream.machine
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    upstream.load(back="ours").check()
    upstream.jump()
    machine.come_back()
    checks = verdict.userland_checks(machine, holder, before)
    checks += verdict.kernel_checks(machine, before)
    machine.close()
    verdict.require([*checks, *verdict.log_checks(machine)])


@defect(
    "`kexec -e` takes each return of reboot(2) for a failure, and ends with 255 after a "
    "jump that went well (my_exec() in kexec/kexec.c)"
)
def test_kexec_e_succeeds_when_it_is_back(upstream: Upstream) -> None:
    upstream.load(back="ours").check()
    upstream.jump()
    code = upstream.machine.come_back()["exit"]
    if code not in (0, 255):
        raise HarnessError(f"`kexec -e` ended with {code}, neither 0 nor what is known")
    assert code == 0
