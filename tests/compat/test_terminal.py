"""`docker run -it`, `attach` and `exec -it` in a real terminal."""

import pexpect

from flotilla_testing.clients import Inspect, Terminal
from flotilla_testing.fixtures import Docker


def test_shell_in_a_terminal_echoes_and_ends_with_its_exit_code(terminal: Terminal) -> None:
    child = terminal("run", "-it", "--rm", "busybox", "sh")
    child.expect("# ")
    child.sendline("tty && echo $((40+2))")
    child.expect("/dev/pts/0")
    child.expect("42")
    child.sendline("exit 5")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 5


def test_terminal_size_follows_the_clients(terminal: Terminal) -> None:
    child = terminal("run", "-it", "--rm", "busybox", "sh")
    child.expect("# ")
    child.sendline("stty size")
    child.expect("24 80")
    child.sendline("trap 'stty size' WINCH; echo read''y")
    child.expect("ready")
    child.setwinsize(40, 100)
    child.sendline("until stty size | grep 100; do sleep 0.1; done")
    child.expect("40 100")


def test_detach_keys_leave_the_container_running(
    docker: Docker, terminal: Terminal, inspect: Inspect
) -> None:
    child = terminal("run", "-it", "--name", "detached", "busybox", "sh")
    child.expect("# ")
    child.send("\x10\x11")
    child.expect(pexpect.EOF)
    assert inspect("detached")["State"]["Running"]
    again = terminal("attach", "--detach-keys", "ctrl-x,x", "detached")
    again.sendline("echo ba''ck")
    again.expect("back")
    again.send("\x18x")
    again.expect(pexpect.EOF)
    assert inspect("detached")["State"]["Running"]
    docker("rm", "-f", "detached").checked()


def test_ctrl_c_reaches_the_program(terminal: Terminal) -> None:
    script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    child = terminal("run", "-it", "--rm", "busybox", "sh", "-c", script)
    child.expect("ready")
    child.send("\x03")
    child.expect("interrupted")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 9


def test_exec_in_a_terminal(docker: Docker, terminal: Terminal) -> None:
    docker("run", "-d", "--name", "host-of-exec", "busybox", "sleep", "1000").checked()
    child = terminal("exec", "-it", "host-of-exec", "sh")
    child.expect("# ")
    child.sendline("tty; stty size")
    child.expect("/dev/pts/")
    child.expect("24 80")
    child.setwinsize(30, 90)
    child.sendline("until stty size | grep 90; do sleep 0.1; done")
    child.expect("30 90")
    child.sendline("exit 4")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 4
