"""What Triton needs at a GPU server's first start: a C compiler and Python's header files."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

#: Debian's and Ubuntu's packages for both.
INSTALL = "sudo apt-get install -y build-essential python3-dev"


def c_compiler() -> str | None:
    """The compiler that Triton 3.9 takes (runtime/build.py): $CC as it stands, else gcc, else
    clang. None: it would find none."""
    wanted = os.environ.get("CC")
    if wanted is not None:
        return wanted if shutil.which(wanted) else None
    return next((name for name in ("gcc", "clang") if shutil.which(name)), None)


def has_python_headers() -> bool:
    """Is Python.h where Triton looks for it (runtime/build.py)?"""
    scheme = sysconfig.get_default_scheme()
    if scheme == "posix_local":  # Debian's own; its headers lie in the usual place
        scheme = "posix_prefix"
    return Path(sysconfig.get_path("include", scheme), "Python.h").exists()
