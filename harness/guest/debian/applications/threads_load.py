# SPDX-License-Identifier: GPL-2.0-only
"""The Python process: the same kinds of threads as in programs/Threads.java."""

from __future__ import annotations

import contextlib
import json
import math
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable

RING, WORKERS, MAKERS, BLOCK = 16, 16, 4, 100
FACTOR, SUMMAND, MASK = 6364136223846793005, 1442695040888963407, (1 << 64) - 1


def block() -> float:
    """Some floating point, which always gives the same."""
    return math.fsum(math.sqrt(i) / (i + 0.25) - 1.0 / (i * 3.0) for i in range(1, BLOCK + 1))


class Worker:
    """A number that can be computed again from how many steps there were."""

    def __init__(self, seed: int) -> None:
        self.seed = self.value = seed
        self.steps = 0
        self.lock = threading.Lock()

    def work(self) -> None:
        """Take one block of steps."""
        with self.lock:
            for _ in range(BLOCK):
                self.value = (self.value * FACTOR + SUMMAND) & MASK
            self.steps += BLOCK

    def right(self) -> bool:
        """Whether it is where it must be: each step is x -> a x + b, and so are many."""
        with self.lock:
            a, b, factor, summand, left = 1, 0, FACTOR, SUMMAND, self.steps
            while left:
                if left & 1:
                    a, b = a * factor & MASK, (b * factor + summand) & MASK
                summand, factor = summand * (factor + 1) & MASK, factor * factor & MASK
                left >>= 1
            return self.value == (a * self.seed + b) & MASK


class Process:
    """All its threads."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.workers = [Worker(number * 7919 + 1) for number in range(WORKERS)]
        self.queues = [queue.Queue[int](1) for _ in range(RING)]
        self.token = self.made = self.ticks = 0
        self.wrong = ""
        self.ending = False
        self.floats = block()

    def start(self, what: Callable[..., None], *arguments: object) -> None:
        """Start a thread."""
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def ring(self, mine: int) -> None:
        """Hand the number on to the next one."""
        while True:
            got = self.queues[mine].get()
            if got % RING != mine or got != self.token:
                self.wrong = f"ring: {got} at {mine}"
            self.token = got + 1
            time.sleep(0.05)
            self.queues[(mine + 1) % RING].put(got + 1)

    def worker(self, worker: Worker) -> None:
        """Work, and compute what always gives the same."""
        while not (self.ending and worker is self.workers[0]):
            worker.work()
            if (again := block()) != self.floats:
                self.wrong = f"floating point: {again} and not {self.floats}"
            time.sleep(1.0)

    def maker(self) -> None:
        """Make objects that refer to each other, for the collector."""
        number = 0
        while True:
            number += 1
            made = {i: [f"text {i ^ number}"] for i in range(200)}
            made[0].append(made)  # type: ignore[arg-type]
            time.sleep(0.5)
            if any(made[i][0] != f"text {i ^ number}" for i in range(200)):
                self.wrong = "an object lost its content"
            self.made += 1

    def ticker(self) -> None:
        """Count a quarter of a second each."""
        while True:
            time.sleep(0.25)
            self.ticks += 1

    def status(self) -> dict[str, object]:
        """How it is."""
        bad = [number for number, worker in enumerate(self.workers) if not worker.right()]
        wrong = f"worker {bad[0]} is not where it must be" if bad else self.wrong
        return {
            "threads": len(self.threads),
            "alive": sum(thread.is_alive() for thread in self.threads),
            "token": self.token,
            "steps": sum(worker.steps for worker in self.workers),
            "made": self.made,
            "ticks": self.ticks,
            "wrong": wrong,
        }

    def run(self, path: str) -> None:
        """Start all, and answer questions."""
        for worker in self.workers:
            self.start(self.worker, worker)
        for _ in range(MAKERS):
            self.start(self.maker)
        for number in range(RING):
            self.start(self.ring, number)
        self.start(self.ticker)
        self.queues[0].put(0)
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()
        while True:
            client, _ = server.accept()
            with client:
                asked = client.recv(64).decode().strip()
                if asked == "value":
                    self.workers[5].value ^= 1 << 33
                if asked == "thread":
                    self.ending = True
                    self.threads[0].join()
                # Who asked may be gone.
                with contextlib.suppress(OSError):
                    client.sendall(json.dumps(self.status()).encode() + b"\n")


if __name__ == "__main__":
    Process().run(sys.argv[1])
