"""A backend on Python's http.server that writes a line for each whole request that it saw.

Usage: witness.py ADDRESS PORT. The lines are those of witness.rs: METHOD TARGET HOST LENGTH DIGEST.
"""

import http.server
import os
import sys


def fnv1a(data):
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return "%016x" % digest


class Witness(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def __getattr__(self, name):
        # Every method is answered alike.
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self):
        body = self.body()
        if body is None:
            self.close_connection = True
            return
        host = ",".join(self.headers.get_all("Host", []))
        # The target as it came: self.path has the slashes at its start made one.
        target = self.requestline.split(" ")[1]
        saw = " ".join([self.command, target, host, str(len(body)), fnv1a(body)])
        os.write(1, (saw + "\n").encode("latin-1"))
        self.send_response(200)
        self.send_header("X-Saw", saw)
        self.send_header("Content-Length", "0" if self.command == "HEAD" else "2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"ok")

    def body(self):
        """The content; None when it is cut."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return self.chunks()
        length = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(length)
        return data if len(data) == length else None

    def chunks(self):
        data = b""
        while True:
            line = self.rfile.readline()
            if not line.endswith(b"\n"):
                return None
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            chunk = self.rfile.read(size)
            if len(chunk) < size:
                return None
            data += chunk
            self.rfile.readline()
        while True:
            line = self.rfile.readline()
            if not line:
                return None
            if not line.strip():
                return data

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server((sys.argv[1], int(sys.argv[2])), Witness).serve_forever()
