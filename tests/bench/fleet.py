"""
What many Models cost: `python -m tests.bench.fleet [--models 10000] [--alive 10 50] [--times 3]`.

First the start: `corral serve` of so many Models, as YAML and as TOML that share a hundred files, and as YAML with a
file for each, the first time and again. CPU is that of the process until it says that it serves, so that it means the
same on a machine with other work; beside it stand the seconds to that line, to the list of Models, to the answer of the
last Model (asked for at once, of files that hold no weights: it is the refusal of its start), and until all Models are
surveyed. Then the scheduler's events among a thousand Models and five thousand waiters, in microseconds (the median).
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from corral.domain import commands, events
from corral.domain.fleet import Fleet, Limits, ModelSpec
from corral.domain.launch import Endpoint, Footprint
from corral.domain.serving import Caller
from corral.scheduler.machine import Machine
from corral.store.gguf.reader import read_header
from tests.models import ADA, model

SHARED_FILES = 100
SAYS = re.compile(r"serves .* at (\S+)/v1")
REST = re.compile(r"surveyed the other ([\d,]+) Models")
NEVER = 1e9
MODELS, WAITERS = 1_000, 5_000
CALLERS = [Caller(f"c{number}") for number in range(7)]
URGENT = Caller("urgent", priority=9)

# --- the start --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of the program."""

    cpu_s: float
    says_so_s: float
    first_answer_s: float
    last_model_s: float  # 0 = it was not asked
    surveyed_s: float
    behind: int  # Models that were surveyed while it served
    rss_bytes: int


def files(folder: Path, count: int) -> Path:
    """So many model files: real headers, and holes in the place of weights."""
    source, target = model(ADA), folder / f"files-{count}"
    target.mkdir()
    begin = source.read_bytes()[: read_header(source).data_offset]
    for number in range(count):
        with open(target / f"f{number}.gguf", "wb") as file:
            file.write(begin)
            file.truncate(source.stat().st_size)
    return target


def config(folder: Path, suffix: str, count: int, sources: Path, of: int) -> Path:
    """A config of so many Models."""
    if suffix == "toml":
        head = "server.port = 0\n[defaults.options.llamacpp]\nctx_size = 4096\nparallel = 2\n"
        each = '[models.m{n}]\nsource = "{path}"\naliases = ["a{n}"]\noptions.ctx_size = {ctx}\nttl = "30m"\n'
    else:
        head = "server: {port: 0}\ndefaults: {options: {llamacpp: {ctx_size: 4096, parallel: 2}}}\nmodels:\n"
        each = "  m{n}:\n    source: {path}\n    aliases: [a{n}]\n    options: {{ctx_size: {ctx}}}\n    ttl: 30m\n"
    target = folder / f"{sources.name}.{suffix}"
    target.write_text(
        head
        + "".join(
            each.format(n=number, path=sources / f"f{number % of}.gguf", ctx=1024 * (1 + number % 5))
            for number in range(count)
        )
    )
    return target


def start(file: Path, cache: Path, *, ask: str = "", to_the_end: bool = False) -> Start:
    """Start it, ask it once (and a Model, where one is named), wait for the survey where that is wanted, end it."""
    with tempfile.TemporaryDirectory(prefix="c") as state:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "corral", "serve", "--config", str(file), "--state-dir", state],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        )  # fmt: skip
        try:
            assert process.stderr is not None
            said = next((found for line in process.stderr if (found := SAYS.search(line))), None)
            says_so_s = time.perf_counter() - began
            assert said is not None, "it ended"
            numbers = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            cpu_s = (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
            with urllib.request.urlopen(f"{said[1]}/v1/models", timeout=30) as answer:
                answer.read()
            first_s = time.perf_counter() - began
            last_s = _answered(said[1], ask) - began if ask else 0.0
            found = (
                next((match for line in process.stderr if (match := REST.search(line))), None) if to_the_end else None
            )
            surveyed_s = time.perf_counter() - began if found else says_so_s
            status = Path(f"/proc/{process.pid}/status").read_text()
            rss = re.search(r"VmRSS:\s+(\d+)", status)
            behind = int(found[1].replace(",", "")) if found else 0
            return Start(cpu_s, says_so_s, first_s, last_s, surveyed_s, behind, 1024 * int(rss[1]) if rss else 0)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            if process.stderr is not None:
                process.stderr.close()


def _answered(address: str, model: str) -> float:
    """When this Model has answered: an engine takes its time to find that the file has no weights."""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "hello"}}], "max_tokens": 1}}'
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", body.encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        error.close()
    return time.perf_counter()


def starts(folder: Path, count: int, times: int) -> None:
    """The table of starts."""
    shared = files(folder, SHARED_FILES)
    own = files(folder, count)
    print(f"{'start of ' + format(count, ',') + ' Models':42s} CPU s  says so  answers  a Model  surveyed  RSS MB")
    for what, suffix, sources, of in (
        ("YAML, 100 files", "yaml", shared, SHARED_FILES),
        ("TOML, 100 files", "toml", shared, SHARED_FILES),
        ("YAML, a file each", "yaml", own, count),
    ):
        file, cache = config(folder, suffix, count, sources, of), folder / f"cache-{suffix}-{of}"
        behind = count >= 10_000  # fewer may all be surveyed before it serves, and then no line tells
        last = f"m{count - 1}"
        first = start(file, cache, ask=last, to_the_end=behind)
        again = [start(file, cache, ask=last, to_the_end=behind) for _ in range(times)]
        best = min(again, key=lambda each: each.cpu_s)
        for when, each in ((", first", first), (", again", best)):
            print(
                f"{what + when:42s} {each.cpu_s:5.2f} {each.says_so_s:8.2f} {each.first_answer_s:8.2f} "
                f"{each.last_model_s:8.2f} {each.surveyed_s:9.2f} {each.rss_bytes / 1e6:7.0f}"
            )


