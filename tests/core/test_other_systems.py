"""What systems other than Linux lack, the package does without."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import multidelete

UNIX = ("fcntl", "resource", "pwd", "grp", "termios")
SCRIPT = """
import builtins, importlib, pkgutil

import_any = builtins.__import__

def import_all_but_those_of_unix(name, globals=None, locals=None, fromlist=(), level=0):
    is_ours = (globals or dict()).get("__name__", "").startswith("multidelete")
    if is_ours and name in {unix}:
        raise ImportError(name)  # other packages on this system may have them
    return import_any(name, globals, locals, fromlist, level)

builtins.__import__ = import_all_but_those_of_unix

import multidelete
if {everything}:
    for module in pkgutil.walk_packages(multidelete.__path__, "multidelete."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in multidelete.__all__:
        getattr(multidelete, name)

import torch
from multidelete.core.runtime import peak_bytes, possible_workers
print(possible_workers(3), peak_bytes(torch.device("cpu")))
"""


def test_one_module_alone_asks_for_those_of_unix() -> None:
    """Which is imported below without them in every run."""
    asking = set()
    for path in Path(multidelete.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            asking |= {path.name for name in names if name.partition(".")[0] in UNIX}
    assert asking == {"runtime.py"}


@pytest.mark.parametrize("everything", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_package_is_imported_without_modules_of_unix(everything: bool) -> None:
    script = SCRIPT.format(unix=UNIX, everything=everything)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "0"]
