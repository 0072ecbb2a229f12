"""A second gateway of the same fleet, over TLS with client certificates, and the real CLI."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flotilla_cli import services
from flotilla_cli import stack as stacks
from flotilla_testing.certificates import CertificateFiles, make_certificates
from flotilla_testing.stacks import Stack

DEADLINE_S = 60


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def port(
    stack: Stack, certificates: CertificateFiles, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of the second gateway."""
    folder = tmp_path_factory.mktemp("gateway")
    known = stacks.loaded(stack.name)
    settings = {
        "NATS_URL": known.nats_url,
        "NATS_CREDENTIALS": str(services.credentials_path(known, "gateway")),
        "DATABASE_URL": f"sqlite:///{known.data_dir}/gateway/catalogue.db",
        "DATA_DIR": str(folder),
        "LISTEN": "tls://127.0.0.1:0",
        "DIRECT_LISTEN": f"{known.control_address}:0",
        "INGRESS": "false",
        "TLS_CERT": str(certificates.server_certificate),
        "TLS_KEY": str(certificates.server_key),
        "TLS_CA": str(certificates.ca),
    }
    environment = {f"FLOTILLA_GATEWAY_{name}": value for name, value in settings.items()}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flotilla_gateway"],
            env=os.environ | environment,
            stderr=output,
        )
    try:
        yield _port(process, log)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"listening on tls://127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found.group(1))
        time.sleep(0.05)
    raise AssertionError(f"the gateway does not listen: {log.read_text()[-3000:]}")


def _docker(
    port: int, folder: Path | None, *arguments: str, given: str = ""
) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"DOCKER_HOST": f"tcp://127.0.0.1:{port}", "DOCKER_TLS_VERIFY": "1"}
    if folder is not None:
        environment["DOCKER_CERT_PATH"] = str(folder)
    return subprocess.run(
        ["docker", *arguments],
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_output_comes_after_the_end_of_input(port: int, certificates: CertificateFiles) -> None:
    script = "cat; sleep 1; echo end"
    command = ("run", "--rm", "-i", "busybox", "sh", "-c", script)
    done = _docker(port, certificates.client, *command, given="begin\n")
    assert (done.returncode, done.stdout) == (0, "begin\nend\n"), done.stderr


def test_both_gateways_show_the_same_fleet(
    stack: Stack, port: int, certificates: CertificateFiles
) -> None:
    made = _docker(port, certificates.client, "create", "busybox", "true")
    assert made.returncode == 0, made.stderr
    container = made.stdout.strip()
    listed = stack.engine.docker("ps", "-aq", "--no-trunc").checked().stdout
    assert container in listed.split()
    stack.engine.docker("rm", container).checked()
    left = _docker(port, certificates.client, "ps", "-aq", "--no-trunc")
    assert container not in left.stdout


def test_a_client_without_a_certificate_is_refused(
    port: int, certificates: CertificateFiles, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(certificates.ca.read_bytes())
    done = _docker(port, tmp_path, "ps")
    assert done.returncode != 0
