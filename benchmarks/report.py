"""The HTML report of a large run: seconds to write it, its size, and how long a person waits in a headless Chromium.

    python benchmarks/report.py [TRACE] [--lines 50000]

Without TRACE, completions of benchmarks/traces.py (much alike, so the file is small); with one, its completions over and
over as later steps, up to `--lines`. The last line is JSON. `open_s`: from the order to open the file to a list that takes
keys, median of 3; `scroll_ms`, `filter_ms`, `sort_ms`, `completion_ms`, `group_ms`: until the next frame is drawn,
median and worst.
"""

import argparse
import gzip
import json
import runpy
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import chromium

from report.page import write_report

DRAWN = "await new Promise(done => requestAnimationFrame(() => setTimeout(done)));"
ACTIONS = {
    "scroll_ms": "document.getElementById('list').scrollTop = (i * 7919 % 100) / 100 * shown.length * ROW_PX;",
    "filter_ms": "document.getElementById('task').value = ['', '1', '12', 'zz', 't'][i % 5]; refilter();",
    "sort_ms": "document.getElementById('task').value = ''; document.getElementById('sort').selectedIndex = i % 6; refilter();",
    "completion_ms": "const row = i * 7919 % index.columns.step.length; chooseRow(row); await show('completion', row);",
    "group_ms": "const row = i * 7919 % index.columns.step.length; chooseRow(row); await show('group', row);",
}


def write_trace(path: Path, source: Path | None, lines: int) -> None:
    """`lines` trace lines: synthetic ones, or those of `source` over and over, each time as later steps."""
    with path.open("w", encoding="utf-8") as file:
        if source is None:
            file.writelines(map(runpy.run_path(str(ROOT / "benchmarks/traces.py"))["synthetic_line"], range(lines)))
            return
        packed = source.read_bytes()
        records = [json.loads(line) for line in (gzip.decompress(packed) if source.suffix == ".gz" else packed).splitlines()]
        last_step = max(record["step"] for record in records)
        for number in range(lines):
            turn, place = divmod(number, len(records))
            record = records[place] | {
                "step": records[place]["step"] + turn * last_step,
                "group_id": f"{turn}-{records[place]['group_id']}",
            }
            file.write(json.dumps(record) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", nargs="?", type=Path)
    parser.add_argument("--lines", type=int, default=50_000)
    arguments = parser.parse_args()
    if chromium.found() is None:
        sys.exit("no Chromium on PATH: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        run.mkdir()
        write_trace(run / "trace.jsonl", arguments.trace, arguments.lines)
        found = {"lines": arguments.lines, "trace_mb": round((run / "trace.jsonl").stat().st_size / 1e6, 1)}
        found |= measured(run)
    print(json.dumps(found))


def measured(run: Path) -> dict:
    """Numbers of one run folder's report."""
    started = time.perf_counter()
    path = write_report(run)
    found = {"write_s": round(time.perf_counter() - started, 1), "report_mb": round(path.stat().st_size / 1e6, 1)}
    with chromium.Chromium() as browser:
        waits = []
        for _ in range(3):
            started = time.perf_counter()
            page = browser.page(path.as_uri() + "#completions")
            page.until("document.body?.dataset.ready && document.querySelector('#detail h2')")
            waits.append(time.perf_counter() - started)
        found["open_s"] = round(statistics.median(waits), 2)
        found["elements"] = page.evaluate("document.querySelectorAll('*').length")
        for name, action in ACTIONS.items():
            loop = f"const from = performance.now(); {action} {DRAWN} waits.push(performance.now() - from);"
            waits = page.evaluate(f"(async () => {{ const waits = []; for (let i = 1; i <= 30; i++) {{ {loop} }} return waits; }})()")
            found[name] = [round(statistics.median(waits), 1), round(max(waits), 1)]
        found["heap_mb"] = round(page.evaluate("performance.memory.usedJSHeapSize") / 1e6)
        complaints = page.complaints()
        if complaints:
            sys.exit(f"the page complains: {complaints}")
    return found


if __name__ == "__main__":
    main()
