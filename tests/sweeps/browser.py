"""Pages in headless Chromium, with their scripts run."""

import re
import shutil
import subprocess

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", *QUIET]

OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND"
OWN = re.compile(r"https?://[\w.]+\.(google|googleapis)\.com/")
"""Where Chromium itself asks for the time and for accounts."""


def page(address, profile, *flags):
    """The HTML of a page as a browser that has never been here makes it."""
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=20000", *flags]
    return subprocess.run(
        [*command, "--dump-dom", address], capture_output=True, text=True, timeout=200, check=True
    ).stdout


def seen(address, profile):
    """The text of a page."""
    html = page(address, profile, "--window-size=2400,1000")
    return re.sub(r"<[^>]+>", "\n", re.sub(r"<(style|script)\b.*?</\1>", "", html, flags=re.S))


class Opened:
    """A report that was opened from its file."""

    def __init__(self, path, profile):
        profile.mkdir()
        log = profile / "net.json"
        self.html = page(path.as_uri(), profile, "--window-size=1400,1000", f"--log-net-log={log}", OFFLINE)
        body = re.sub(r"<script\b.*?</script>", "", self.html, flags=re.S)
        _, *drawn = re.split(r'class="[^"]*js-plotly-plot[^"]*"', body)
        self.figures = len(drawn)
        self.empty = [one[:40] for one in drawn if not re.search(r'class="(point|js-line)"', one)]
        self.pictures = len(re.findall(r'<img src="data:image/', body))
        asked = re.findall(r'"url":\s*"([^"]+)"', log.read_text(errors="replace"))
        self.fetched = [url for url in asked if not url.startswith(("file:", "data:", "chrome")) and not OWN.match(url)]
