"""An engine that costs next to nothing: it speaks OpenAI's dialect and sends a recorded answer.

Each answer holds a picture of about 1.5 MB that was never sent before, so that the service has to
keep every one. All but the first bytes go by `sendfile`. It runs as a process of its own:

    python -m tests.benchmarks.drawing_server --latency 0.2
"""

import argparse
import base64
import itertools
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

#: A picture of this many pixels a side is about 1.5 MB of noise.
SIDE = 712

READY = "drawing at "

#: Three bytes become four characters: what is sent apart must have a length that three divides.
NOTE_BYTES = 20


@dataclass(frozen=True)
class Server:
    """A running drawing server."""

    origin: str
    pid: int


@contextmanager
def drawing_server(*, latency_s: float = 0.0) -> Iterator[Server]:
    """Run one until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.drawing_server", "--latency", str(latency_s)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(READY), line
        yield Server(origin=line.removeprefix(READY).strip(), pid=process.pid)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _serve(latency_s: float) -> None:
    recorded = tempfile.TemporaryFile()  # noqa: SIM115 - until the process ends
    recorded.write(base64.b64encode(_rest_of_picture()) + b'"}]}')
    recorded.flush()
    numbers = itertools.count(time.time_ns())
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(f"{READY}http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(
                target=_answer_all, args=(connection, recorded, numbers, latency_s), daemon=True
            ).start()


def _answer_all(
    connection: socket.socket, recorded: BinaryIO, numbers: Iterator[int], latency_s: float
) -> None:
    size = os.fstat(recorded.fileno()).st_size
    with connection, suppress(ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while _receive(connection):
            if latency_s:
                time.sleep(latency_s)
            start = b'{"created": 1, "data": [{"b64_json": "'
            start += base64.b64encode(_start_of_picture(next(numbers)))
            head = (
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(start) + size}\r\n\r\n"
            )
            connection.sendall(head.encode() + start)
            sent = 0
            while sent < size:
                sent += os.sendfile(connection.fileno(), recorded.fileno(), sent, size - sent)


def _receive(connection: socket.socket) -> bool:
    """Read one request with its body; False when the other end hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65536)):
            return False
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    missing = length - len(body)
    while missing > 0:
        missing -= len(connection.recv(65536))
    return True


def _start_of_picture(number: int) -> bytes:
    """A PNG's signature, its head, and a note that makes it a picture of its own."""
    head = b"\x89PNG\r\n\x1a\n" + _chunk(
        b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    )
    start = head + _chunk(b"tEXt", b"Number\0" + str(number).zfill(NOTE_BYTES).encode())
    assert len(start) % 3 == 0, len(start)
    return start


def _rest_of_picture() -> bytes:
    rows = b"".join(b"\0" + os.urandom(SIDE * 3) for _ in range(SIDE))
    return _chunk(b"IDAT", zlib.compress(rows, 0)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds for each picture")
    _serve(parser.parse_args().latency)
