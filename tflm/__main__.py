"""`python -m tflm COMMAND`: the same as the console script `tflm`."""

import pathlib
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]

if (CHECKOUT / "apps/main.py").exists() and (CHECKOUT / "setup.cfg").exists():
    sys.path.insert(0, str(CHECKOUT))
    from apps.main import run
else:  # installed: the folder `apps` is called `tflm_apps` there
    from tflm_apps.main import run  # type: ignore[no-redef]

if __name__ == "__main__":
    sys.exit(run())