# --- the scheduler ----------------------------------------------------------------------------------------------------


class Crowd:
    """`alive` Models are ready and in use, the others wait for their memory, five requests each."""

    def __init__(self, alive: int) -> None:
        names = [f"m{number}" for number in range(MODELS)]
        limits = Limits(queue_per_model=WAITERS, queue_total=2 * WAITERS, min_loaded_s=0)
        fleet = Fleet({name: ModelSpec(name) for name in names}, {}, {"ram": 10 * alive}, limits)
        self.machine, self.alive, self.now = Machine(id_prefix="i"), alive, 1.0
        self.taken: dict[str, list[float]] = {}
        self._numbers = iter(range(10**9))
        self._held: dict[str, int] = {}  # instance -> its lease
        self.machine.step(events.FleetChanged(fleet, dict.fromkeys(names, "d"), dict.fromkeys(names, Footprint(10))), 0)
        for name in names[:alive]:
            self._note(self._step(events.Requested(next(self._numbers), name, CALLERS[0], NEVER)))
        for number in range(WAITERS):
            name = names[alive + number % (MODELS - alive)]
            self._step(events.Requested(next(self._numbers), name, CALLERS[number % 7], NEVER))

    def _step(self, event: events.SchedulerEvent, what: str = "") -> list[commands.Command]:
        began = time.perf_counter()
        out = self.machine.step(event, self.now)
        if what:
            self.taken.setdefault(what, []).append(time.perf_counter() - began)
        return out

    def _note(self, out: list[commands.Command], what: str = "") -> None:
        """Answer what was asked for, and remember who holds what."""
        for command in out:
            if isinstance(command, commands.Start):
                self.now += 0.01
                self._note(
                    self._step(events.InstanceReady(command.instance, Endpoint(), 1, 1.0), what and "InstanceReady")
                )
            elif isinstance(command, commands.Grant):
                self._held[command.instance] = command.request
            elif isinstance(command, commands.Stop):
                self.now += 0.01
                self._note(self._step(events.InstanceStopped(command.instance), what and "InstanceStopped"), what)

    def swap(self) -> None:
        """The oldest answer ends, its Model leaves for the next in line."""
        self.now += 0.05
        instance = next(iter(self._held))
        request = self._held.pop(instance)
        self._note(self._step(events.LeaseReleased(request), "LeaseReleased, last of a Model"), "swap")

    def come_and_go(self) -> None:
        """One more in line, and away."""
        number, name = next(self._numbers), f"m{MODELS - 1 - len(self.taken.get('Requested', ())) % 500}"
        self._step(events.Requested(number, name, CALLERS[1], NEVER), "Requested, waits")
        self._step(events.RequestsLeft((number,)), "RequestsLeft")

    def tick(self) -> None:
        """For no reason."""
        self._step(events.Tick(), "Tick, nothing due")

    def expire(self) -> None:
        """One comes to the front of the line, and its deadline passes."""
        number = next(self._numbers)
        name = f"m{MODELS - 1 - number % 500}"
        self._step(events.Requested(number, name, URGENT, self.now + 0.001), "Requested, to the front")
        self.now += 0.002
        self._step(events.Tick(), "Tick, expiry at the front")

    def memory(self) -> None:
        """A little more of it, and away again: nobody becomes impossible."""
        self._step(events.MemoryChanged({"ram": 10 * self.alive + 5}), "MemoryChanged, more")
        self._step(events.MemoryChanged({"ram": 10 * self.alive}), "MemoryChanged, less")

    def measure(self) -> None:
        """An instance holds a little less than was thought, and as much again."""
        instance = next(reversed(self._held))
        for size in (9, 10):
            self._step(events.InstanceMeasured(instance, Footprint(size)), "InstanceMeasured")

    def hot(self) -> None:
        """The time of all that are in use comes, of one after the other."""
        for _ in range(200):
            self.swap()
        self.taken.clear()
        while self.machine._world.evictable and (wake := self.machine._world.armed) is not None:
            self.now = max(self.now, wake)
            self._step(events.Tick(), "Tick, a hot one gives way")

    def all_hot(self) -> None:
        """The time of all that are in use has come at once."""
        self.now += 11
        self._step(events.Tick(), "Tick, all hot ones at once")


def events_among(alive: int, times: int = 300) -> dict[str, list[float]]:
    """Seconds for each kind of event, sorted. Each kind of work has a crowd of its own, in the same state."""
    taken: dict[str, list[float]] = {}
    works = [(work, times) for work in (Crowd.swap, Crowd.come_and_go, Crowd.tick, Crowd.expire, Crowd.memory)]
    for work, count in [*works, (Crowd.measure, times), (Crowd.hot, 1), *[(Crowd.all_hot, 1)] * 9]:
        crowd = Crowd(alive)
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            for _ in range(count):
                work(crowd)
        finally:
            gc.enable()
            gc.unfreeze()
        for what, seconds in crowd.taken.items():
            taken.setdefault(what, []).extend(seconds)
    return {what: sorted(seconds) for what, seconds in taken.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--alive", type=int, nargs="*", default=[10, 50])
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    if args.models:
        with tempfile.TemporaryDirectory(prefix="corral-fleet") as place:
            starts(Path(place), args.models, args.times)
    for count in args.alive:
        print(f"\n{count} instances alive, {MODELS:,} Models, {WAITERS:,} waiters; us   p50    p99")
        for kind, taken in events_among(count).items():
            print(f"  {kind:42s} {statistics.median(taken) * 1e6:9.1f} {taken[len(taken) * 99 // 100] * 1e6:6.1f}")
