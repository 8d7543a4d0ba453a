"""A client of the matrix: reads lists of calls from its input, a line of JSON each, makes those of a list at once, and
writes what came of them in their order.

A call has an `op`:
  tcp, udp      asks `host` at `port` from a new socket; `connected: false` sends a datagram from one that is not
  open, say     opens a socket under a `name` and keeps it; asks by it
  traffic       begins to ask by new TCP connections without an end, under a `name`
  count, stop   says how many of those have succeeded, and how the others failed; ends them
"""

import json
import os
import select
import socket
import sys
import threading

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
held, running = {}, {}


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Peer:
    """A socket towards one place."""

    def __init__(self, call, kind):
        self.place = (call["host"], call["port"])
        self.is_connected = call.get("connected", True)
        self.is_fresh = True
        self.sock = socket.socket(family_of(call["host"]), KINDS[kind])
        self.sock.settimeout(call["patience"])
        self.kind = kind
        if self.is_connected:
            self.sock.connect(self.place)

    def ask(self, text=b"?\n"):
        # What has ended it from below is told once.
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        if self.kind == "tcp":
            # The first answer comes unasked.
            if not self.is_fresh:
                self.sock.sendall(text)
            self.is_fresh = False
            heard = b""
            while not heard.endswith(b"\n"):
                more = self.sock.recv(2048)
                if not more:
                    raise ConnectionResetError("the connection has ended")
                heard += more
        elif self.is_connected:
            self.forget()
            self.sock.send(text)
            heard = self.sock.recv(2048)
        else:
            self.forget()
            self.sock.sendto(text, self.place)
            heard, peer = self.sock.recvfrom(2048)
        if self.is_connected:
            peer = self.sock.getpeername()
        return {**json.loads(heard), "peer": peer[0], "peer_port": peer[1]}

    def forget(self):
        """Drops answers that came too late to what was asked before."""
        while select.select([self.sock], [], [], 0)[0]:
            self.sock.recv(2048)

    def close(self):
        self.sock.close()


class Traffic:
    """Calls one after the other."""

    def __init__(self, call):
        self.call, self.is_over = call, False
        self.succeeded, self.failed = 0, []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.is_over:
            try:
                once(self.call, "tcp")
                self.succeeded += 1
            except OSError as error:
                self.failed.append(f"{type(error).__name__} after {self.succeeded} calls")

    def count(self):
        return {"succeeded": self.succeeded, "failed": self.failed[:5]}


def once(call, kind):
    peer = Peer(call, kind)
    try:
        return peer.ask(call.get("text", "?\n").encode())
    finally:
        peer.close()


def make(call):
    op, name = call["op"], call.get("name")
    if op in KINDS:
        return once(call, op)
    if op == "open":
        if name in held:
            held.pop(name).close()
        held[name] = Peer(call, call["kind"])
        return held[name].ask()
    if op == "say":
        held[name].sock.settimeout(call["patience"])
        return held[name].ask()
    if op == "traffic":
        running[name] = Traffic(call)
        return {}
    if op == "stop":
        running[name].is_over = True
        running[name].thread.join()
        return running.pop(name).count()
    return running[name].count()


def outcome(call):
    try:
        return make(call)
    except OSError as error:
        return {"error": type(error).__name__, "errno": error.errno}


for line in sys.stdin:
    calls = json.loads(line)
    outcomes = [None] * len(calls)

    def answer(index):
        outcomes[index] = outcome(calls[index])

    threads = [threading.Thread(target=answer, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(outcomes), flush=True)
