"""
The keeper's loop, and its protocol: one JSON object a line, on a unix socket, with one Corral at a time.

    python -m corral.runtimes.process.keeper lock=FILE id=STATE_ID [socket=PATH] [fd=N] [oom=FILE]

`lock` is held (flock) for life: one keeper per state directory. `id` ends the marker of every process of this
directory. `fd` is a connected socket from the Corral that started us; `socket` is where the next Corral finds us.

Requests carry `op` and `id`; each gets one `{"id", "ok": ...}` or `{"id", "error": ...}`:

    hello     pid, keep_s            this Corral owns us now; keep_s: how long engines live on when it goes (0: not)
                                     -> version, pid, engines: [{instance, pid, stop_grace_s, status}]
    start     instance, argv, env, cwd, stop_signal, stop_grace_s, logs, log_name, exit_file    -> pid, start
    stop      instance, number, grace_s       asks, then kills; `ended` follows when nothing is left of it
    signal    instance, number
    logs      instance, after, now   -> first, lines, total, ended; unless `now`, waits for line `after` or the end
    tree      instance               -> pids
    forget    instance               an ended one
    detach    keep_s                 what hello's keep_s shall be from now on
    shutdown                         stop everything, then leave

and `{"event": "ended", "instance", "status"}` is pushed. Closing the connection needs no words: that is the point.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from corral.runtimes.process.keeper import procs
from corral.runtimes.process.keeper.child import Child

VERSION = 1
FIRST_OWNER_S = 10.0  # a keeper to which nobody ever speaks leaves
LOCK_WAIT_S = 5.0  # the keeper before us may be about to leave
ORPHANED_GRACE_S = 1.0  # engines of a Corral that is gone; all must be over within 5 s
TICK_S = 0.02  # while something ends
LOOK_S = 10.0  # how often the OOM counter is read while engines run
REQUEST_BYTES = 16 * 1024 * 1024


class Peer:
    """A connection. Its output is bounded by what it asks: nothing but `ended` is ever pushed."""

    def __init__(self, sock: socket.socket, keeper: Keeper) -> None:
        self._sock = sock
        self._keeper = keeper
        self._in = bytearray()
        self._out = bytearray()
        sock.setblocking(False)
        keeper.selector.register(sock, selectors.EVENT_READ, self._ready)

    def _ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self.flush()
        if mask & selectors.EVENT_READ:
            try:
                data = self._sock.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self._in += data
            if not data or len(self._in) > REQUEST_BYTES:
                self.close()
                return
            *lines, rest = self._in.split(b"\n") if b"\n" in data else [self._in]
            self._in = bytearray(rest)
            try:
                requests = [dict(json.loads(line)) for line in lines]
            except (ValueError, TypeError):  # not our protocol
                self.close()
                return
            for request in requests:
                self._keeper.handle(self, request)

    def send(self, message: dict[str, Any]) -> None:
        """Queue one message and try to send it."""
        self._out += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes; the rest when it can."""
        with contextlib.suppress(OSError):  # full for now; or gone, which reading will tell
            if self._out:
                del self._out[: self._sock.send(self._out)]
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        with contextlib.suppress(KeyError, ValueError):  # closed meanwhile
            self._keeper.selector.modify(self._sock, mask, self._ready)

    def close(self) -> None:
        """The connection is over."""
        with contextlib.suppress(KeyError):
            self._keeper.selector.unregister(self._sock)
        self._sock.close()
        self._keeper.left(self)


