"""Tests, and what measures the project: they import the package and the scripts of ``workflow``.

Said here and not to pytest alone, so that ``python -m tests.NAME`` and the processes that tests start find them too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
