"""The samples of docs/clients.md: each one runs, and prints what it says."""

import asyncio
import os
import re
import sys

from harness.server import WORKSPACE
from harness.suite import TEST_SECONDS_MAX, Suite


class Docs(Suite):
    async def test_samples(self):
        text = (WORKSPACE / "docs" / "clients.md").read_text()
        samples = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        self.assertEqual(len(samples), 1)
        for sample in samples:
            expected = re.findall(r"^# → (.*)$", sample, re.MULTILINE)
            env = {**os.environ, "CONVEX_URL": self.server.url, "TOKEN": self.token("alice")}
            run = await asyncio.create_subprocess_exec(
                sys.executable, "-c", sample, env=env, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await asyncio.wait_for(run.communicate(), TEST_SECONDS_MAX / 2)
            self.assertEqual(output.decode().splitlines(), expected)
            self.assertEqual(run.returncode, 0)
