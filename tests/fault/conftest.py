"""Tells the seeds before the tests, and what the runs measured after them."""

from . import seeds


def pytest_report_header():
    return (f"fault: fixed seeds {', '.join(f'{seed} on {broker}' for broker, seed in seeds.FIXED)}; "
            f"fresh seed {seeds.FRESH[1]} on {seeds.FRESH[0]}, again with JWK_FAULT_SEED={seeds.FRESH[1]}")


def pytest_terminal_summary(terminalreporter):
    """What the tests that passed have printed; that of the others is shown with their failures."""
    for report in terminalreporter.getreports("passed"):
        if report.nodeid.startswith("fault/") and report.capstdout:
            terminalreporter.write_sep("-", report.nodeid)
            terminalreporter.write_line(report.capstdout.rstrip())
