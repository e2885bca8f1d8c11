"""SIGTERM and Ctrl-C in every phase of a run, and Ctrl-C twice: the same command goes on, to the same figures."""

import signal

import pytest

PHASES = {
    "before Ray": r"groups in \d languages",
    "while Ray starts": "starting Ray",
    "in training": None,
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
        run = place.start() if line else place.start_to(18)
        if line:
            run.until(line)
        run.send(number)
        if line is None:
            place.release()
        assert run.end() == expected, run.text
        seen[phase] = run.line(f"^hybridtune: {word}; .*the same command with the same --out goes on")
        assert "Traceback" not in run.text, run.text
    again = place.finish()
    for phase, told in seen.items():
        judge(f"{name} {phase}", f"{name} to the command", place, told, place.began, again.code)


def test_ctrl_c_twice_in_a_row(place, judge):
    run = place.start_to(18)
    run.send(signal.SIGINT)
    run.send(signal.SIGINT)
    assert run.end() in (130, -signal.SIGINT)
    assert "Traceback" not in run.text, run.text
    told = run.line("interrupted")
    again = place.finish()
    judge("Ctrl-C twice", "two at once, in step 6 of trial 1", place, told, place.began, again.code)
