# SPDX-License-Identifier: GPL-2.0
"""What the tests of Documentation/user/remote.rst share: a second machine, as far as its examples can
tell, and the examples.

The machine "other" is a network namespace with a cable to this one, and a mount namespace with streams
and an /srv of its own. An example is a line of the page; a test gives it as the page has it.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time

import tool
from tool import MIB, MOUNT, PROGRAMS, TOOL, WORK, ctl, path, read
from tap import check

ADDRESS = "10.99.0.2"
BIN = f"{WORK}/bin"  # before all else in PATH
PATH = f"{BIN}:{PROGRAMS}:{os.environ['PATH']}"
ENV = {**os.environ, "PATH": PATH}
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../Documentation/user/remote.rst")


# ---- the page

def page():
    """The literal blocks of the page, as lines, by section. A line of two machines says where it is run."""
    sections, title, before, block = {}, None, "", False
    with open(PAGE, encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if line.startswith("====") and before:
                title, block = before, False
                sections[title] = []
            elif block and line.startswith("   "):
                where, _, command = line.strip().partition("$")
                sections[title].append(command.strip() if where in ("here", "other") else line.strip())
            elif line:
                block = line.endswith("::")
            before = line
    return sections


EXAMPLES = page()
RUN = set()


def example(text):
    """Lines of the page, which a test runs."""
    for line in text.splitlines():
        check(any(line in lines for lines in EXAMPLES.values()), f"the page does not show: {line}")
        RUN.add(line)
    return text


def all_shown_is_run(titles):
    """These sections show no other line, but what says "..." or is for QEMU's monitor."""
    left = [line for title in titles for line in EXAMPLES[title]
            if line not in RUN and "..." not in line and not line.startswith("(qemu)")]
    check(not left, f"the page shows what is not tested: {left}")


# ---- the machines

class Other:
    """The other machine; init is the process that keeps its namespaces."""

    init = None
    sshd = None


@contextlib.contextmanager
def two_machines():
    for command in ("ip netns add other",
                    "ip link add here type veth peer name there netns other",
                    "ip addr add 10.99.0.1/24 dev here", "ip link set here up",
                    f"ip -n other addr add {ADDRESS}/24 dev there", "ip -n other link set there up",
                    "ip -n other link set lo up"):
        subprocess.run(command.split(), check=True)
    with open(f"{WORK}/hosts", "w", encoding="ascii") as file:
        file.write(f"127.0.0.1 localhost\n{ADDRESS} other store.example\n")
    subprocess.run(["mount", "--bind", f"{WORK}/hosts", "/etc/hosts"], check=True)
    os.makedirs(MOUNT, exist_ok=True)
    os.mkdir(BIN)
    Other.init = subprocess.Popen([
        "nsenter", "--net=/run/netns/other", "unshare", "--mount", "sh", "-c",
        f"mount -t qemufile -o size=1g qemufile {MOUNT} && mount -t tmpfs tmpfs /srv &&"
        " mkdir /srv/guests && exec sleep infinity"])
    try:
        wait_until(lambda: os.path.exists(path_there("/srv/guests")), "the other machine does not start")
        yield
    finally:
        for process in (Other.sshd, Other.init):
            if process:
                process.kill()
                process.wait()
        for command in ("umount /etc/hosts", "ip link del here", "ip netns del other"):
            subprocess.run(command.split(), check=True)


