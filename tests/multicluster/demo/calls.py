"""Steady traffic: `calls.py HOST PORT INTERVAL_MS TIMEOUT_MS` opens a new connection for each call and prints one JSON
line per call, in the order in which they end.

Calls don't wait for each other, so one that hangs hides no other's fate.
"""

import http.client
import json
import sys
import threading
import time

host, port = sys.argv[1], int(sys.argv[2])
interval, patience = (int(text) / 1000 for text in sys.argv[3:5])
printing = threading.Lock()


def call():
    """Makes one call and prints what came of it."""
    outcome = {"started_unix_ms": time.time() * 1000}
    begun = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=patience)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = json.loads(connection.getresponse().read())
        outcome.update(cluster=answer["cluster"], pod=answer["pod"])
    except (OSError, http.client.HTTPException, ValueError) as error:
        outcome["error"] = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    outcome["took_ms"] = (time.monotonic() - begun) * 1000
    with printing:
        print(json.dumps(outcome), flush=True)


due = time.monotonic()
while True:
    threading.Thread(target=call, daemon=True).start()
    due += interval
    time.sleep(max(0, due - time.monotonic()))
