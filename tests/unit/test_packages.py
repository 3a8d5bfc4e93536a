"""The packages that the testbed promises are there, importable, and of the pinned versions."""

import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# In the virtual environment without being ours: what made it.
TOOLS = {"pip"}
# Pinned for builds, or for some versions of Python only.
NOT_EVERYWHERE = {"wheel", "legacy-cgi"}


def normalized(name: str) -> str:
    """The one spelling of a distribution's name that PEP 503 compares by."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "ci/constraints.txt").read_text().splitlines()
    requirements = [line.partition(";")[0].strip() for line in lines if line and not line.startswith("#")]
    return {normalized(name): version for name, version in (line.split("==") for line in requirements)}


def installed() -> dict[str, str]:
    return {normalized(each.metadata["Name"]): each.version for each in distributions(path=site_packages())}


def site_packages() -> list[str]:
    return [path for path in sys.path if path.startswith(sys.prefix)]


@pytest.mark.parametrize("name", ["mininet.net", "scapy", "yaml", "pytest", "invoke"])
def test_named_package_imports(name: str) -> None:
    module = import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(sys.prefix), f"{name} comes from outside the virtual environment"


def test_ryu_imports_in_a_process_of_its_own() -> None:
    """Ryu asks eventlet for a name that eventlet has dropped, and it patches the standard library: never in ours."""
    program = (
        "import eventlet.wsgi\n"
        "eventlet.wsgi.ALREADY_HANDLED = object()\n"
        "import ryu.base.app_manager, ryu.controller.ofp_handler, ryu.ofproto.ofproto_v1_3_parser\n"
        "print(ryu.version)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == pins()["ryu"]


def test_what_is_installed_is_what_is_pinned() -> None:
    found = {name: version for name, version in installed().items() if name not in TOOLS}
    assert found == {name: version for name, version in pins().items() if name in found}


def test_every_pin_is_installed() -> None:
    assert pins().keys() - installed().keys() <= NOT_EVERYWHERE


def test_the_virtual_environment_is_of_the_system_python() -> None:
    assert sys.prefix != sys.base_prefix, "the suite runs outside its virtual environment"
    assert Path(sys.executable).resolve() == Path("/usr/bin/python3").resolve()
