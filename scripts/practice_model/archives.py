"""The pinned third-party archives: downloaded with pip from whatever package index pip is
configured for, checked against a SHA-256, kept in a cache folder of the user.

Only archives whose licence lets the trained model be shipped; NOTICE and the model card name every
one of them. Nothing of these archives is stored in the repository.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MINUTES_FOR_ONE_DOWNLOAD = 10


@dataclass(frozen=True)
class Archive:
    """One wheel on the package index, pinned by version and content."""

    project: str
    version: str
    file_name: str
    sha256: str
    licence: str
    licence_file: str
    used_for: str


ARCHIVES = (
    Archive(
        "jupyterlab-language-pack-zh-CN",
        "4.5.post3",
        "jupyterlab_language_pack_zh_cn-4.5.post3-py2.py3-none-any.whl",
        "47cdb0c41c6b066e795c867786c9c29fde527e2bf15aa6b3e9b2bab9929304b5",
        "BSD-3-Clause",
        "jupyterlab_language_pack_zh_cn-4.5.post3.dist-info/licenses/LICENSE.txt",
        "messages",
    ),
    Archive(
        "Django",
        "5.2.19",
        "django-5.2.19-py3-none-any.whl",
        "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
        "BSD-3-Clause",
        "django-5.2.19.dist-info/licenses/LICENSE",
        "messages and docstrings",
    ),
    Archive(
        "djangorestframework",
        "3.18.3",
        "djangorestframework-3.18.3-py3-none-any.whl",
        "8544bb674846731b1e3c9b309236ee1dc412905a0aa725be2ec193ca950a7d12",
        "BSD-3-Clause",
        "djangorestframework-3.18.3.dist-info/licenses/LICENSE.md",
        "messages and docstrings",
    ),
    Archive(
        "wagtail",
        "8.0.1",
        "wagtail-8.0.1-py3-none-any.whl",
        "1e6ad5c7891a54efce1400e168298b5a2cc343b642cee89c31bf5ec30c98b26c",
        "BSD-3-Clause",
        "wagtail-8.0.1.dist-info/licenses/LICENSE",
        "messages and docstrings",
    ),
    Archive(
        "django-oscar",
        "4.2.1",
        "django_oscar-4.2.1-py3-none-any.whl",
        "adbb95ea0130859c204cc6fb221052d6d437ecbaa90800e8418a809f72645e9c",
        "BSD-3-Clause",
        "django_oscar-4.2.1.dist-info/licenses/LICENSE",
        "messages and docstrings",
    ),
    Archive(
        "spyder",
        "6.1.8",
        "spyder-6.1.8-py3-none-any.whl",
        "4da836742a7138c93392a8a0bd1a5ff40002cf92d217ef0e7bed11b522322f90",
        "MIT",
        "spyder-6.1.8.dist-info/licenses/LICENSE.txt",
        "messages and docstrings",
    ),
    Archive(
        "apache-superset",
        "6.1.0",
        "apache_superset-6.1.0-py3-none-any.whl",
        "4b5886b2d6389a32df790aeae2532ad72529bce1af93b6edf2d1b2a8bf658748",
        "Apache-2.0",
        "apache_superset-6.1.0.dist-info/licenses/LICENSE.txt",
        "messages and docstrings",
    ),
    Archive(
        "pgadmin4",
        "9.18",
        "pgadmin4-9.18-py3-none-any.whl",
        "9ea084fc416265e4fc95c9fb6e6ae0f6668d34da8670c9b65c79cea054124356",
        "PostgreSQL",
        "pgadmin4/LICENSE",
        "messages and docstrings",
    ),
    Archive(
        "emoji",
        "2.16.0",
        "emoji-2.16.0-py3-none-any.whl",
        "c4230d80640def9071599ff56b1b5950fe13a2a94c0da98c5deab12431b24330",
        "BSD-3-Clause; the names in it come from Unicode CLDR (Unicode-3.0)",
        "emoji-2.16.0.dist-info/licenses/LICENSE.txt",
        "names",
    ),
)


def cache_folder() -> Path:
    """Where archives are kept: outside the repository, and movable by an environment variable."""
    chosen = os.environ.get("RERANK_KIT_ARCHIVES")
    return Path(chosen) if chosen else Path.home() / ".cache" / "rerank_kit" / "archives"


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pip_command() -> list[str]:
    """A pip that can run here; environments made by uv have none of their own."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    found = shutil.which("pip")
    if found is None:
        raise RuntimeError("pip is needed to download the training archives; none was found.")
    return [found]


def fetch(archive: Archive) -> Path:
    """Download one archive unless it is in the cache; refuse any content but the pinned one."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / archive.file_name
    if not path.exists():
        wanted = f"{archive.project}=={archive.version}"
        options = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
        subprocess.run(
            [*pip_command(), "download", *options, wanted],
            check=True,
            timeout=MINUTES_FOR_ONE_DOWNLOAD * 60,
            stdout=subprocess.DEVNULL,
        )
    if sha256_of(path) != archive.sha256:
        raise RuntimeError(f"{archive.file_name} is not the pinned file; delete it and try again.")
    return path
