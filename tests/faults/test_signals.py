"""SIGTERM and Ctrl-C in every phase of a run, once and twice at once: the same command goes on, to the same figures."""

import signal

import pytest

TWICE = "twice at once, in training"
PHASES = {
    "before Ray": r"groups in \d languages",
    "while Ray starts": "starting Ray",
    "in training": None,
    TWICE: None,
    "while the contestants are scored": "scoring 1 trained models",
}
SIGNALS = {
    signal.SIGTERM: ("SIGTERM", 143, "ended by SIGTERM"),
    signal.SIGINT: ("Ctrl-C", 130, "interrupted"),
}


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_every_phase(place, judge, number):
    name, expected, word = SIGNALS[number]
    seen = {}
    for phase, line in PHASES.items():
        run = place.start() if line else place.start_to(18 if phase != TWICE else 10)
        if line:
            run.until(line)
        run.send(number)
        if phase == TWICE:
            run.send(number)
        elif line is None:
            place.release()
        ways = (expected, -number) if phase == TWICE else (expected,)
        assert run.end() in ways, run.text
        seen[phase] = run.line(word if phase == TWICE else f"^hybridtune: {word}; .*same command with the same --out")
        assert "Traceback" not in run.text, run.text
    again = place.finish()
    for phase, told in seen.items():
        judge(f"{name} {phase}", f"{name} to the command", place, told, place.began, again.code)
