"""The packages of a wheel: `tflm`, and the folder `apps` as `tflm_apps`, so that no package called `apps` is installed.

Everything else is in setup.cfg, which cannot rename the packages that `find:` finds.
"""

from setuptools import find_packages, setup

APPS = find_packages(include=["apps", "apps.*"])

setup(
    packages=[
        *find_packages(include=["tflm", "tflm.*"]),
        *(f"tflm_{name}" for name in APPS),
    ],
    package_dir={"tflm_apps": "apps"},
)
