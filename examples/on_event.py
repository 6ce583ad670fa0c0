"""Call a function on each event: python examples/on_event.py BUNDLE SOURCE..."""

import sys

import gasmcast


def on_event(event: gasmcast.Event) -> None:
    """Print the start and the end of an action; switch on a lamp here, or send a message."""
    if event.phase == "start":
        print(f"{event.camera}: {event.label} began near {event.onset_s:.1f} s (p {event.p:.2f})")
    elif event.phase == "end":
        print(f"{event.camera}: {event.label} ended after {event.duration_s:.1f} s")


for one in gasmcast.live(sys.argv[2:], bundle=sys.argv[1]):
    on_event(one)
