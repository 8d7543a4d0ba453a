"""A UDP client: `ask.py HOST PORT [4|6]` sends one datagram and prints the answer and the address it came from."""

import json
import socket
import sys

# Long enough for a busy machine, short enough that a lost datagram fails a test at once.
PATIENCE_SECONDS = 1.0

host, port = sys.argv[1], int(sys.argv[2])
family = {"4": socket.AF_INET, "6": socket.AF_INET6}.get(sys.argv[3] if len(sys.argv) > 3 else "", socket.AF_UNSPEC)
family, kind, protocol, _, address = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)[0]
with socket.socket(family, kind, protocol) as sock:
    sock.settimeout(PATIENCE_SECONDS)
    sock.sendto(b"hello", address)
    text, sender = sock.recvfrom(2048)
print(json.dumps({**json.loads(text), "from": sender[0], "from_port": sender[1]}))