def wait_until(holds, text, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        check(time.monotonic() < end, text)
        time.sleep(0.05)


def shell(command):
    return ["bash", "-o", "pipefail", "-ec", command]


def on_other(command):
    """How a command is started there."""
    return ["nsenter", f"--target={Other.init.pid}", "--net", "--mount", *command]


def there(command):
    """Starts a command of a shell there."""
    return subprocess.Popen(on_other(shell(command)), env=ENV)


def here(command, status=0, **more):
    """Runs a command of a shell here, and returns what it printed."""
    result = subprocess.run(shell(command), env=ENV, stdout=subprocess.PIPE, timeout=120, check=False,
                            **more)
    check(result.returncode == status, f"{command}: status {result.returncode}")
    return result.stdout.decode()


def ended(process):
    check(process.wait(120) == 0, f"{process.args}: status {process.returncode}")


def listens(port):
    """Waits until somebody listens at a port there."""
    def found():
        for table in ("tcp", "tcp6"):
            with open(f"/proc/{Other.init.pid}/net/{table}", encoding="ascii") as file:
                if any(row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "0A"
                       for row in file.readlines()[1:]):
                    return True
        return False
    wait_until(found, f"nobody listens at port {port}")


def path_there(name):
    """A file there, for a program that is here."""
    return f"/proc/{Other.init.pid}/root{name if '/' in name else path(name)}"


def read_there(name):
    with open(path_there(name), "rb") as file:
        return file.read()


def memory_here(folder=MOUNT):
    """What the streams of a mount hold, in bytes."""
    figures = os.statvfs(folder)
    return (figures.f_blocks - figures.f_bfree) * figures.f_frsize


def memory_there():
    return memory_here(path_there(f"{MOUNT}/"))


def json_there(*arguments):
    result = subprocess.run(on_other([TOOL, "--json", *arguments]), stdout=subprocess.PIPE, check=True)
    return json.loads(result.stdout)


def clear():
    tool.clear()
    for name in os.listdir(path_there(f"{MOUNT}/")):
        os.unlink(path_there(name))
    wait_until(lambda: memory_there() == 0, "an empty mount holds memory, there")


def same(name, name_there=None):
    """Both have the same bytes."""
    check(read(name) == read_there(name_there or name), f"{name}: other bytes")


def put(name, size):
    data = os.urandom(size)
    ctl("put", name, input=data)
    return data


def write(name, start, data):
    with open(path(name), "r+b") as file:
        file.seek(start)
        file.write(data)


def put_with_holes(name):
    """8 MiB with two holes; returns how many bytes are no hole."""
    put(name, 8 * MIB)
    for start, length in ((MIB, 2 * MIB), (6 * MIB, MIB)):
        subprocess.run(["fallocate", "--punch-hole", f"--offset={start}", f"--length={length}",
                        path(name)], check=True)
    return 5 * MIB


def sum_of(data):
    return hashlib.sha256(data).hexdigest()


# ---- ssh

def start_sshd():
    """With keys of its own, and an ssh here that knows them."""
    os.makedirs("/run/sshd", exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{WORK}/{name}.key"],
                       check=True)
    with open(f"{WORK}/host.key.pub", encoding="ascii") as file:
        host_key = file.read()
    texts = {
        "known_hosts": f"other {host_key}",
        "sshd_config": f"HostKey {WORK}/host.key\nAuthorizedKeysFile {WORK}/user.key.pub\n"
                       "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
                       f"SetEnv PATH={PATH}\n",
        "ssh_config": f"Host other\nUser root\nIdentityFile {WORK}/user.key\nBatchMode yes\n"
                      f"UserKnownHostsFile {WORK}/known_hosts\nStrictHostKeyChecking yes\n",
        "bin/ssh": f"#!/bin/sh\nexec /usr/bin/ssh -F {WORK}/ssh_config \"$@\"\n",
    }
    for name, text in texts.items():
        with open(f"{WORK}/{name}", "w", encoding="ascii") as file:
            file.write(text)
    os.chmod(f"{BIN}/ssh", 0o755)
    Other.sshd = subprocess.Popen(on_other(["/usr/sbin/sshd", "-D", "-e", "-f", f"{WORK}/sshd_config"]),
                                  stderr=subprocess.DEVNULL)
    listens(22)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def lose_connections():
    """Ends the processes of sshd that serve them. Another connection may just have ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for outer in children(Other.sshd.pid):
            for process in (*children(outer), outer):
                os.kill(process, signal.SIGKILL)