class Keeper:
    """All engines of one state directory."""

    def __init__(self, state_id: str, oom: str = "") -> None:
        self.selector = selectors.DefaultSelector()
        self._state_id = state_id
        self._oom = procs.OomWatch(oom)
        self._children: dict[str, Child] = {}
        self._owner: Peer | None = None
        self._owner_pid = 0
        self._keep_s = 0.0
        self._stop_at: float | None = time.monotonic() + FIRST_OWNER_S  # while nobody is connected: the end of keeping
        self._leaving = False
        self._waiting: list[tuple[Peer, dict[str, Any]]] = []  # `logs` requests ahead of their line
        self._looked_at = 0.0
        self._ops: dict[str, Callable[[dict[str, Any]], Any]] = {
            "start": self._start, "stop": self._stop, "signal": self._signal, "tree": self._tree,
            "forget": self._forget, "detach": self._detach, "shutdown": self._shutdown,
        }  # fmt: skip

    # --- connections

    def listen(self, path: str) -> socket.socket:
        """Be found by the next Corral."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(8)
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, lambda _: self._accept(listener))
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            Peer(listener.accept()[0], self)

    def handle(self, peer: Peer, request: dict[str, Any]) -> None:
        """Answer one request."""
        try:
            if request["op"] == "hello":
                answer = self._hello(peer, request)
            elif peer is not self._owner:
                raise ValueError("say hello first")
            elif request["op"] == "logs":
                child = self._children[request["instance"]]
                self._waiting.append((peer, request))
                self._answer_logs(child)
                return
            else:
                answer = self._ops[request["op"]](request)
        except KeyError as error:
            peer.send({"id": request.get("id"), "error": f"no such thing: {error}", "unknown": True})
        except (OSError, ValueError, RuntimeError) as error:
            peer.send({"id": request.get("id"), "error": _sentence(error)})
        else:
            peer.send({"id": request["id"], "ok": answer})

    def left(self, peer: Peer) -> None:
        """A connection ended. If it was Corral's, its engines end too, now or after `keep_s`."""
        self._waiting = [(p, request) for p, request in self._waiting if p is not peer]
        if peer is not self._owner:
            return
        self._owner = None
        self._stop_at = time.monotonic() + self._keep_s
        if not self._keep_s:
            self._stop_all("Corral is gone", ORPHANED_GRACE_S)

    # --- requests

    def _hello(self, peer: Peer, request: dict[str, Any]) -> dict[str, Any]:
        if self._owner is not None:
            raise ValueError(f"another Corral with pid {self._owner_pid} owns this keeper")
        self._owner, self._owner_pid, self._keep_s = peer, request["pid"], request["keep_s"]
        self._leaving = False  # if somebody had asked us to: there is a Corral again
        self._stop_at = None
        engines = [
            {"instance": child.instance, "pid": child.pid, "stop_grace_s": child.grace_s, "status": child.status}
            for child in self._children.values()
        ]
        return {"version": VERSION, "pid": os.getpid(), "engines": engines}

    def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._leaving or request["instance"] in self._children:
            raise ValueError("the keeper is leaving" if self._leaving else "this instance exists already")
        child = self._children[request["instance"]] = Child(request)
        for fd in child.pipes:
            self.selector.register(fd, selectors.EVENT_READ, lambda _, fd=fd: self._output(child, fd))
        self._oom.look(time.monotonic())
        return {"pid": child.pid, "start": child.start_ticks}

    def _stop(self, request: dict[str, Any]) -> None:
        child = self._children[request["instance"]]
        child.stop(time.monotonic(), "stop", number=request["number"], grace_s=request["grace_s"])

    def _signal(self, request: dict[str, Any]) -> None:
        self._children[request["instance"]].signal(request["number"])

    def _tree(self, request: dict[str, Any]) -> list[int]:
        child = self._children[request["instance"]]
        if child.status is not None:
            return []
        roots = [child.pid, *(pid for pid in self._orphans() if child.owns(pid))]
        return sorted({*roots, *(pid for root in roots for pid in procs.descendants(root))})

    def _forget(self, request: dict[str, Any]) -> None:
        if self._children[request["instance"]].status is None:
            raise ValueError("it has not ended")
        del self._children[request["instance"]]

    def _detach(self, request: dict[str, Any]) -> None:
        self._keep_s = request["keep_s"]

    def _shutdown(self, _: dict[str, Any]) -> None:
        self._leaving = True
        self._stop_all("Corral shut down", None)

    # --- engines

    def _output(self, child: Child, fd: int) -> None:
        if child.read(fd) == 0:
            self.selector.unregister(fd)
            del child.pipes[fd]
        self._answer_logs(child)

    def _answer_logs(self, child: Child) -> None:
        for entry in [e for e in self._waiting if e[1]["instance"] == child.instance]:
            peer, request = entry
            if child.output.total > request["after"] or child.status is not None or request["now"]:
                self._waiting.remove(entry)
                first, lines = child.output.since(request["after"])
                shown = [(at, stream, text.decode("utf-8", "replace")) for at, stream, text in lines]
                ended = child.status is not None and first + len(lines) >= child.output.total
                answer = {"first": first, "lines": shown, "total": child.output.total, "ended": ended}
                peer.send({"id": request["id"], "ok": answer})

    def _stop_all(self, why: str, grace_s: float | None) -> None:
        for child in self._children.values():
            child.stop(time.monotonic(), why, grace_s=grace_s)

    def _orphans(self) -> list[int]:
        mains = self._mains()
        return [pid for pid in procs.children(os.getpid()) if pid not in mains]

    def _mains(self) -> dict[int, Child]:
        return {child.pid: child for child in self._children.values() if not child.main_ended}

    def _reap(self, now: float) -> None:
        mains = self._mains()
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in mains:
                mains[pid].reaped(wait_status, now)

    def _step(self, now: float) -> None:
        ending = [child for child in self._children.values() if child.ending]
        if not ending:
            return
        # A list of children may miss one while another exits: the union of two looks does not.
        orphans = set(self._orphans()) | set(self._orphans())
        alive = [child for child in self._children.values() if child.status is None]
        for child in ending:
            own = [pid for pid in orphans if child.owns(pid) or len(alive) == 1]  # nobody else's: the last one's
            fds = list(child.pipes)
            if child.step(now, own, self._oom):
                for fd in fds:
                    self.selector.unregister(fd)
                self._answer_logs(child)
                if self._owner is not None:
                    self._owner.send({"event": "ended", "instance": child.instance, "status": child.status})

    # --- the loop

    def run(self) -> None:
        """Until nothing is left and nobody is connected."""
        while True:
            for key, mask in self.selector.select(self._patience()):
                key.data(mask)
            now = time.monotonic()
            self._reap(now)
            self._step(now)
            if now - self._looked_at >= LOOK_S:
                self._looked_at = now
                self._oom.look(now)
            late = self._stop_at is not None and now >= self._stop_at
            if late:
                self._stop_all("Corral did not come back in time", ORPHANED_GRACE_S)
            # Exit codes are in files too: a keeper without engines has nothing to wait for but its first Corral.
            alone = self._owner is None and (late or self._owner_pid != 0)
            if (alone or self._leaving) and all(child.status is not None for child in self._children.values()):
                return

    def _patience(self) -> float | None:
        alive = [child for child in self._children.values() if child.status is None]
        if any(child.ending for child in alive):
            return TICK_S
        ends = [LOOK_S] if alive else []
        if self._stop_at is not None:
            ends.append(max(0.0, self._stop_at - time.monotonic()))
        return min(ends, default=None)

    def on_terminate(self) -> None:
        """SIGTERM or SIGINT: the owner decides when there is one (it hears the same signal); else all must end."""
        if self._owner is None:
            self._leaving = True
            self._stop_all("the keeper was asked to end", ORPHANED_GRACE_S)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _take_lock(path: str) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.01)


