"""Run every measurement of this folder, one after the other, and say which missed its target.

python bench/run.py [name …]
"""

import subprocess
import sys
from pathlib import Path

LIMIT_S = 600


def main() -> int:
    """Run the scripts; each prints its figures and exits with 1 when it missed its target."""
    here = Path(__file__).parent
    wanted = set(sys.argv[1:])
    scripts = sorted(p for p in here.glob("*.py") if p.name != "run.py" and (not wanted or p.stem in wanted))
    missed = []
    for script in scripts:
        print(f"\n== {script.stem}", flush=True)
        try:
            failed = subprocess.run([sys.executable, script], check=False, timeout=LIMIT_S).returncode != 0
        except subprocess.TimeoutExpired:
            failed = True
        if failed:
            missed.append(script.stem)
    print(f"\nbelow target: {', '.join(missed)}" if missed else "\nall targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
