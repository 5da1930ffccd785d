"""What users import: its names, and that it costs them nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import layeron_job

ROOT = Path(__file__).parents[3]


def test_the_public_names_are_these() -> None:
    assert set(layeron_job.__all__) == {
        *("Client", "Retry", "Fixed", "Exponential", "Item", "TaskDefinition", "new_run_id", "__version__"),
        *("Run", "Attempt", "Transition", "RunDetails", "RunChange", "Page", "Enqueued", "BatchResult", "Task"),
        *("JobError", "InvalidRequest", "PageTokenInvalid", "FilterTooBroad", "WatchTokenExpired", "WaitTimeout"),
        *("TaskNotRegistered", "TaskNotFound", "RunNotFound", "RunAlreadyFinished", "RunNotFinished"),
        *("IdempotencyKeyReused", "RunIdReused", "Overloaded", "PermissionDenied", "Unauthenticated"),
        *("Unavailable", "DeadlineExceeded", "InternalError"),
    }
    assert all(hasattr(layeron_job, name) for name in layeron_job.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    assert layeron_job.__version__ == project["version"]


def test_importing_it_loads_nothing_but_its_dependencies() -> None:
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    wanted = {re.split("[<>=]", dependency)[0] for dependency in project["dependencies"]}
    assert wanted == {"googleapis-common-protos", "grpcio", "opentelemetry-api", "protobuf"}
    of_dependencies = loaded_by(
        "import google.rpc.error_details_pb2, grpc.aio, importlib.metadata, opentelemetry.trace"
    )
    assert loaded_by("import layeron_job") - of_dependencies == {"layeron", "layeron_job"}


def loaded_by(program: str) -> set[str]:
    """The top-level names that a program imports, besides the standard library."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    shown = subprocess.run([sys.executable, "-c", f"{program}; {show}"], capture_output=True, text=True, check=True)
    return set(shown.stdout.split()) - set(sys.stdlib_module_names)
