"""Compares what a fleet says of a host's containers with what is really there."""

import json
from pathlib import Path

from flotilla_testing.stacks import Stack


def disagreements(stack: Stack, host: str) -> dict[str, list[str]]:
    """Return where catalogue, disk, monitors and runtime differ; nothing while all agree.

    Only of use while nobody makes, starts or removes containers there.
    """
    known, running = _listed(stack, host)
    data = stack.data_dir / "hosts" / host
    run = stack.run_dir / "h" / host
    folders = {
        "folders": (_names(data / "containers"), known),
        "snapshots": (_names(data / "overlay2" / "snapshots"), known),
        "bundles": (_names(run / "c"), running),
        "runtime states": (_names(run / "runc"), running),
        "monitors": (_monitors(run / "c"), running),
    }
    found = {}
    for kind, (there, wanted) in folders.items():
        found[f"{kind} of no container"] = sorted(there - wanted)
        found[f"containers without {kind}"] = sorted(wanted - there)
    return {what: ids for what, ids in found.items() if ids}


def _listed(stack: Stack, host: str) -> tuple[set[str], set[str]]:
    filters = json.dumps({"node": [host]})
    with stack.engine.api() as api:
        answer = api.get("/containers/json", params={"all": "true", "filters": filters})
    listed = answer.raise_for_status().json()
    running = {one["Id"] for one in listed if one["State"] in ("running", "paused")}
    return {one["Id"] for one in listed}, running


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def _monitors(bundles: Path) -> set[str]:
    """Return the ids of containers (not of execs) that a conmon watches."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "--full-attach" in words and "--exec" not in words:
            bundle = Path(words[words.index("--bundle") + 1])
            found |= {bundle.name} if bundle.parent == bundles else set()
    return found
