"""Sum up the JUnit reports of one run; the last line is `N passed, M failed`."""

import argparse
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", type=Path)
    parser.add_argument("--failed-stage", action="append", default=[])
    args = parser.parse_args()

    passed, failed, skipped = 0, [], 0
    explained = set()
    for report in sorted(args.reports.glob("*.xml")):
        for case in ET.parse(report).iter("testcase"):
            name = f"{report.stem}: {case.get('classname')}.{case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(name)
                explained.add(report.stem.split("__")[0])
            elif case.find("skipped") is not None or case.get("status") == "notrun":
                skipped += 1
            else:
                passed += 1

    for name in failed:
        print(f"failed  {name}")
    # A stage that broke without a failed test (a compiler error, lint, a crash) counts as one.
    broken = [stage for stage in args.failed_stage if stage not in explained]
    for stage in broken:
        print(f"failed  {stage}: the stage itself")
    if skipped:
        print(f"{skipped} skipped or disabled")
    print(f"{passed} passed, {len(failed) + len(broken)} failed")
    return 1 if failed or broken else 0


if __name__ == "__main__":
    sys.exit(main())