def _hear_signals(keeper: Keeper) -> None:
    # A wake-up socket, so that an exit is noticed at once and handlers never run in the middle of anything. Handlers
    # are functions, not SIG_IGN: what is ignored would stay ignored in the engines.
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    def heard(_: int, keep: socket.socket = sender) -> None:
        if {signal.SIGTERM, signal.SIGINT} & set(receiver.recv(4096)):
            keeper.on_terminate()

    keeper.selector.register(receiver, selectors.EVENT_READ, heard)


def main() -> int:
    """Run the keeper. Returns 3 when another keeper holds the lock."""
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    os.umask(0o077)
    os.chdir("/")
    lock = _take_lock(options["lock"])
    if lock is None:
        return 3
    procs.become_subreaper()
    for pid, start in procs.marked(options["id"]).items():
        procs.kill_exact(pid, start)  # we have no engines yet: whoever bears our mark lost its keeper
    keeper = Keeper(options["id"], options.get("oom", ""))
    _hear_signals(keeper)
    path = options.get("socket", "")
    listener = keeper.listen(path) if path else None
    if "fd" in options:
        Peer(socket.socket(fileno=int(options["fd"])), keeper)
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"pid": os.getpid(), "socket": path}).encode(), 0)
    keeper.run()
    for pid in procs.descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)  # a stray that belongs to no engine; nobody would end it after us
    if listener is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
