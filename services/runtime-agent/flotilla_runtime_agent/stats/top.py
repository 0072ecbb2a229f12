"""``docker top``: what the host's ``ps`` says of the processes of one container."""

import asyncio
import re
from collections.abc import Sequence

from flotilla_bus.contracts.agent import TopAnswer
from flotilla_core.errors import InternalError, InvalidArgumentError
from flotilla_runtime_agent.stats import process_table

_DEFAULT = "-ef"
_RENAMED_PID = re.compile(r"\s+(\S*)=\s*(PID\S*)")


async def processes(pids: Sequence[int], ps_args: str) -> TopAnswer:
    """Return ps's table of these processes, by dockerd's rules (``daemon/top_unix.go``).

    Raises:
        InvalidArgumentError: If a column other than the process id is to be named PID.
        InternalError: If ps fails, or shows no process ids.
    """
    arguments = ps_args.split() or [_DEFAULT]
    if arguments == [_DEFAULT]:
        rows = await asyncio.to_thread(process_table.rows, pids)
        return TopAnswer(titles=process_table.TITLES, processes=rows)
    for name, title in _RENAMED_PID.findall(" " + " ".join(arguments)):
        if name != "pid":
            raise InvalidArgumentError(f'specifying "{name}={title}" is not allowed')
    listed = ",".join(str(pid) for pid in pids)
    # Not all options of ps go together with a selection.
    output = await _ps([*arguments, f"-q{listed}"]) or await _ps(arguments, is_last=True)
    return parsed(output or "", set(pids))


def parsed(output: str, pids: set[int]) -> TopAnswer:
    """Return the rows of ps's output that belong to these processes.

    Raises:
        InternalError: If there is no column PID.
    """
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InternalError("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = []
    shown = False
    for line in lines[1:]:
        fields = line.split()
        if not fields:
            continue
        if fields[column] == "-":  # a thread of the process above
            if shown:
                rows.append(_row(fields, titles))
            continue
        if not fields[column].isdigit():
            raise InternalError(f"Unexpected pid '{fields[column]}': invalid syntax")
        shown = int(fields[column]) in pids
        if shown:
            rows.append(_row(fields, titles))
    return TopAnswer(titles=titles, processes=rows)


def _row(fields: list[str], titles: list[str]) -> list[str]:
    last = len(titles) - 1
    return [*fields[:last], " ".join(fields[last:])]


async def _ps(arguments: Sequence[str], *, is_last: bool = False) -> str | None:
    try:
        process = await asyncio.create_subprocess_exec(
            "ps", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        raise InternalError('exec: "ps": executable file not found in $PATH') from None
    output, errors = await process.communicate()
    if process.returncode == 0:
        return output.decode(errors="replace")
    if is_last:
        reason = errors.decode(errors="replace").strip().splitlines()
        said = reason[0] if reason else f"exit status {process.returncode}"
        raise InternalError(f"ps: {said}")
    return None
