"""The kernel that executes the notebooks."""

from __future__ import annotations

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec


class Kernel(AsyncKernelManager):
    """The kernel of this Python, with figures in the notebook, whatever the environment names.

    An installed kernel called `python3` can be that of another Python, and the environment can
    set another backend for matplotlib.
    """

    @property
    def kernel_spec(self) -> KernelSpec:
        """How the kernel is started."""
        inline = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        return KernelSpec(resource_dir=RESOURCES, env=inline, **get_kernel_dict())
