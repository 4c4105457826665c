"""The probe under names by which a process of its own finds it."""

from dataclasses import replace

from tests.engines import probe

IN_A_THREAD = replace(probe.SPEC, name=f"{__name__}.IN_A_THREAD", is_own_process=False)
IN_PROCESSES = replace(probe.SPEC, name=f"{__name__}.IN_PROCESSES")
