"""A Ray cluster on this machine, to try one before there are three: a head and two workers.

    .venv/bin/python scripts/cluster.py [--workers 2]

Prints what to set in another terminal, and ends with Ctrl-C. It listens on loopback only.
"""

import argparse
import os
import signal
import sys

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # so that all its servers are on loopback
    "RAY_agent_register_timeout_ms": "120000",
}


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--workers", type=int, default=2, help="beside the head, a core each")
    workers = parse.parse_args().workers
    try:
        from ray.cluster_utils import Cluster
    except ModuleNotFoundError:
        sys.exit("Ray is not installed: run pip install 'movie_tagger[scale]' and try again.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    head = {"num_cpus": 0, "include_dashboard": False}  # it gives out work and does none
    try:
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(workers):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        print(f"export RAY_ADDRESS={cluster.address}", flush=True)
        print("movie-tagger tag ... --backend ray    # Ctrl-C here ends the cluster", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        cluster.shutdown()
    except Exception as e:  # Ray raises plain ones
        sys.exit(f"The cluster does not start: {e} Is the machine busy? Then try again later.")


if __name__ == "__main__":
    main()
