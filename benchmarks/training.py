"""Our training loop against a bare forward + backward + step on one fixed batch: does the loader ever starve it?

    uv run python benchmarks/training.py FOLDER [--degrade video] [--steps 12] [--rounds 3]

Both train E-RFDN x2 on batches of one size, interleaved, a round each; pictures are unpacked, and the first clips
encoded, before the clock starts. The target is 0.90 of the bare loop's pace.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the command line does

import torch

from rfdn_stream.nets.rfdn import preset
from rfdn_stream.training.config import TrainConfig
from rfdn_stream.training.data import DataOptions, open_batches
from rfdn_stream.training.loop import stream_from
from rfdn_stream.training.network import new_network
from rfdn_stream.training.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--degrade", choices=("clean", "video"), default="clean")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=40)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    config = TrainConfig((str(asked.folder),), preset("E-RFDN", 2), batch=asked.batch, patch=asked.patch)
    with tempfile.TemporaryDirectory() as cache:
        options = DataOptions((asked.folder,), 2, asked.patch, asked.batch, 0, asked.degrade, cache=Path(cache))
        batches = open_batches(options, print)
        ours = Trainer(config, new_network(config.network, 0), torch.device("cpu"))
        bare = new_network(config.network, 0).to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(bare.parameters(), lr=config.lr, foreach=True)
        lr, hr = batches(0)

        def our_loop():
            with stream_from(batches, ours.step) as stream:
                for _ in range(asked.steps):
                    ours.apply(ours.gradients(*next(stream)))
                    ours.loss()

        def bare_loop():
            for _ in range(asked.steps):
                optimizer.zero_grad(set_to_none=True)
                torch.nn.functional.l1_loss(bare(lr), hr).backward()
                optimizer.step()

        ratios = []
        for _ in range(asked.rounds):
            times = []
            for loop in (bare_loop, our_loop):
                start = time.perf_counter()
                loop()
                times.append(time.perf_counter() - start)
            ratios.append(times[0] / times[1])
            pace = config.pixels * asked.steps / times[1]
            print(f"bare {times[0]:.2f} s, ours {times[1]:.2f} s: {ratios[-1]:.3f} ({pace:,.0f} LR pixels a second)")
    print(f"our loop runs at {statistics.median(ratios):.3f} of the bare loop's pace")


if __name__ == "__main__":
    main()
