"""What systems other than Linux lack, the package does without."""

import os
import subprocess
import sys

SCRIPT = """
import builtins, importlib, pkgutil

import_any = builtins.__import__

def import_all_but_those_of_unix(name, globals=None, locals=None, fromlist=(), level=0):
    is_ours = (globals or {}).get("__name__", "").startswith("multidelete")
    if is_ours and name in ("fcntl", "resource", "pwd", "grp", "termios"):
        raise ImportError(name)  # other packages on this system may have them
    return import_any(name, globals, locals, fromlist, level)

builtins.__import__ = import_all_but_those_of_unix

import multidelete
for module in pkgutil.walk_packages(multidelete.__path__, "multidelete."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in multidelete.__all__:
    getattr(multidelete, name)

import torch
from multidelete.core.runtime import peak_bytes, possible_workers
print(possible_workers(3), peak_bytes(torch.device("cpu")))
"""


def test_package_is_imported_without_modules_of_unix() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "0"]
