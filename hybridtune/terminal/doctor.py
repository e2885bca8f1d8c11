"""What `hybridtune doctor` prints."""

from rich.text import Text

from hybridtune.errors import printable
from hybridtune.study.doctor import Finding
from hybridtune.terminal.screen import Screen

_STYLES = {"ok": "green", "note": "yellow", "bad": "bold red"}


def show_finding(finding: Finding, screen: Screen) -> None:
    """Print a finding in a line, and below it what to do."""
    words = f"{finding.name:<19}{printable(finding.found)}"
    screen.console.print(Text.assemble((f"{finding.state:<5}", _STYLES[finding.state]), words), soft_wrap=True)
    if finding.advice:
        screen.console.print(Text(f"{'':<24}-> {printable(finding.advice)}"), soft_wrap=True)
