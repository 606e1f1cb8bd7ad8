"""Clients that put a server under load and check every answer."""

import random
import threading

import grpc
import numpy as np
from server import connect, echo_rows, rows_of, until

DIM = 8  # of the echo engine under this load


class EchoTexts:
    """Texts that nobody else sends, and the echo engine's rows of them."""

    def draw(self, rng):
        return [f"{rng.getrandbits(64)}" for _ in range(rng.choice((1, 1, 2, 7, 60)))]

    def are_right(self, texts, rows):
        return np.array_equal(rows, echo_rows(texts, DIM))


class KnownTexts:
    """A few texts for a real model; right is what each gets when it runs alone, but for rounding."""

    def __init__(self, server):
        texts = [f"sentence number {i} " + "and more " * (i % 7) for i in range(60)]
        self.rows = {text: rows_of(server.encode([text]))[0] for text in texts}

    def draw(self, rng):
        return rng.sample(sorted(self.rows), rng.choice((1, 1, 2, 7, 20)))

    def are_right(self, texts, rows):
        return np.allclose([self.rows[text] for text in texts], rows, atol=1e-5)


class Load:
    """Clients that send texts and check every answer, until told to stop."""

    def __init__(self, server, clients=16, texts=EchoTexts()):
        self.server, self.texts, self.answered, self.wrong, self.errors = server, texts, 0, 0, []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        # Daemons: a test that fails must end, though nobody stops them.
        self.threads = [threading.Thread(target=self._client, args=(i,), daemon=True) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def _client(self, seed):
        rng = random.Random(seed)
        with connect(self.server.address) as channel:
            stub = type(self.server.stub)(channel)
            while not self.stopping.is_set():
                texts = self.texts.draw(rng)
                try:
                    right = self.texts.are_right(texts, rows_of(self.server.encode(texts, stub=stub)))
                    with self.lock:
                        self.answered += 1
                        self.wrong += not right
                except grpc.RpcError as error:
                    with self.lock:
                        self.errors.append(f"{error.code()}: {error.details()}")

    def wait_answers(self, more):
        target = self.answered + more
        until(lambda: self.answered >= target or self.errors, f"{more} more answers")

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def check(self, test):
        """Stops; every request was answered, and rightly."""
        self.stop()
        test.assertEqual((self.errors[:3], self.wrong), ([], 0))
        test.assertGreater(self.answered, 0)
