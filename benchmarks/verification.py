"""What the proof costs: comparing the result with its source, as a share of the job, in one run each.

    uv run python benchmarks/verification.py [CLIP] [--model NAME|FILE] [--seconds 2] [--verify fast|full]

Timed inside the job: the trial of the container before it, the fingerprints of packets on their way into the muxer,
and the pass over the result. The target for `fast` is 2 % of the job with the smallest bundled network; the job
without a network (strength 0) is shown for comparison.
"""

import argparse
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the command line does

from rfdn_stream import upscale
from rfdn_stream.jobs import proof
from rfdn_stream.media import output
from rfdn_stream.media.fingerprint import Fingerprint

BUNNY = Path(__file__).parents[1] / "examples" / "bunny.mp4"


@contextmanager
def timed(holder, name, spent, what):
    """Adds the time of every call of `holder.name` to `spent[what]`."""
    real = getattr(holder, name)

    def call(*arguments, **options):
        begun = time.perf_counter()
        try:
            return real(*arguments, **options)
        finally:
            spent[what] = spent.get(what, 0.0) + time.perf_counter() - begun

    setattr(holder, name, call)
    try:
        yield
    finally:
        setattr(holder, name, real)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clip", nargs="?", default=BUNNY)
    parser.add_argument("--model")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--verify", default="fast", choices=["fast", "full"])
    options = parser.parse_args()
    for name, strength in (("whole job", 1.0), ("no network", 0.0)):
        spent: dict[str, float] = {}
        with (
            tempfile.TemporaryDirectory() as folder,
            timed(output, "rehearse", spent, "trial"),
            timed(Fingerprint, "add", spent, "fingerprints"),
            timed(proof, "verify", spent, "comparison"),
        ):
            result = upscale(
                options.clip, Path(folder) / "out.mkv", model=options.model, strength=strength,
                duration=options.seconds, verify=options.verify,
            )  # fmt: skip
        parts = ", ".join(f"{what} {100 * seconds / result.seconds:.2f} %" for what, seconds in spent.items())
        # Fingerprints are taken in the comparison, too, so the sum counts some of them twice.
        share = 100 * sum(spent.values()) / result.seconds
        print(f"{name}: {result.frames} frames, {result.seconds:.2f} s, of which at most {share:.2f} % ({parts})")


if __name__ == "__main__":
    main()
