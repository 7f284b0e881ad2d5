# SPDX-License-Identifier: GPL-2.0-only
"""A core of a kernel in drgn, also of one that was built without debug information."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import drgn

from harness.base.cache import Notify, quiet
from harness.base.errors import HarnessError
from harness.kernel import debuginfo
from harness.kernel.built import BuiltKernel

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
    "max_low_pfn": "unsigned long",
    "min_low_pfn": "unsigned long",
    "modules": "struct list_head",
    "page_offset_base": "unsigned long",
    "phys_base": "unsigned long",
    "prb": "struct printk_ringbuffer *",
    "saved_command_line": "char *",
    "slab_caches": "struct list_head",
    "system_state": "enum system_states",
    "task_state_array": "const char *[]",
    "vmalloc_base": "unsigned long",
    "vmemmap_base": "unsigned long",
}


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
