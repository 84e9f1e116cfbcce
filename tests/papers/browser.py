"""Pages in headless Chromium, for the tests of widgets; without Chromium they are skipped."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needed = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=3000",
]


def dom(page, folder, width=1000):
    """The HTML of a page after its scripts have run; `folder` is an empty one for its files."""
    file = folder / "page.html"
    file.write_text(page, "utf-8")
    size = [f"--window-size={width},900", f"--user-data-dir={folder / 'browser'}"]
    ran = subprocess.run(
        [CHROMIUM, *FLAGS, *size, "--dump-dom", file.as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
    )
    return ran.stdout.decode()


AFTER = """
<pre id="result"></pre>
<script>
setTimeout(() => {
  let found;
  try { found = {value: SCRIPT}; } catch (error) { found = {error: error.stack}; }
  document.getElementById("result").textContent = JSON.stringify(found);
}, 100);
</script>
"""


def result(body, script, folder, width=1000):
    """What the expression `script` gives in a page with that body, through JSON."""
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><body>{body}'
    page += AFTER.replace("SCRIPT", script) + "</body></html>"
    text = re.search(r'<pre id="result">(.*?)</pre>', dom(page, folder, width), re.DOTALL)[1]
    found = json.loads(html.unescape(text))
    assert "error" not in found, found["error"]
    return found["value"]
