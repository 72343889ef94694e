"""A server under test: its own data folder and free ports, ready when `Server()` returns.

The program comes from CONCAVE_BIN, else from the debug build of this workspace. What it wrote to
stderr is kept, and shown with the failure it may explain.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

WORKSPACE = Path(__file__).resolve().parents[4]
CONCAVE_BIN = os.environ.get("CONCAVE_BIN", str(WORKSPACE / "target/debug/concave"))
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 20
STDERR_CHARS_MAX = 20_000


class Server:
    """`concave serve` with the chat application, on 127.0.0.1."""

    def __init__(self):
        self.data = tempfile.mkdtemp(prefix="concave-clients-")
        self._tokens = {}
        self._log = open(os.path.join(self.data, "stderr.log"), "w+")
        self._start(0)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def stderr(self):
        """The end of what the processes wrote to stderr."""
        return Path(self._log.name).read_text()[-STDERR_CHARS_MAX:]

    def token(self, user, ttl=None):
        """A token of `user`; without `ttl` (seconds) it is made once and used again."""
        if ttl is not None:
            return self._concave("token", "--user", user, "--ttl", str(ttl))
        if user not in self._tokens:
            self._tokens[user] = self._concave("token", "--user", user)
        return self._tokens[user]

    def admin_key(self):
        """The admin key of this data folder."""
        return self._concave("admin-key")

    def kill(self):
        """Ends the process without warning, as a loss of power would end it."""
        self._end(signal.SIGKILL)

    def stop(self):
        """Asks the process to end in order; returns its exit code."""
        return self._end(signal.SIGTERM)

    def restart(self):
        """A new process on the same data, on the same port."""
        self.kill()
        self._start(self.port)

    def close(self):
        """Ends the process and removes the data folder."""
        self.kill()
        self._log.close()
        shutil.rmtree(self.data)

    def _command(self, port):
        command = [CONCAVE_BIN, "serve", "--port", str(port), "--site-port", "0"]
        return [*command, "--data", self.data, "--app", "presence", "--dev-auth"]

    def _concave(self, *args):
        command = [CONCAVE_BIN, *args, "--data", self.data]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def _start(self, port):
        pipes = {"stdout": subprocess.PIPE, "stderr": self._log}
        self._process = subprocess.Popen(self._command(port), text=True, **pipes)
        late = threading.Timer(START_SECONDS_MAX, self._process.kill)
        late.start()
        try:
            self.port = self._listening()
        finally:
            late.cancel()

    def _listening(self):
        for line in self._process.stdout:
            match = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line)
            if match is not None:
                return int(match[1])
        raise RuntimeError(f"concave serve ended before it listened\n{self.stderr()}")

    def _end(self, how):
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process.stdout.close()
        return self._process.returncode


class BaseServer(Server):
    """The `base` application of the tests, which has actions; it knows no users."""

    def _command(self, port):
        return [str(Path(CONCAVE_BIN).with_name("base-server")), self.data]
