"""What each of two processes under ``accelerate launch`` does, for the tests that compare it with one.

They are started once (``of_two``). Each part stands in the file of its tests, and writes to a folder of its own.
"""

import sys
from pathlib import Path

from multidelete.core.runtime import start_processes
from tests.models import test_contract, test_fusion, test_vilt
from tests.training import test_distributed

PARTS = {
    "contract": test_contract.in_two_processes,
    "fusion": test_fusion.in_two_processes,
    "vilt": test_vilt.in_two_processes,
    "training": test_distributed.in_two_processes,
}
MORE = {"more": test_distributed.more_in_two_processes}  # of the slow tests

if __name__ == "__main__":
    start_processes()
    for name, part in (MORE if sys.argv[2:] == ["more"] else PARTS).items():
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        part(folder)
