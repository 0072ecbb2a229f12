"""The image store killed with SIGKILL: an image is there whole or not at all."""

from pathlib import Path

from flotilla_testing.stacks import Stack


def test_killed_while_it_loads_the_image_is_whole_or_absent(
    fleet: Stack, image_folder: Path
) -> None:
    engine = fleet.engine
    archive = (image_folder / "layered.tar").read_bytes()
    running = engine.docker("run", "-d", "busybox", "sleep", "1000").checked().out
    engine.docker("rmi", "-f", "layered").checked()
    loading = engine.popen(["load"])
    assert loading.stdin is not None
    loading.stdin.write(archive[: len(archive) // 2])
    loading.stdin.flush()
    fleet.kill("image-store")
    loading.communicate(timeout=60)
    assert loading.returncode != 0
    engine.docker("exec", running, "true").checked()
    refused = engine.docker("run", "--rm", "busybox", "true", timeout_s=60)
    assert refused.code == 125
    assert "image-store" in refused.stderr
    fleet.start("image-store")
    assert "layered" not in engine.docker("images", "-q", "layered").checked().stdout
    engine.docker("run", "--rm", "busybox", "true").checked()
    engine.docker("load", stdin=archive).checked()
    engine.docker("run", "--rm", "layered", "true").checked()
