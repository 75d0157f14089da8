"""Takes the picture of a report's timeline anew: `python docs/record_report.py`.

It stops 250 simulated CVMs, and needs Chromium. Among the CVMs are some that refuse, hang, vanish, or come up again.
"""  # noqa: INP001 - a script, not a package

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from orchestrator.report.full.html import render_section
from orchestrator.report.full.timeline_section import describe_timeline
from orchestrator.report.html.page import page
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings

PICTURE = Path(__file__).resolve().parent / "images" / "report.png"
COMMAND = str(Path(sys.executable).with_name("orchestrator"))
SIZE = "1000,1066"
PLAYBOOK = """\
name: nightly-cost-stop
limits: {requests_per_second: 10, burst: 10, max_in_flight: 20, per_teepod: 20, max_failures: "10%"}
guards: {protect: {name: ["kms-*", "gateway-*"]}, max_percent: 100}
steps:
  - name: force-stop
    action: stop
    select: {all: true}
    settle: {timeout: 25s}
"""
WORLD = {
    "fleet": {"cvms": 250, "seed": 11, "teepods": 6},
    "timing": {"stop_seconds": [3, 12], "latency": [0.02, 0.3]},
    "faults": {"throttle": 0.01},
    "behaviour": [
        {"kind": "refuses", "count": 2},
        {"kind": "stuck", "count": 2},
        {"kind": "resurrects", "count": 1},
        {"kind": "vanishes", "count": 1},
    ],
}


def main() -> None:
    """Write the picture."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("there is no Chromium")
    with tempfile.TemporaryDirectory() as place, BackgroundSimulator(parse_settings(WORLD)) as simulator:
        folder = Path(place)
        (folder / "stop.yaml").write_text(PLAYBOOK, encoding="utf-8")
        env = {
            **os.environ,
            "PHALA_CLOUD_API_KEY": simulator.api_key,
            "PHALA_CLOUD_API_PREFIX": simulator.url,
            "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
            "ORCHESTRATOR_LOG__LEVEL": "error",
        }
        subprocess.run([COMMAND, "run", "stop.yaml", "--yes"], cwd=folder, env=env, check=False)  # noqa: S603 - the command above
        (log,) = (folder / "state" / "runs").glob("*.jsonl")
        made = subprocess.run([COMMAND, "report", log.stem, "--json"], env=env, check=True, stdout=subprocess.PIPE)  # noqa: S603 - the same
        page_file = folder / "report.html"
        page_file.write_bytes(page("Report", [], [render_section(describe_timeline(json.loads(made.stdout)))], ""))
        options = (
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--window-size={SIZE}",
            f"--screenshot={PICTURE}",
        )
        subprocess.run([browser, *options, page_file.as_uri()], check=True)  # noqa: S603 - the browser that is installed


if __name__ == "__main__":
    main()
