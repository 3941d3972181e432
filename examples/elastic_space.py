"""A weight-shared search space in thirty lines: the blocks are the supernet, and the choices come from the blocks.

Run: python examples/elastic_space.py --device jetson --trials 100 --time 120
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import hwnas
from hwnas.core.task import TaskLike
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.inverted_residual import ElasticInvertedResidual
from hwnas.elastic.space import ElasticSpace


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    """A stem, two stages of one to two inverted residuals that can be pruned, a head, a classifier."""
    chain: list[ElasticBlock] = [ElasticConvBlock("stem.width", task.input_shape[0], (8, 16))]
    max_in = 16
    for stage, widths in (("early", (16, 24)), ("late", (24, 40))):
        for index in range(2):
            block = ElasticInvertedResidual(
                stage, index, max_in, widths, (1, 2), kernels=(3, 5), expansions=(2, 4), stride=2 if index == 0 else 1
            )
            chain.append(block)
            max_in = widths[-1]
    return [*chain, ElasticConvBlock("head.width", max_in, (64, 96), kernel=1), ElasticClassifier(96, task.n_outputs)]


SPACE = ElasticSpace("two-stages", blocks)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="jetson")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--time", type=float, default=None, help="seconds for the whole search")
    arguments = parser.parse_args()
    result = hwnas.search(
        device=arguments.device,
        space=SPACE,
        task="digits",
        trials=arguments.trials,
        time_s=arguments.time,
        n_front=4,
    )
    for model in result.front:
        latency = model.latency[result.details.devices[0]]
        doubt = "" if latency.measured or latency.in_domain else ", out of the predictor's domain"
        print(f"{model.id}  accuracy {model.accuracy:.3f}  {latency.best_ms:.3f} ms ({latency.source}{doubt})")
    print(f"run folder: {result.run_dir}")
