"""The interpreter ends cleanly whatever is still open."""

import subprocess
import sys

import pytest

START = """
import threading, torch, tierod
started = threading.Event()
def wait(x, event):
    started.set()
    threading.Event().wait()
def in_thread(work):
    threading.Thread(target=work, daemon=True).start()
    started.wait()
"""
CASES = {
    "sessions stay open": """
s = tierod.Session(); s.capture("a"); s.open()
p = tierod.ProcessSession(); p.intervene("a", lambda x, e: x + 1); p.open()
assert tierod.hook_point(torch.zeros(2), "a").tolist() == [1, 1]
""",
    "a session with a callback stays open": """
s = tierod.Session(); s.intervene("a", lambda x, e: x + 1); s.open()
assert tierod.hook_point(torch.zeros(2), "a").tolist() == [1, 1]
""",
    "a session stays listed that another thread aborted": """
s = tierod.Session(); s.intervene("a", lambda x, e: x + 1); s.open()
thread = threading.Thread(target=s.abort)
thread.start(); thread.join()
del s
""",
    "a thread waits in a callback": """
p = tierod.ProcessSession(); p.intervene("a", wait); p.open()
in_thread(lambda: tierod.hook_point(torch.ones(2), "a"))
""",
    "a thread waits in a module's hook": """
m = torch.nn.Sequential(torch.nn.Linear(2, 2))
p = tierod.instrument(m).process_session(); p.intervene("@0:out", wait); p.open()
in_thread(lambda: m(torch.ones(1, 2)))
""",
    "a thread waits in backward": """
p = tierod.ProcessSession(); p.intervene("a", wait, gradient=True); p.open()
x = torch.ones(2, requires_grad=True)
in_thread(lambda: tierod.hook_point(x * 1, "a").sum().backward())
""",
}


@pytest.mark.parametrize("case", CASES)
def test_exit(case):
    code = START + CASES[case] + "print('end')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
    assert "terminate" not in done.stderr
