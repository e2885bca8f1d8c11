"""The command that looks at this machine. Heavy imports are inside."""

import sys
from collections import Counter
from dataclasses import asdict

import click

from hybridtune.cli.options import answer, dry_run_option, json_option, open_screen


@click.command()
@dry_run_option
@json_option
def doctor(dry_run: bool, as_json: bool) -> None:
    """Look at what a study needs of this machine, and what to do where it is too little; at the end train for a moment.

    Exit code 1 where a study would fail or crawl. --dry-run starts nothing.
    """
    from hybridtune.study.doctor import examine
    from hybridtune.terminal.doctor import show_finding

    screen = open_screen(as_json)
    findings = []
    for finding in examine(not dry_run, screen):
        show_finding(finding, screen)
        findings.append(finding)
    count = Counter(finding.state for finding in findings)
    answer(
        {"findings": [asdict(finding) for finding in findings], "bad": count["bad"]},
        as_json,
        lambda: screen.print(f"{count['bad']} bad, {count['note']} to note, {count['ok']} good"),
    )
    if count["bad"]:
        sys.exit(1)
