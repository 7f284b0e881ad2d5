# SPDX-License-Identifier: GPL-2.0-only
"""drgn and gdb on what a failed run kept."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import drgn
from drgn.cli import run_interactive
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_state_to_char

from harness.base.cache import Notify, quiet
from harness.base.errors import ExitCode, HarnessError, UsageError
from harness.image import vmcore
from harness.kernel import debuginfo
from harness.kernel.kbuild import BuiltKernel
from harness.machine import keep
from harness.machine.keep import Kept

# Without debug information, variables have symbols but no types: these are the
# ones that drgn's own helpers ask for, and some more.
_VARIABLES = {
    "__per_cpu_offset": "unsigned long [8192]",
    "__cpu_online_mask": "struct cpumask",
    "__cpu_possible_mask": "struct cpumask",
    "__cpu_present_mask": "struct cpumask",
    "init_mm": "struct mm_struct",
    "init_nsproxy": "struct nsproxy",
    "init_pid_ns": "struct pid_namespace",
    "init_task": "struct task_struct",
    "init_uts_ns": "struct uts_namespace",
    "jiffies": "unsigned long",
    "jiffies_64": "u64",
    "kexec_image": "struct kimage *",
    "modules": "struct list_head",
    "page_offset_base": "unsigned long",
    "phys_base": "unsigned long",
    "prb": "struct printk_ringbuffer *",
    "saved_command_line": "char *",
    "system_state": "enum system_states",
    "task_state_array": "const char *[]",
    "vmalloc_base": "unsigned long",
    "vmemmap_base": "unsigned long",
}


def core_of(kept: Kept, *, image: bool = False, notify: Notify = quiet) -> Path:
    """A core of the normal kernel, as debuggers open it.

    Args:
        kept: What a run kept.
        image: The hibernation image, not the memory of the machine.
        notify: Told what takes long.

    Returns:
        The core, beside what was kept.

    Raises:
        UsageError: That was not kept.
        HarnessError: The normal kernel had not come up, or its memory was just
            being exchanged.
    """
    name = kept.image if image else kept.memory
    if name is None:
        what = "hibernation image" if image else "memory"
        other = "--image" if kept.image and not image else ""
        raise UsageError(
            f"the run kept no {what}{f': {kept.not_kept}' if kept.not_kept else ''}",
            hint=f"try {other}" if other else "",
        )
    core = kept.core(name)
    if not core.vmcoreinfo:
        raise HarnessError(f"{name} has no VMCOREINFO: the normal kernel had not come up")
    if not image:
        role = kept.running
        if role == "normal":
            # All is at its place, and the note was found when it was written.
            return kept.path(name)
        if role is None:
            raise HarnessError(
                f"{name} is of a machine amid a jump: it cannot be told which of the first "
                "16 MiB were exchanged already",
                hint="try --image" if kept.image else "",
            )
    target = kept.path("image.vmcore" if image else "memory.vmcore")
    if target.exists():
        return target
    notify("writing the core")
    pages = vmcore.exchanged_pages(core, kept.kernel("normal").symbols)
    vmcore.write(core, target, pages=pages)
    return target


def open_core(core: Path, kernel: BuiltKernel, *, notify: Notify = quiet) -> Any:
    """Open a core of a kernel in drgn.

    Args:
        core: The core.
        kernel: The kernel.
        notify: Told what takes long.

    Returns:
        The drgn.Program.

    Raises:
        HarnessError: drgn does not take it.
    """
    vmlinux = debuginfo.with_types(kernel, notify=notify)
    program = drgn.Program()
    try:
        program.set_core_dump(str(core))
        for module, _ in program.loaded_modules():
            module.try_file(str(vmlinux), force=True)
            break
        if not debuginfo.has_debug_info(kernel.vmlinux):
            program.register_object_finder("kspawn", _find_variable, enable_index=-1)
    except (OSError, ValueError, LookupError, drgn.MissingDebugInfoError) as exc:
        raise HarnessError(f"drgn does not open {core}: {exc}") from exc
    return program


def _find_variable(program: Any, name: str, flags: Any, _file: str | None) -> Any:
    if name not in _VARIABLES or not flags & drgn.FindObjectFlags.VARIABLE:
        return None
    try:
        symbol = program.symbol(name)
        kind = _VARIABLES[name].replace("[]", f"[{symbol.size // 8}]")
        return drgn.Object(program, program.type(kind), address=symbol.address)
    except LookupError:
        return None


def tasks(program: Any) -> list[tuple[int, str, str]]:
    """The tasks of a kernel.

    Args:
        program: The drgn.Program.

    Returns:
        PID, state and name of each, by PID.
    """
    return sorted(
        (int(task.pid), str(task_state_to_char(task)), task.comm.string_().decode(errors="replace"))
        for task in for_each_task(program)
    )


@click.command("drgn")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("script", nargs=-1)
@click.option("--image", is_flag=True, help="The hibernation image, not the machine's memory.")
@click.option("--tasks", "only_tasks", is_flag=True, help="Print the list of tasks, and end.")
def drgn_command(run: Path, script: tuple[str, ...], image: bool, only_tasks: bool) -> int:
    """Open what a failed run kept in drgn: interactive, or with a SCRIPT and its arguments."""
    kept = keep.load(run)
    image = image or kept.memory is None
    core = core_of(kept, image=image, notify=_say)
    kernel = kept.kernel("normal")
    program = open_core(core, kernel, notify=_say)
    if only_tasks:
        for pid, state, name in tasks(program):
            click.echo(f"{pid:>7} {state} {name}")
    elif script:
        _run_script(program, script)
    else:
        what = "hibernation image" if image else f"memory, as it was {kept.state}"
        text = f"{kernel.name} {kernel.release}: {what}; {len(tasks(program))} tasks"
        run_interactive(program, banner_func=lambda banner: f"{banner}\n{text}")
    return int(ExitCode.PASSED)


def _say(message: str) -> None:
    if sys.stderr.isatty():
        click.echo(message, err=True)


def _run_script(program: Any, script: Sequence[str]) -> None:
    drgn.set_default_prog(program)
    sys.argv = list(script)
    try:
        runpy.run_path(script[0], init_globals={"prog": program}, run_name="__main__")
    except OSError as exc:
        raise UsageError(f"{script[0]} cannot be run: {exc.strerror}") from None
    finally:
        drgn.set_default_prog(None)
